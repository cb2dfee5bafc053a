"""Which steps a tracker is told: those that nothing changes any more."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from services.gateway.domain.tracked import tracked_of

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
JOB: dict[str, Any] = {
    "created_at": AT,
    "model": SHIPPED_MODEL,
    "dataset_id": "ds-1",
    "training_file": "file-1",
    "validation_file": None,
    "preset": "quick",
    "seed": 42,
    "recipe": msgspec.json.encode(Recipe(base_model=SHIPPED_MODEL)).decode(),
    "wandb": '{"project": "p", "name": null, "entity": null, "tags": ["a"]}',
    "status": "succeeded",
}


def row(step: int) -> dict[str, Any]:
    figures = dict.fromkeys(("epoch", "train_loss", "learning_rate", "grad_norm", "tokens_per_second"), 1.0)
    unknown = dict.fromkeys(("train_mean_token_accuracy", "valid_loss", "reward_margin", "reward_accuracy"))
    return figures | unknown | {"step": step, "at": AT, "tokens": 10, "began": AT, "memory_bytes": 1}


@pytest.mark.parametrize(
    ("steps", "over", "told", "more", "ended"),
    [
        ([], False, [], False, ""),
        ([1], False, [], False, ""),
        ([1, 2], False, [1], False, ""),
        ([1, 2, 3], False, [1, 2], True, ""),
        ([1, 2, 3], True, [1, 2], True, ""),
        ([1, 2], True, [1, 2], False, "succeeded"),
        ([], True, [], False, "succeeded"),
    ],
)
def test_the_newest_step_waits_for_its_evaluation_until_a_later_one_or_the_end(
    steps: list[int], over: bool, told: list[int], more: bool, ended: str
) -> None:
    found = tracked_of(JOB, [row(step) for step in steps], 2, key="k", over=over)
    assert [each.step for each in found.steps] == told
    assert (found.more, found.ended) == (more, ended)
    assert (found.labels.project, found.labels.entity, found.labels.tags) == ("p", "", ("a",))
