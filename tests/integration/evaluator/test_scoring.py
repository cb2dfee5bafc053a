"""The worker process on a real (tiny) model: nothing is nothing, damage is damage, learning is learning."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from safetensors.numpy import save_file

from contracts.recipes import SHIPPED_MODEL
from libs.lm.adapters import WEIGHTS
from services.evaluator import child
from services.evaluator.domain.serving import Compared
from services.evaluator.domain.verdicts import judge_perplexity, judge_preference, judge_retention
from services.evaluator.scoring.knowledge import SUITE
from services.evaluator.scoring.shapes import CANNOT, Failure, Line, Measured, Progress, ScoringSpec
from tests.integration.evaluator.conftest import TALKS, adapter, split, split_of_pairs

EVERY = ("perplexity", "retention", "replies")


def spec(tmp_path: Path, models: Path, folder: Path, **changes: object) -> ScoringSpec:
    data = split(tmp_path / "test.parquet", TALKS)
    plain = ScoringSpec(
        base=str(models / SHIPPED_MODEL), adapter=str(folder), split=str(data), split_name="test", knowledge=str(SUITE),
        result=str(tmp_path / "measured.json"), suites=EVERY, seed=42, threads=1, precision="float32", reply_tokens=8,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


async def scored(spec: ScoringSpec) -> tuple[child.Ended, list[Line]]:
    path = Path(spec.result).with_name("spec.json")
    path.write_bytes(msgspec.json.encode(spec))
    async with child.started("services.evaluator.scoring", str(path)) as process:
        told = [msgspec.json.decode(line, type=Line) async for line in process.lines()]
        return await process.ended(), told


async def measured(spec: ScoringSpec) -> Measured:
    end, _ = await scored(spec)
    assert end.code == 0, end.last
    return msgspec.json.decode(Path(spec.result).read_bytes(), type=Measured)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
async def test_a_model_against_itself_shows_exactly_no_difference(tmp_path: Path, models: Path, precision: str) -> None:
    found = await measured(spec(tmp_path, models, adapter(tmp_path / "adapter", 0.0), precision=precision))
    score = judge_perplexity(found.likelihoods, seed=42)
    assert (score.verdict, score.change.value, score.change.low, score.change.high) == ("no_difference", 0.0, 0.0, 0.0)
    assert judge_retention(found.answers, 4, seed=42).change.value == 0.0
    assert all(pair.base == pair.tuned for pair in found.pairs)
    assert len(found.pairs) == 10


async def test_a_model_against_itself_prefers_exactly_nothing_more(tmp_path: Path, models: Path) -> None:
    pairs = split_of_pairs(tmp_path / "pairs.parquet", TALKS)
    suites = ("preference", "perplexity", "replies")
    plain = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.0), precision="bfloat16")
    found = await measured(msgspec.structs.replace(plain, split=str(pairs), suites=suites))
    score = judge_preference(found.preferences, seed=42)
    assert (score.base, score.tuned, score.items, score.verdict) == (0.5, 0.5, 12, "no_difference")
    assert (score.change.value, score.change.low, score.change.high) == (0.0, 0.0, 0.0)
    assert len({each.base_rejected for each in found.preferences}) > 1
    assert [(each.id, each.base_preferred) for each in found.preferences] == [
        (each.id, each.base) for each in found.likelihoods
    ]
    assert all(len(pair.prompt) == 3 for pair in found.pairs)


async def test_a_damaged_model_is_called_worse(tmp_path: Path, models: Path) -> None:
    found = await measured(spec(tmp_path, models, adapter(tmp_path / "adapter", 1.0), suites=("perplexity",)))
    assert judge_perplexity(found.likelihoods, seed=42).verdict == "worse"
    assert (found.answers, found.pairs) == ((), ())


async def test_a_model_that_learned_is_called_better(tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path / "adapter", 0.0)
    await asyncio.to_thread(teach, models / SHIPPED_MODEL, folder)
    found = await measured(spec(tmp_path, models, folder, suites=("perplexity",)))
    assert judge_perplexity(found.likelihoods, seed=42).verdict == "better"


async def test_the_same_measurement_twice_gives_the_same_figures(tmp_path: Path, models: Path) -> None:
    asked = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.1))
    first, second = await measured(asked), await measured(asked)
    assert (first.likelihoods, first.answers, first.pairs) == (second.likelihoods, second.answers, second.pairs)


async def test_the_chat_engine_is_compared_first_then_progress_of_every_suite_is_told_to_its_end(
    tmp_path: Path, models: Path
) -> None:
    _, told = await scored(spec(tmp_path, models, adapter(tmp_path / "adapter", 0.1)))
    compared, *progress = told
    assert isinstance(compared, Compared)
    assert (compared.same, compared.prompts, compared.tokens) == (True, 3, 24)
    last = {each.suite: each for each in progress if isinstance(each, Progress)}
    assert tuple(last) == EVERY
    assert all(each.done == each.total for each in last.values())


async def test_an_adapter_that_holds_no_numbers_is_refused_with_a_reason(tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path / "adapter", float("nan"))
    end, _ = await scored(spec(tmp_path, models, folder))
    assert end.code == CANNOT
    assert msgspec.json.decode(end.last[-1], type=Failure).reason == "bad_adapter"


async def test_a_split_without_a_reply_is_refused_with_a_reason(tmp_path: Path, models: Path) -> None:
    asked = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.0))
    split(tmp_path / "test.parquet", [TALKS[0][:1]])
    end, _ = await scored(asked)
    assert msgspec.json.decode(end.last[-1], type=Failure).reason == "nothing_held_out"


def teach(base: Path, folder: Path) -> None:
    """Fifteen steps on the talks themselves: enough for a tiny model to know them better."""
    import torch
    from peft import get_peft_model_state_dict

    from libs.lm.generate import load

    loaded = load(base, folder, dtype="float32")
    weights = [weight for name, weight in loaded.model.named_parameters() if "lora_" in name]
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights, lr=2e-2)
    ids = [loaded.chat.encode(talk).ids for talk in TALKS]
    batch = torch.tensor([each[: min(map(len, ids))] for each in ids])
    for _ in range(15):
        optimiser.zero_grad()
        loaded.model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
    state = get_peft_model_state_dict(loaded.model)
    save_file({name: tensor.detach().numpy() for name, tensor in state.items()}, folder / WEIGHTS)
