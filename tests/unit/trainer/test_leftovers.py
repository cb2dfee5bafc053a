"""What of a run's objects is nobody's, and what must never be taken for it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.trainer.domain.leftovers import Ended, fence_of, is_left

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=2)
JUST_NOW = NOW - timedelta(minutes=59)
RUN = "acme/runs/run-1/fence-7"
SAVED = (f"{RUN}/step-10",)
LOST = Ended(7, LONG_AGO, False)
DONE = Ended(7, LONG_AGO, True)


@pytest.mark.parametrize(
    ("key", "written", "lease", "left"),
    [
        (f"{RUN}/step-20/optimizer.pt", LONG_AGO, LOST, True),
        (f"{RUN}/step-20/optimizer.pt", LONG_AGO, None, False),
        (f"{RUN}/step-20/optimizer.pt", JUST_NOW, LOST, False),
        (f"{RUN}/step-20/optimizer.pt", LONG_AGO, Ended(7, JUST_NOW, False), False),
        (f"{RUN}/step-10/optimizer.pt", LONG_AGO, LOST, False),
        (f"{RUN}/step-100/optimizer.pt", LONG_AGO, LOST, True),
        (f"{RUN}/adapter/adapter_model.safetensors", LONG_AGO, LOST, True),
        (f"{RUN}/adapter/adapter_model.safetensors", LONG_AGO, DONE, False),
        (f"{RUN}/step-20/optimizer.pt", LONG_AGO, DONE, True),
        ("acme/files/file-1/talks.jsonl", LONG_AGO, LOST, False),
    ],
)
def test_only_what_is_old_ended_and_named_by_nothing_is_left(
    key: str, written: datetime, lease: Ended | None, left: bool
) -> None:
    assert is_left(key, written, lease, SAVED, NOW) == left


def test_a_key_tells_the_fence_it_was_written_under() -> None:
    assert fence_of(f"{RUN}/step-10/MANIFEST.json") == 7
    assert fence_of("acme/datasets/d1/manifest.json") is None
    assert fence_of("acme/files/fence-7/x") is None
