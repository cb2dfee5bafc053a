"""Memory that runs out while a model is measured costs a smaller batch, at worst the proof, which then says so."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from services.evaluator import carrying_out
from services.evaluator.carrying_out import Cannot, Tell
from services.evaluator.scoring.failures import OUT_OF_MEMORY
from services.evaluator.scoring.shapes import Failure, Line, ScoringSpec

SPEC = ScoringSpec(
    base="", adapter="", split="", split_name="test", knowledge="", result="", suites=(), seed=42, threads=1, cache=""
)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], list[int]]:
    """Make measurements fail above so many tokens at once, for a reason; return the sizes that are tried."""

    def above(limit: int, reason: str) -> list[int]:
        sizes: list[int] = []

        async def run(module: str, path: Path, tell: Tell) -> None:
            sizes.append(msgspec.json.decode(path.read_bytes(), type=ScoringSpec).batch_tokens)
            if sizes[-1] > limit:
                raise Cannot(Failure(reason, "There is too little."))

        monkeypatch.setattr(carrying_out, "_run", run)
        return sizes

    return above


async def _deaf(line: Line) -> None:
    raise AssertionError(line)


async def test_batches_are_halved_until_memory_is_enough(tried: Callable[..., list[int]], tmp_path: Path) -> None:
    sizes = tried(300, OUT_OF_MEMORY)
    assert (await carrying_out._measure(SPEC, tmp_path, _deaf)).batch_tokens == 256
    assert sizes == [1024, 512, 256]


async def test_memory_that_is_never_enough_ends_the_proof_and_says_what_was_tried(
    tried: Callable[..., list[int]], tmp_path: Path
) -> None:
    sizes = tried(0, OUT_OF_MEMORY)
    with pytest.raises(Cannot, match="128 tokens at a time") as error:
        await carrying_out._measure(SPEC, tmp_path, _deaf)
    assert error.value.failure.reason == OUT_OF_MEMORY
    assert sizes == [1024, 512, 256, 128]


async def test_what_is_not_memory_is_tried_once(tried: Callable[..., list[int]], tmp_path: Path) -> None:
    sizes = tried(0, "bad_data")
    with pytest.raises(Cannot, match="too little"):
        await carrying_out._measure(SPEC, tmp_path, _deaf)
    assert sizes == [1024]
