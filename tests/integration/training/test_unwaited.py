"""A step as a GPU would compute it, on tensors that hold nothing: nothing lies elsewhere, nobody waits for a number.

The models go to torch's device ``meta``, where all shapes, formats and places are known and no value is. What asks for
a value on the way (``.item()``, a choice by a mask, a copy to the host) fails there by itself; a copy to the device
that would be waited for, and numbers of the host among the device's, fail by ``Watched``.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen3Config
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from contracts.recipes import Recipe
from libs.lm.families import FAMILIES
from services.trainer.training import attention, tuner
from services.trainer.training.data import Example, pack
from services.trainer.training.families import Way
from services.trainer.training.gang import ALONE
from services.trainer.training.hardware import Attention, Kernels
from services.trainer.training.lora import Together
from services.trainer.training.model import fitted
from services.trainer.training.tuner import Tuner

SMALL = {
    "vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "Llama": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "Mistral": MistralConfig(**SMALL, sliding_window=None),
    "Qwen": Qwen3Config(**SMALL, head_dim=8, attention_bias=True),
    "GPT-2": GPT2Config(vocab_size=101, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}
EXAMPLES = [
    Example(list(range(length)), [-100] * (length - taught) + list(range(taught)))
    for length, taught in ((9, 4), (20, 3), (13, 12), (2, 1))
]
PAIRS = [Example(one.ids + two.ids, one.labels + two.labels, len(one.ids)) for one, two in pairwise(EXAMPLES)]
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
IS_AUTOCAST_ENABLED = torch.is_autocast_enabled


class Waited(AssertionError):
    """The host would wait for the device, or numbers lie in two places."""


class Watched(TorchDispatchMode):
    """Count the copies to the device; ``Waited`` where one is waited for, and where two places are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        places = {each.device.type for each in given if each.dim() or each.device.type == "meta"}
        if func in COPIES and isinstance(found, Tensor) and places == {"cpu"} and found.device.type == "meta":
            self.sent += 1
            if not kwargs.get("non_blocking"):
                raise Waited(f"{func} of {tuple(given[0].shape)} to the device is waited for")
        elif len(places) > 1:
            raise Waited(f"{func} of numbers on {sorted(places)}")
        if func.name() == "torch_attn::_varlen_attn":
            assert [each.dtype for each in args[:5]] == [torch.bfloat16] * 3 + [torch.int32] * 2, "FlashAttention's own"
        return found


class Made(TorchFunctionMode):
    """``Waited`` where a tensor is made of the host's numbers right on the device: that is a copy, too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == "meta":
            raise Waited(f"torch.{func.__name__} copies to the device and is waited for")
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page-locked memory is had with a GPU only; autocast has nothing to say of ``meta``."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda each: each)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind="cuda": kind != "meta" and IS_AUTOCAST_ENABLED(kind))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many figures the host asked for, each time it asked."""
    asked: list[int] = []

    def answered(*figures: Tensor) -> list[float]:
        assert {each.device.type for each in figures} == {"meta"}
        asked.append(len(figures))
        return [0.0] * len(figures)

    monkeypatch.setattr(tuner, "_told", answered)
    return asked


def _model(kind: str, recipe: Recipe, kernels: Kernels, dtype: torch.dtype) -> Any:
    """Return what ``model.load`` makes for a GPU of a random model, on the device."""
    torch.manual_seed(1)
    base = MODEL_FOR_CAUSAL_LM_MAPPING[type(KINDS[kind])](KINDS[kind]).to(dtype)
    way = Way(FAMILIES[type(base).__name__], "", 64)
    return fitted(base, recipe, way, kernels, "cuda:0").to("meta")


