"""The loss is TRL's, neighbours in a row do not see each other, and only replies are differentiated."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from libs.lm.chat import ChatFormat
from services.trainer.training.data import Example, Row, pack
from services.trainer.training.loss import PART, _scored_at_once, _scored_in_parts, chunks, row_loss
from tests.integration.training.runs import talks


@pytest.fixture
def model(tiny: Path) -> Any:
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    torch.manual_seed(1)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return tuned.eval()


@pytest.fixture
def examples(chat: ChatFormat) -> list[Example]:
    return [Example(each.ids, each.labels) for each in map(chat.encode, talks(5))]


def _grads(model: Any) -> list[torch.Tensor]:
    return [each.grad.clone() for each in model.parameters() if each.grad is not None]


def test_the_loss_and_gradient_are_those_of_trl(model: Any, examples: list[Example], tmp_path: Path) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
    from trl.trainer.utils import add_fused_lm_head

    (row,) = pack(examples, 4096)
    total, _ = row_loss(model, row)
    total.backward()
    ours = _grads(model)
    model.zero_grad()

    add_fused_lm_head(model.get_base_model(), outputs=("log_probs",))
    ordered = sorted(examples, key=lambda each: -len(each.ids))
    collate = DataCollatorForLanguageModeling(pad_token_id=2, padding_free=True)
    batch = collate([{"input_ids": each.ids, "labels": each.labels} for each in ordered])
    theirs = -model(**batch, fused_lm_head=True).log_probs.sum()
    theirs.backward()

    assert float(total) == pytest.approx(float(theirs), rel=1e-5)
    for mine, other in zip(ours, _grads(model), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_packed_examples_lose_what_they_lose_alone(model: Any, examples: list[Example]) -> None:
    (row,) = pack(examples, 4096)
    alone = [row_loss(model, pack([each], 1)[0]) for each in examples]
    together, right = row_loss(model, row)
    assert float(together) == pytest.approx(sum(float(total) for total, _ in alone), rel=1e-5)
    assert int(right) == sum(int(each) for _, each in alone)


def test_a_neighbour_changes_nothing(model: Any, examples: list[Example]) -> None:
    first, second = sorted(examples, key=lambda each: -len(each.ids))[:2]
    muted = Example(second.ids, [-100] * len(second.ids))
    other = Example([token + 7 for token in second.ids], muted.labels)
    beside = [row_loss(model, pack([first, neighbour], 4096)[0])[0] for neighbour in (muted, other)]
    assert float(beside[0]) == float(beside[1])


def test_without_positions_neighbours_would_leak(model: Any, examples: list[Example]) -> None:
    (row,) = pack(examples, 4096)
    leaking = Row(row.ids, row.labels, list(range(len(row.ids))))
    assert abs(float(row_loss(model, row)[0]) - float(row_loss(model, leaking)[0])) > 1e-2


def test_only_lora_weights_have_a_gradient(model: Any, examples: list[Example]) -> None:
    row_loss(model, pack(examples, 4096)[0])[0].backward()
    moved = [name for name, each in model.named_parameters() if each.grad is not None]
    assert moved
    assert all("lora_" in name for name in moved)


WAYS = pytest.mark.parametrize("scored", [_scored_in_parts, _scored_at_once], ids=["for a CPU", "for a GPU"])


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_slopes_and_right_guesses_are_torchs_own(dtype: torch.dtype, scored: Any) -> None:
    """Several are often equally likely, as they are in bfloat16: the first is the guess, as it is for ``argmax``."""
    torch.manual_seed(2)
    logits = (torch.randn(3 * PART + 5, 5000) * 8).round().to(dtype)
    labels = logits.argmax(-1)
    labels[::3] = torch.randint(5000, labels[::3].shape)
    tied = (logits == logits.amax(-1, keepdim=True)).int()
    labels[1::3] = (5000 - 1 - tied.flip(-1).argmax(-1))[1::3]
    exact = logits.clone().float().requires_grad_()
    theirs = -torch.nn.functional.cross_entropy(exact, labels, reduction="none")
    theirs.sum().backward()
    hits = (logits.argmax(-1) == labels).sum()
    ours, right = scored(logits, labels)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
    assert exact.grad is not None
    torch.testing.assert_close(logits, -exact.grad.to(dtype), rtol=1e-5 if dtype is torch.float32 else 1e-2, atol=1e-6)
    assert int(right) == int(hits)
    assert int((tied.sum(-1) > 1).sum()) > 10


def test_a_gpu_is_given_more_positions_at_once_unless_the_vocabulary_is_large() -> None:
    for device, size, positions in (("cpu", 49_152, 256), ("meta", 49_152, 1365), ("meta", 10**6, 256)):
        parts = chunks(3000, torch.empty(size, 8, device=device))
        assert parts[0] == slice(0, positions)
        assert sum(len(range(3000)[part]) for part in parts) == 3000


@WAYS
def test_what_can_hardly_be_right_loses_a_finite_sum(scored: Any) -> None:
    logits = torch.tensor([[300.0, 0.0], [0.0, 300.0]])
    ours, right = scored(logits, torch.tensor([1, 1]))
    assert ours.tolist() == [-300.0, 0.0]
    assert int(right) == 1
