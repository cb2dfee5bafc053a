"""The real model: an interrupted run equals an uninterrupted one, and the adapter teaches what it was shown."""

from pathlib import Path

import msgspec
import pytest

from libs.lm.generate import load, replies
from services.trainer.training.protocol import AttemptSpec, Finished, Stopped
from tests.integration.training.runs import carry_out, changed, talks, write_split


@pytest.fixture
def real(spec: AttemptSpec, smollm2: Path) -> AttemptSpec:
    """Three steps of two conversations, a checkpoint after the second."""
    recipe = msgspec.structs.replace(spec.recipe, batch_size=2, max_steps=3, learning_rate=1e-3)
    return changed(spec, model_dir=str(smollm2), recipe=recipe, micro_tokens=768)


@pytest.mark.slow
def test_the_shipped_model_resumes_to_the_same_bytes(real: AttemptSpec, tmp_path: Path) -> None:
    calm = carry_out(changed(real, work_dir=str(tmp_path / "calm")))[-1]
    asked = iter([False] * 2 + [True] * 20)
    stopped = carry_out(real, lambda: next(asked))[-1]
    assert isinstance(stopped, Stopped)
    resumed = carry_out(changed(real, attempt=2, fence=2, resume_from=stopped.path))[-1]
    assert isinstance(calm, Finished)
    assert isinstance(resumed, Finished)
    assert (resumed.digest, resumed.train_loss, resumed.eval_loss) == (calm.digest, calm.train_loss, calm.eval_loss)


@pytest.mark.slow
def test_the_shipped_model_learns_a_reply(real: AttemptSpec, smollm2: Path, tmp_path: Path) -> None:
    talk = talks(1)
    train = write_split(tmp_path / "one.parquet", talk)
    recipe = msgspec.structs.replace(
        real.recipe, epochs=12, max_steps=0, batch_size=1, learning_rate=2e-3, rank=8, alpha=16
    )
    finished = carry_out(changed(real, train=str(train), validation=None, recipe=recipe))[-1]
    assert isinstance(finished, Finished)
    loaded = load(smollm2, Path(finished.path))
    base, tuned = (replies(loaded, [talk[0][:1]], tuned=each, max_new_tokens=40)[0] for each in (False, True))
    assert tuned.text == talk[0][1]["content"]
    assert tuned.finished
    assert base.text != tuned.text
