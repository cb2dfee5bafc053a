"""The loop: TRL's trainer with our batches, loss, evaluation and checkpoints in the places made for them.

Optimiser, schedule, clipping, shuffling, resuming and callbacks are Hugging Face's. Ours: a step is
``recipe.batch_size`` examples packed into as many forward passes as the device likes, shared out where several
processes train together (``training_step``); evaluation draws no random number; a checkpoint counts only once
committed. The short version: ``tests/bench/plain_trl.py``.
"""

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from contracts.recipes import Recipe
from services.trainer.training import metrics, state
from services.trainer.training.data import Example, Row, pack
from services.trainer.training.gang import Gang
from services.trainer.training.hardware import products_in
from services.trainer.training.plan import Plan
from services.trainer.training.saving import Checkpoints
from services.trainer.training.surviving import within_memory


class Tuner(SFTTrainer):  # type: ignore[misc, unused-ignore]
    """TRL's supervised trainer, fed with pre-tokenised examples."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        recipe: Recipe,
        plan: Plan,
        train: Sequence[Example],
        validation: Sequence[Example],
        checkpoints: Checkpoints,
        gang: Gang,
    ) -> None:
        """Take the model as ``model.load`` gives it, the recipe and plan, both splits and where checkpoints go."""
        super().__init__(
            model=model,
            args=arguments(recipe, plan, checkpoints.folder, gang),
            train_dataset=Dataset.from_dict(
                {
                    "input_ids": [each.ids for each in train],
                    "labels": [each.labels for each in train],
                    "second": [each.second for each in train],
                }
            ),
            processing_class=tokenizer,
            data_collator=Packer(plan.row_tokens, gang.size),
        )
        self.recipe = recipe
        self.plan = plan
        self.gang = gang
        self.checkpoints = checkpoints
        self.validation = validation
        self.fitting = plan.row_tokens
        self._copy: tuple[Any, Any] | None = None
        self.points: list[metrics.Point] = []
        self.tokens = 0
        self.trained_tokens = 0
        self.after_pass: Callable[[], None] = lambda: None

    def carry_on(self, points: list[metrics.Point]) -> None:
        """Go on counting where an earlier attempt's checkpoint stood."""
        self.points = points
        self.tokens, self.trained_tokens = points[-1].tokens, points[-1].trained_tokens

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give every process of a gang the same batches, which ``training_step`` shares out by the row.

        A worker is deaf to SIGTERM, which may go to a whole process group: this process ends it, after saving.
        """
        loader: Any = super().get_train_dataloader()
        loader.base_dataloader.worker_init_fn = _deaf
        if self.gang.size > 1:
            shard = loader.batch_sampler
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Run one optimiser step's examples through the model; return their mean loss a taught token, or a pair."""
        model.train()
        rows: list[Row] = inputs["rows"]
        units = self._units(rows)
        device = self.args.device
        loss, counted = torch.zeros((), device=device), torch.zeros(3, dtype=torch.float64, device=device)
        for row, counts in self.gang.share(rows):
            with self._products():
                total, *seen = model.row_loss(row)
            self.accelerator.backward(total * (self.gang.size * counts) / units)
            self.after_pass()
            loss += total.detach() * counts / units
            counted[: len(seen)] += _exact(seen) * counts
        taught = sum(row.taught for row in rows)
        self.tokens += sum(len(row.ids) for row in rows)
        self.trained_tokens += taught
        together, right, margins, won = self.gang.sum(*_told(loss, *counted))
        self._metrics["train"]["mean_token_accuracy"].append(right / taught)
        if self._pairs:
            self._metrics["train"]["reward_margin"].append(margins / units)
            self._metrics["train"]["reward_accuracy"].append(won / units)
        return torch.full((), together, device=device)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the validation rows' mean loss a taught token, or a pair, and the share of tokens guessed right.

        It draws no random number.

        Memory that runs out here never ends a run: smaller rows are tried, and without any that fit it is left out. In
        a gang it does: the others wait in the middle of the same pass.
        """
        self.model.eval()
        if self.gang.size == 1:
            figures, fitting = within_memory(self._measured, self.fitting)
        else:
            figures, fitting = self._measured(self.fitting), self.fitting
        figures = (figures or {}) | ({"eval_smaller": fitting} if fitting < self.fitting else {})
        self.fitting = fitting
        self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _measured(self, capacity: int) -> dict[str, float]:
        """Measure in rows of at most ``capacity`` tokens."""
        rows = pack(self.validation, capacity)
        figures = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad(), self._products():
            for row, counts in self.gang.share(rows):
                total, right, *_ = self.model.row_loss(row)
                self.after_pass()
                figures += _exact([total, right]) * counts
        loss, guessed = self.gang.sum(*_told(*figures))
        taught = sum(row.taught for row in rows)
        return {"eval_loss": loss / self._units(rows), "eval_token_accuracy": guessed / taught}

    @property
    def _pairs(self) -> bool:
        """Whether what is learned from are pairs."""
        return self.recipe.objective == "dpo"

    def _units(self, rows: Sequence[Row]) -> int:
        """Return what a mean loss is a mean of: the taught tokens of rows, or their pairs."""
        return sum(row.pairs if self._pairs else row.taught for row in rows)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of what was trained so far; every process of a gang must ask."""
        copy: dict[str, Tensor] = state.copied(state.trained(self.model, self.recipe.method))
        return copy

    def _products(self) -> AbstractContextManager[Any]:
        """Where the weights are kept in more digits than products need, multiply in the device's format."""
        dtype = products_in(self.recipe.method, self.plan.dtype, self.plan.device)
        if dtype is None:
            return nullcontext()
        products: AbstractContextManager[Any] = torch.autocast(self.args.device.type, dtype=getattr(torch, dtype))
        return products

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Copy the state as it is at this step's end; the rest happens beside training."""
        folder = self.checkpoints.staging
        if self.gang.leads:
            self.checkpoints.prepare()
        self.gang.wait()
        self._save_rng_state(str(folder))
        now = (state.trained(self.model, self.recipe.method), self.optimizer.state_dict())
        copy = state.copied(now, self._copy)
        self.gang.wait()
        if not self.gang.leads:
            return
        weights, optimizer = self._copy = copy
        torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")
        self.state.save_to_json(str(folder / "trainer_state.json"))
        metrics.write(folder, self.points)

        def write(staging: Path) -> None:
            state.write_weights(weights, self.recipe.method, staging)
            torch.save(optimizer, staging / "optimizer.pt")

        self.checkpoints.commit(self.state.global_step, write)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Leave the weights as they are: ``model.load`` took them from the checkpoint, before they were sharded."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Put optimiser and schedule where the checkpoint left them."""
        if checkpoint is None:
            return
        state.read_optimizer(self.optimizer, Path(checkpoint) / "optimizer.pt")
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))


