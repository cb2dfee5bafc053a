"""What is measured on a real (tiny) model: nothing is nothing, damage is damage, learning is learning.

Two tests ask the worker process itself; the others measure in this one, which has imported torch already.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from safetensors.numpy import save_file

from contracts.recipes import SHIPPED_MODEL
from libs.lm import ggufs, llama
from libs.lm.adapters import WEIGHTS
from libs.lm.sharing import SHARED_CORES
from services.evaluator.domain.serving import Compared
from services.evaluator.domain.verdicts import judge_perplexity, judge_preference, judge_retention
from services.evaluator.scoring.__main__ import score as measured
from services.evaluator.scoring.failures import Failed
from services.evaluator.scoring.knowledge import SUITE
from services.evaluator.scoring.shapes import CANNOT, Failure, Line, Measured, Progress, ScoringSpec
from tests.integration.evaluator.conftest import TALKS, adapter, split, split_of_pairs

EVERY = ("perplexity", "retention", "replies")


def spec(tmp_path: Path, models: Path, folder: Path, **changes: object) -> ScoringSpec:
    data = split(tmp_path / "test.parquet", TALKS)
    plain = ScoringSpec(
        base=str(models / SHIPPED_MODEL), adapter=str(folder), split=str(data), split_name="test", knowledge=str(SUITE),
        result=str(tmp_path / "measured.json"), suites=EVERY, seed=42, threads=1, precision="float32", reply_tokens=8,
        cache=str(tmp_path / "gguf"),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def worker(spec: ScoringSpec) -> "subprocess.CompletedProcess[bytes]":
    """Let a process of its own measure."""
    path = Path(spec.result).with_name("spec.json")
    path.write_bytes(msgspec.json.encode(spec))
    command = (sys.executable, "-m", "services.evaluator.scoring", str(path))
    return subprocess.run(command, capture_output=True, env=os.environ | SHARED_CORES)


@pytest.mark.parametrize(("precision", "threads"), [("float32", 1), ("bfloat16", 2)])
def test_a_model_against_itself_shows_exactly_no_difference(
    tmp_path: Path, models: Path, precision: str, threads: int
) -> None:
    folder = adapter(tmp_path / "adapter", 0.0)
    found = measured(spec(tmp_path, models, folder, precision=precision, threads=threads))
    score = judge_perplexity(found.likelihoods, seed=42)
    assert (score.verdict, score.change.value, score.change.low, score.change.high) == ("no_difference", 0.0, 0.0, 0.0)
    assert judge_retention(found.answers, 4, seed=42).change.value == 0.0
    assert all(pair.base == pair.tuned for pair in found.pairs)
    assert len(found.pairs) == 10


def test_a_model_against_itself_prefers_exactly_nothing_more(tmp_path: Path, models: Path) -> None:
    pairs = split_of_pairs(tmp_path / "pairs.parquet", TALKS)
    suites = ("preference", "perplexity", "replies")
    plain = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.0), precision="bfloat16")
    found = measured(msgspec.structs.replace(plain, split=str(pairs), suites=suites))
    score = judge_preference(found.preferences, seed=42)
    assert (score.base, score.tuned, score.items, score.verdict) == (0.5, 0.5, 12, "no_difference")
    assert (score.change.value, score.change.low, score.change.high) == (0.0, 0.0, 0.0)
    assert len({each.base_rejected for each in found.preferences}) > 1
    assert [(each.id, each.base_preferred) for each in found.preferences] == [
        (each.id, each.base) for each in found.likelihoods
    ]
    assert all(len(pair.prompt) == 3 for pair in found.pairs)


def test_a_damaged_model_is_called_worse(tmp_path: Path, models: Path) -> None:
    found = measured(spec(tmp_path, models, adapter(tmp_path / "adapter", 1.0), suites=("perplexity",)))
    assert judge_perplexity(found.likelihoods, seed=42).verdict == "worse"
    assert (found.answers, found.pairs) == ((), ())


def test_a_model_that_learned_is_called_better(tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path / "adapter", 0.0)
    teach(models / SHIPPED_MODEL, folder)
    found = measured(spec(tmp_path, models, folder, suites=("perplexity",)))
    assert judge_perplexity(found.likelihoods, seed=42).verdict == "better"


def test_a_process_compares_the_chat_engine_first_tells_progress_to_its_end_and_finds_what_another_finds(
    tmp_path: Path, models: Path
) -> None:
    asked = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.1))
    done = worker(asked)
    assert done.returncode == 0, done.stderr.decode()
    compared, *progress = (msgspec.json.decode(line, type=Line) for line in done.stdout.splitlines())
    assert isinstance(compared, Compared)
    assert (compared.same, compared.prompts, compared.tokens) == (True, 3, 24)
    assert compared.engine == ("llama.cpp" if llama.available() else "transformers")
    told = [each for each in progress if isinstance(each, Progress)]
    last = {each.suite: each for each in told}
    assert tuple(last) == EVERY
    assert len([each for each in told if each.suite == "replies"]) > 2
    shares = [each.share for each in told]
    assert (shares, shares[-1], told[-1].left) == (sorted(shares), 1.0, 0.0)
    assert all(each.done == each.total for each in last.values())
    first, second = msgspec.json.decode(Path(asked.result).read_bytes(), type=Measured), measured(asked)
    assert (first.likelihoods, first.answers, first.pairs) == (second.likelihoods, second.answers, second.pairs)


@pytest.mark.skipif(not llama.available(), reason="this machine has no llama.cpp")
def test_where_llama_cpp_says_something_else_transformers_speaks(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ggufs, "write_merged", lambda _, base, file: shutil.copyfile(base, file))
    measured(spec(tmp_path, models, adapter(tmp_path / "adapter", 1.0), suites=("perplexity",)))
    said = capsys.readouterr()
    compared = msgspec.json.decode(said.out.splitlines()[0], type=Line)
    assert isinstance(compared, Compared)
    assert (compared.same, compared.engine, compared.difference < 0.001) == (True, "transformers", True)
    assert "llama.cpp says something else" in said.err


def test_an_adapter_that_holds_no_numbers_is_refused_with_a_reason(tmp_path: Path, models: Path) -> None:
    end = worker(spec(tmp_path, models, adapter(tmp_path / "adapter", float("nan"))))
    assert end.returncode == CANNOT
    assert msgspec.json.decode(end.stderr.splitlines()[-1], type=Failure).reason == "bad_adapter"


def test_a_split_without_a_reply_is_refused_with_a_reason(tmp_path: Path, models: Path) -> None:
    asked = spec(tmp_path, models, adapter(tmp_path / "adapter", 0.0))
    split(tmp_path / "test.parquet", [TALKS[0][:1]])
    with pytest.raises(Failed) as failed:
        measured(asked)
    assert failed.value.failure.reason == "nothing_held_out"


def teach(base: Path, folder: Path) -> None:
    """Some steps on the talks themselves: enough for a tiny model to know them better."""
    import torch
    from peft import get_peft_model_state_dict

    from libs.lm.generate import load

    loaded = load(base, folder, dtype="float32")
    weights = [weight for name, weight in loaded.model.named_parameters() if "lora_" in name]
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights, lr=4e-2)
    ids = [loaded.chat.encode(talk).ids for talk in TALKS]
    batch = torch.tensor([each[: min(map(len, ids))] for each in ids[::2]])
    for _ in range(6):
        optimiser.zero_grad()
        loaded.model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
    state = get_peft_model_state_dict(loaded.model)
    save_file({name: tensor.detach().numpy() for name, tensor in state.items()}, folder / WEIGHTS)
