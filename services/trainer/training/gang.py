"""Several processes that train one model together: who this one is, and how they agree.

``accelerate launch`` starts one process a device with ``RANK``, ``WORLD_SIZE`` and an address; alone there is nothing
to agree on. Every method that asks the others must be called by all of them, equally often. Torch is imported on use.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from services.trainer.training.data import Row

T = TypeVar("T")


class Gang(Struct, frozen=True):
    """This process among those that train together. ``rank`` 0 speaks to the parent and writes to disk."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Gang":
        """Read what the launcher says; alone when there is none."""
        return cls(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def join(self, device: str) -> None:
        """Meet the others: over Gloo on CPUs, NCCL on GPUs (which still gather over Gloo what goes to disk)."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as together

        if device != "cpu":
            torch.cuda.set_device(self.rank)
        together.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")

    def leave(self) -> None:
        """Part from the others, once all have come here."""
        if self.size == 1:
            return
        import torch.distributed as together

        together.barrier()
        together.destroy_process_group()

    def share(self, rows: list[Row]) -> list[tuple[Row, bool]]:
        """Return this process's rows and whether each counts.

        All get equally many, since sharded weights are gathered by all at every pass: who has one less repeats a row
        that does not count.
        """
        mine = [(row, True) for row in rows[self.rank :: self.size]]
        short = -(-len(rows) // self.size) - len(mine)
        return mine + [(rows[0], False)] * short

    def sum(self, *figures: float) -> tuple[float, ...]:
        """Add up figures of all processes."""
        if self.size == 1:
            return figures
        import torch
        import torch.distributed as together

        total = torch.tensor(figures, dtype=torch.float64)
        together.all_reduce(total)
        return tuple(total.tolist())

    def agree(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """Make a question whose answer is yes for all as soon as it is for one."""
        return asked if self.size == 1 else lambda: self.sum(float(asked()))[0] > 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            self.sum(0.0)


ALONE = Gang()


def shard(model: Any, gang: Gang, device: str) -> Any:
    """Spread a model's weights over the processes with FSDP2, a unit for each layer and one for the rest.

    Each process then holds 1 / size of weights, gradients and optimiser state; ``row_loss`` gathers what it needs.
    ``is_distributed_loading_by_transformers`` tells Hugging Face's trainer that nobody else is to spread it again.
    """
    if gang.size == 1:
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh("cpu" if device == "cpu" else "cuda", (gang.size,))
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    for layer in _blocks(causal):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "row_loss")
    model.is_distributed_loading_by_transformers = True
    return model


def _blocks(causal: Any) -> Any:
    """Return a model's repeated layers, whatever its architecture calls them."""
    from torch.nn import ModuleList

    count = causal.config.num_hidden_layers
    return next(each for each in causal.modules() if isinstance(each, ModuleList) and len(each) == count)
