"""What a retry changes: the fix above what was, a person's wishes above the fix, and nothing else."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.jobs import Overrides, Remedy
from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.errors import Conflict, Rejected
from services.gateway.domain import log
from services.gateway.domain.retries import ASKED, Failed, hindrance, plan

HALVE = Remedy(
    kind="change_settings", title="Half the rate", sentence="Halve it.", overrides=Overrides(learning_rate=1e-4)
)
MEND = Remedy(kind="change_data", title="Mend the file", sentence="Line 3 has no reply.")
RECIPE = Recipe(base_model=SHIPPED_MODEL, rank=16, learning_rate=2e-4, batch_size=3)
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def failed(**changes: Any) -> Failed:
    given: dict[str, Any] = {
        "job_id": "ftjob-1",
        "status": "failed",
        "preset": "balanced",
        "overrides": Overrides(epochs=5),
        "training_file": "file-1",
        "recipe": RECIPE,
        "remedy": HALVE,
    }
    return Failed(**(given | changes))


def shown(job: Failed, asked: Overrides | None = None, **how: Any) -> list[tuple[str, Any, Any, str]]:
    made = plan(job, asked or Overrides(), how.pop("training_file", None), **({"with_fix": True} | how))
    return [(each.field, each.old, each.new, each.why) for each in made.changes]


def test_the_fix_is_the_only_change_and_names_its_reason() -> None:
    made = plan(failed(), Overrides(), None, with_fix=True)
    assert made.overrides == Overrides(epochs=5, learning_rate=1e-4)
    assert shown(failed()) == [("learning_rate", 2e-4, 1e-4, "Halve it.")]


def test_what_a_person_asks_wins_over_the_fix_and_says_so() -> None:
    assert shown(failed(), Overrides(learning_rate=5e-5, rank=8)) == [
        ("learning_rate", 2e-4, 5e-5, ASKED),
        ("rank", 16, 8, ASKED),
    ]


def test_a_retry_as_it_was_changes_nothing() -> None:
    assert plan(failed(), Overrides(), None, with_fix=False).overrides == Overrides(epochs=5)
    assert shown(failed(), with_fix=False) == []


def test_a_multiplier_is_compared_as_the_rate_it_means() -> None:
    before = failed(overrides=Overrides(learning_rate_multiplier=2.0), recipe=None)
    made = plan(before, Overrides(), None, with_fix=True)
    assert made.overrides == Overrides(learning_rate=1e-4)
    assert shown(before) == [("learning_rate", 4e-4, 1e-4, "Halve it.")]
    assert shown(before, Overrides(learning_rate_multiplier=1.0)) == [("learning_rate", 4e-4, 2e-4, ASKED)]


def test_a_job_that_never_had_a_recipe_shows_its_presets_values() -> None:
    assert shown(failed(recipe=None, overrides=Overrides()), Overrides(rank=8, batch_size=4)) == [
        ("learning_rate", 2e-4, 1e-4, "Halve it."),
        ("rank", 16, 8, ASKED),
        ("batch_size", None, 4, ASKED),
    ]


def test_another_file_is_a_change_and_the_same_is_none() -> None:
    assert shown(failed(remedy=MEND), training_file="file-2") == [("training_file", "file-1", "file-2", ASKED)]
    assert shown(failed(remedy=MEND), training_file="file-1") == []


@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "succeeded"])
def test_only_a_job_that_ended_without_a_model_can_be_retried(status: str) -> None:
    assert isinstance(hindrance(failed(status=status), None), Conflict)


def test_refused_data_wants_another_file() -> None:
    refusal = hindrance(failed(remedy=MEND), "file-1")
    assert isinstance(refusal, Rejected)
    assert (refusal.code, refusal.field) == ("data_must_change", "training_file")
    assert "Line 3 has no reply." in refusal.message
    assert hindrance(failed(remedy=MEND), "file-2") is None
    assert hindrance(failed(status="cancelled", remedy=None), None) is None


def test_a_log_tells_story_and_evidence_in_order_of_time() -> None:
    job = {"job_id": "ftjob-1", "status": "failed", "model": SHIPPED_MODEL, "preset": "balanced"}
    story = [{"at": AT.replace(minute=2), "level": "error", "message": "Failed"}]
    kept = [{"at": AT.replace(minute=1), "what": "interrupted", "evidence": "killed by SIGKILL\nlast line"}]
    lines = log.text_of(job, story, kept).splitlines()
    assert lines[0] == "job ftjob-1"
    assert lines[5:] == [
        "2026-11-21 12:01:00.000000Z attempt interrupted",
        "    | killed by SIGKILL",
        "    | last line",
        "2026-11-21 12:02:00.000000Z error Failed",
    ]