class Packer:
    """The collator: a step's examples as rows of at most ``capacity`` tokens, as many rows as there are processes."""

    def __init__(self, capacity: int, processes: int) -> None:
        """Take how many tokens share a forward pass, and how many processes share the rows."""
        self.capacity = capacity
        self.processes = processes

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, list[Row]]:
        """Pack the step's examples."""
        examples = [Example(each["input_ids"], each["labels"], each["second"]) for each in items]
        even = -(-sum(len(each.ids) for each in examples) // self.processes)
        return {"rows": pack(examples, min(self.capacity, even))}


def _deaf(worker: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def arguments(recipe: Recipe, plan: Plan, folder: Path, gang: Gang) -> SFTConfig:
    """Say the recipe in Hugging Face's words; what they would log, save or evaluate by themselves is off.

    Each process of a gang draws its own random numbers, and all the same order of examples.
    """
    return SFTConfig(
        output_dir=str(folder),
        max_steps=plan.total_steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=plan.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        seed=recipe.seed + gang.rank,
        data_seed=recipe.seed,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=plan.device == "cpu",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        dataloader_num_workers=plan.workers,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _exact(figures: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.detach().double() for each in figures])


def _told(*figures: Tensor) -> list[float]:
    """Return what a device found, once for a whole step: until it answers, a GPU gets nothing new to do."""
    told: list[float] = _exact(figures).tolist()
    return told
