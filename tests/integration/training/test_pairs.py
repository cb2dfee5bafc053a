"""Learning from pairs: the loss is TRL's, the reference is the base, it learns, and an interruption changes no byte."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from msgspec import json
from msgspec.structs import replace
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from libs.lm.chat import ChatFormat
from services.trainer.training import metrics
from services.trainer.training.checkpoints import WEIGHTS
from services.trainer.training.data import Example, NothingToLearn, pack, read_pairs
from services.trainer.training.model import tokenizer
from services.trainer.training.preferring import pair_loss
from services.trainer.training.protocol import AttemptSpec, Finished, Progressed, Stopped
from tests.integration.training.runs import ANSWERS, QUESTIONS, carry_out, changed

BETA = 0.3


def write_pairs(path: Path, count: int) -> Path:
    """Write a split of pairs as the dataset service does: a warm reply against a cold one."""
    rows = []
    for number in range(count):
        asked = [{"role": "user", "content": f"({number}) {QUESTIONS[number % 5]}"}]
        warm, cold = (
            [*asked, {"role": "assistant", "content": said}] for said in (ANSWERS[number % 5], f"No. {number}.")
        )
        rows.append({"id": f"e-{number}", "messages": json.encode(warm), "rejected": json.encode(cold)})
    parquet.write_table(pa.Table.from_pylist([{name: _text(each) for name, each in row.items()} for row in rows]), path)
    return path


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.fixture
def pairs(chat: ChatFormat, tmp_path: Path) -> list[Example]:
    return read_pairs(write_pairs(tmp_path / "pairs.parquet", 5), chat, 512).examples


@pytest.fixture
def spec(spec: AttemptSpec, tmp_path: Path) -> AttemptSpec:
    """Three passes over ten pairs, four a step, in more than one packed row."""
    recipe = replace(spec.recipe, objective="dpo", beta=BETA, dropout=0.0, learning_rate=5e-3)
    train, validation = (write_pairs(tmp_path / f"{name}.parquet", count) for name, count in (("t", 10), ("v", 3)))
    return changed(spec, recipe=recipe, train=str(train), validation=str(validation), micro_tokens=128)


def _tuned(tiny: Path, *, fresh: bool) -> Any:
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    torch.manual_seed(1)
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=fresh)).eval()


def _for_trl(pair: Example) -> dict[str, list[int]]:
    """Cut a pair into what both replies answer, and the taught part of each."""
    halves = [slice(0, pair.second), slice(pair.second, None)]
    taught = [[at for at, label in enumerate(pair.labels[half]) if label != -100] for half in halves]
    good, bad = (pair.ids[half][places[0] : places[-1] + 1] for half, places in zip(halves, taught, strict=True))
    return {"prompt_ids": pair.ids[: taught[0][0]], "chosen_ids": good, "rejected_ids": bad}


def test_the_loss_and_gradient_are_those_of_trl(tiny: Path, pairs: list[Example], tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model = _tuned(tiny, fresh=False)
    (row,) = pack(pairs, 4096)
    total, _, margins, won = pair_loss(BETA)(model, row)
    (total / len(pairs)).backward()
    ours = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    model.zero_grad()

    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(output_dir=str(tmp_path), beta=BETA, use_cpu=True, bf16=False, report_to="none"),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer(tiny),
    )
    model.delete_adapter("ref")  # TRL compares with the adapter as it came; a new one has only its base
    model.eval()
    batch = trainer.data_collator([_for_trl(each) for each in pairs])
    theirs = trainer.compute_loss(model, batch)
    theirs.backward()

    assert float(total.detach()) / len(pairs) == pytest.approx(float(theirs.detach()), rel=1e-5)
    seen = trainer._metrics["eval"]
    assert float(margins) / len(pairs) == pytest.approx(seen["rewards/margins"][0], rel=1e-4)
    assert float(won) / len(pairs) == pytest.approx(seen["rewards/accuracies"][0])
    others = [each.grad for each in model.parameters() if each.grad is not None]
    assert any(float(each.abs().max()) > 1e-3 for each in ours)
    for mine, other in zip(ours, others, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_pairs_lose_together_what_they_lose_alone(tiny: Path, pairs: list[Example]) -> None:
    model = _tuned(tiny, fresh=False)
    together = pair_loss(BETA)(model, pack(pairs, 4096)[0])
    alone = [pair_loss(BETA)(model, row) for each in pairs for row in pack([each], 1)]
    for all_at_once, singly in zip(together, zip(*alone, strict=True), strict=True):
        assert float(all_at_once) == pytest.approx(sum(map(float, singly)), rel=1e-4)


def test_a_model_that_has_learned_nothing_prefers_nothing(tiny: Path, pairs: list[Example]) -> None:
    model = _tuned(tiny, fresh=True)
    loss, _, margins, won = pair_loss(BETA)(model, pack(pairs, 4096)[0])
    assert float(loss) == pytest.approx(len(pairs) * math.log(2))
    assert (float(margins), int(won)) == (0.0, 0)


def test_pairs_that_cutting_makes_equal_or_empty_are_left_out(chat: ChatFormat, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", 5)
    whole = read_pairs(path, chat, 512)
    shortest = min(each.second for each in whole.examples)
    assert read_pairs(path, chat, shortest).cut > 0
    with pytest.raises(NothingToLearn, match="two replies that differ"):
        read_pairs(path, chat, 8)


def test_it_learns_to_prefer_and_resumes_to_the_same_bytes(spec: AttemptSpec, tmp_path: Path) -> None:
    undisturbed = changed(spec, work_dir=str(tmp_path / "undisturbed"))
    lines = carry_out(undisturbed)
    finished = lines[-1]
    assert isinstance(finished, Finished)
    points = metrics.read(Path(undisturbed.work_dir) / "adapter")
    assert points[0].train_loss == pytest.approx(math.log(2), rel=1e-4)
    assert (points[0].reward_margin, points[0].reward_accuracy) == (0.0, 0.0)
    assert points[-1].train_loss < 0.5
    assert points[-1].reward_margin
    assert points[-1].reward_margin > 0.5
    assert points[-1].reward_accuracy == 1.0
    assert finished.eval_loss is not None
    assert finished.eval_loss < 0.5
    told = [each for each in lines if isinstance(each, Progressed)]
    assert told[-1].reward_margin == points[-1].reward_margin

    asked = iter([False] * 5)
    stopped = carry_out(spec, lambda: next(asked, True))[-1]
    assert isinstance(stopped, Stopped)
    assert 0 < stopped.step < finished.step
    carry_out(changed(spec, attempt=2, fence=2, resume_from=stopped.path))
    for name in (WEIGHTS["lora"], metrics.FILE):
        again, whole = (Path(each.work_dir) / "adapter" / name for each in (spec, undisturbed))
        assert again.read_bytes() == whole.read_bytes()