def _tuner(recipe: Recipe, dtype: str) -> Any:
    """Return the trainer without Hugging Face's own parts."""
    made: Any = object.__new__(Tuner)
    made.recipe, made.gang = recipe, ALONE
    made.plan = SimpleNamespace(dtype=dtype, device="cuda:0")
    made.args = SimpleNamespace(device=torch.device("meta"))
    made.accelerator = SimpleNamespace(backward=lambda loss: loss.backward())
    made._metrics = {"train": defaultdict(list)}
    made.after_pass = lambda: None
    made.tokens = made.trained_tokens = 0
    return made


def _stepped(kind: str, recipe: Recipe, how: Attention, dtype: torch.dtype) -> tuple[Any, int]:
    """Carry out a step of two rows and the optimiser's; return the model and how often something was sent to it."""
    model = _model(kind, recipe, Kernels(attention=how), dtype)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, foreach=True)
    rows = pack(PAIRS if recipe.objective == "dpo" else EXAMPLES, 36)
    assert len(rows) > 1
    with Made(), Watched() as watched:
        loss = _tuner(recipe, str(dtype).removeprefix("torch.")).training_step(model, {"rows": rows})
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    assert (loss.device.type, loss.dtype) == ("meta", torch.float32)
    assert all(each.grad is not None and each.grad.dtype == each.dtype == torch.float32 for each in trained)
    return model, watched.sent // len(rows)


@pytest.mark.parametrize(("how", "objective"), [("varlen", "supervised"), ("each", "supervised"), ("varlen", "dpo")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_is_trained_without_waiting(kind: str, how: Attention, objective: str, told: list[int]) -> None:
    recipe = Recipe(base_model="", rank=4, dropout=0.1, objective=objective)
    model, sent = _stepped(kind, recipe, how, torch.bfloat16)
    assert told == [4], "one answer a step"
    assert sent == (2 if objective == "dpo" else 1), "one copy for each look at a row"
    assert all("lora_" in name for name, each in model.named_parameters() if each.requires_grad)
    assert all(each.dtype == torch.bfloat16 for each in model.parameters() if not each.requires_grad)
    assert {type(each) for each in model.modules() if isinstance(each, Linear)} == {Together}


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_trained_without_waiting(kind: str, told: list[int]) -> None:
    _, sent = _stepped(kind, Recipe(base_model="", method="full"), "each", torch.float32)
    assert (told, sent) == ([4], 1)


def test_an_evaluation_asks_once(told: list[int]) -> None:
    recipe = Recipe(base_model="", rank=4)
    measuring = _tuner(recipe, "bfloat16")
    measuring.model = _model("Llama", recipe, Kernels(attention="varlen"), torch.bfloat16).eval()
    measuring.validation = EXAMPLES
    with Made(), Watched() as watched:
        measuring._measured(36)
    assert (told, watched.sent) == ([2], 2)


SPOILED: dict[str, Callable[[Tensor], Any]] = {
    "a number is asked for": lambda x: x.sum().item(),
    "a truth is asked for": lambda x: bool(x.isnan().any()),
    "a mask chooses": lambda x: x[x > 0],
    "what is not zero is looked for": lambda x: x.nonzero(),
    "a copy goes to the host": lambda x: x.cpu(),
    "a copy comes from the host": lambda x: torch.ones(3).to(x.device),
    "a tensor is made of the host's numbers": lambda x: torch.tensor([1, 2], device=x.device),
    "an index lies on the host": lambda x: x[torch.tensor([0, 1])],
    "a factor lies on the host": lambda x: x * torch.ones(x.shape[-1]),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_pass_that_would_be_waited_for_is_found_out(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoils every attention of a step, each time in another way."""
    attend = attention.varlen

    def spoiled(module: Any, query: Tensor, *rest: Any, **more: Any) -> Any:
        SPOILED[how](query)
        return attend(module, query, *rest, **more)

    monkeypatch.setattr(attention, "varlen", spoiled)
    with pytest.raises((Waited, NotImplementedError, RuntimeError), match=r"waited for|on \['cpu', 'meta'\]|meta"):
        _stepped("Llama", Recipe(base_model="", rank=4), "varlen", torch.bfloat16)
