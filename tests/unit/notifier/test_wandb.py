"""What Weights & Biases is told of a job, and when it is told again: decisions."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.trackers import Labels, Measured, Tracked
from services.notifier.domain import tracking
from services.notifier.domain.wandb import (
    EXIT_CODES,
    HISTORY,
    SUMMARY,
    Standing,
    config_of,
    labels_of,
    payload_of,
    standing_in,
    worth_showing,
)

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def measured(step: int, **changes: Any) -> Measured:
    given: dict[str, Any] = {
        "step": step,
        "at": AT + timedelta(seconds=step),
        "epoch": 0.5,
        "train_loss": 2.0,
        "learning_rate": 1e-4,
        "grad_norm": 1.0,
        "tokens": 100,
        "tokens_per_second": 50.0,
    }
    return Measured(**(given | changes))


def tracked(*steps: Measured, **changes: Any) -> Tracked:
    given: dict[str, Any] = {
        "labels": Labels(project="coach"),
        "created_at": AT,
        "base_model": SHIPPED_MODEL,
        "dataset_id": "ds-1",
        "training_file": "file-1",
        "validation_file": "",
        "preset": "quick",
        "seed": 42,
        "recipe": Recipe(base_model=SHIPPED_MODEL, rank=8),
        "began": AT,
        "steps": steps,
    }
    return Tracked(**(given | changes))


def test_lines_go_on_after_those_that_are_there_and_the_summary_keeps_what_newer_ones_lack() -> None:
    first, standing = payload_of(tracked(measured(1), measured(4, valid_loss=1.5)), Standing())
    assert first["files"][HISTORY]["offset"] == 0
    assert (standing.step, standing.lines) == (4, 2)
    later, standing = payload_of(tracked(measured(4), measured(5, train_loss=0.5)), standing)
    assert (later["files"][HISTORY]["offset"], standing.step, standing.lines) == (2, 5, 3)
    [line] = map(json.loads, later["files"][HISTORY]["content"])
    assert line == {
        "epoch": 0.5, "train_loss": 0.5, "learning_rate": 1e-4, "grad_norm": 1.0, "tokens": 100,
        "tokens_per_second": 50.0, "_step": 5, "_timestamp": AT.timestamp() + 5, "_runtime": 5.0,
    }  # fmt: skip
    [summary] = map(json.loads, later["files"][SUMMARY]["content"])
    assert (summary["valid_loss"], summary["train_loss"], summary["_step"]) == (1.5, 0.5, 5)
    assert payload_of(tracked(measured(5)), standing) == ({}, standing)


def test_an_end_is_told_with_or_without_lines() -> None:
    for ended, code in EXIT_CODES.items():
        payload, _ = payload_of(tracked(ended=ended), Standing(step=3, lines=2))
        assert payload == {"complete": True, "exitcode": code}
    payload, _ = payload_of(tracked(measured(1), ended="succeeded"), Standing())
    assert (set(payload), payload["exitcode"]) == ({"files", "complete", "exitcode"}, 0)


@pytest.mark.parametrize(
    ("job", "lines", "shown"),
    [
        (tracked(), 0, False),
        (tracked(measured(1)), 0, True),
        (tracked(), 3, True),
        (tracked(ended="failed"), 0, True),
        (tracked(ended="failed", recipe=None), 0, False),
        (tracked(ended="cancelled"), 0, False),
    ],
)
def test_a_run_is_made_when_there_is_something_to_show(job: Tracked, lines: int, shown: bool) -> None:
    assert worth_showing(job, lines) is shown


def test_labels_are_a_persons_own_beside_three_of_ours_each_once_and_short_enough() -> None:
    wished = Labels(project="p", tags=("a", "woodshed/finetune", "a"))
    labels = labels_of("ftjob-1", tracked(labels=wished, base_model="m" * 100))
    assert labels.name == "ftjob-1"
    assert labels.tags == ("woodshed/finetune", ("woodshed/" + "m" * 100)[:64], "woodshed/ftjob-1", "a")
    assert labels_of("ftjob-1", tracked(labels=Labels(project="p", name="mine"))).name == "mine"


def test_the_configuration_is_the_recipe_and_what_it_is_of() -> None:
    config = {name: each["value"] for name, each in json.loads(config_of("ftjob-1", tracked())).items()}
    assert (config["rank"], config["job_id"], config["dataset"], config["validation_file"]) == (
        8, "ftjob-1", "ds-1", None,
    )  # fmt: skip
    assert "rank" not in json.loads(config_of("ftjob-1", tracked(recipe=None)))


@pytest.mark.parametrize(
    ("tail", "step"),
    [
        ('["{\\"_step\\": 7}"]', 7),
        ('["{\\"_step\\": 7}", "{\\"_step\\": 9}"]', 9),
        ("[]", -1),
        (None, -1),
        ("nonsense", -1),
        ('["nonsense", "3", "{}", "{\\"_step\\": null}"]', -1),
    ],
)
def test_where_a_run_stands_is_read_from_its_last_lines(tail: str | None, step: int) -> None:
    assert standing_in(3, tail, '{"loss": 1}') == Standing(step=step, lines=3, summary={"loss": 1})
    assert standing_in(3, tail, "[]").summary == {}
    assert standing_in(3, tail, None).at_least(8, 2) == Standing(step=max(step, 8), lines=3)


def test_looks_grow_rarer_waits_are_bounded_and_giving_up_needs_an_end() -> None:
    assert tracking.look(timedelta(seconds=1)) == tracking.EVERY
    assert tracking.look(timedelta(minutes=10)) == 30
    assert tracking.look(timedelta(days=2)) == tracking.LONGEST_LOOK
    assert tracking.wait(1, asked=0) <= 5.0
    assert 300 <= tracking.wait(5000, asked=0) <= 600
    assert tracking.wait(1, asked=1000) == 1000
    long_ago = AT - timedelta(days=4)
    assert tracking.is_over(long_ago, AT, "succeeded")
    assert not tracking.is_over(long_ago, AT, "")
    assert not tracking.is_over(AT - timedelta(days=2), AT, "failed")
    assert not tracking.is_over(None, AT, "failed")
