"""Ids that say the same twice, and names that are safe."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.base import subject_of
from contracts.datasets import SplitPlan
from contracts.jobs import JobCancelAsked
from services.gateway.domain.naming import dataset_id, fact_id, shown_filename

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def fact(seconds: float = 0, version: int = 1) -> JobCancelAsked:
    return JobCancelAsked(tenant="studio", at=NOON + timedelta(seconds=seconds), version=version, job_id="ftjob-1")


def test_the_same_wish_names_the_same_dataset_and_any_change_another() -> None:
    plain = ("studio", "a" * 64, "", "model", "auto", SplitPlan(), 2048)
    assert dataset_id(*plain) == dataset_id(*plain)
    others = [
        ("rival", *plain[1:]),
        (plain[0], "b" * 64, *plain[2:]),
        (*plain[:2], "c" * 64, *plain[3:]),
        (*plain[:5], SplitPlan(seed=7), 2048),
        (*plain[:6], 1024),
    ]
    assert len({dataset_id(*plain), *(dataset_id(*other) for other in others)}) == 6


def test_a_dataset_id_may_stand_in_a_subject() -> None:
    name = dataset_id("studio", "a" * 64, "", "model", "auto", SplitPlan(), 2048)
    assert subject_of(JobCancelAsked(tenant="studio", at=NOON, job_id=name))


def test_ids_of_facts_sort_by_time_to_the_microsecond_and_repeat() -> None:
    names = [fact_id("ftevent", fact(seconds), "ftjob-1") for seconds in (-86400, 0, 0.000001, 1, 10**8)]
    assert names == sorted(names)
    assert fact_id("ftevent", fact(), "ftjob-1") == fact_id("ftevent", fact(), "ftjob-1")
    assert fact_id("ftevent", fact(), "ftjob-1") != fact_id("ftevent", fact(), "ftjob-2")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chats.jsonl", "chats.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\my chats.jsonl", "my chats.jsonl"),
        ("Gespräche\n.jsonl", "Gespräche.jsonl"),
        ("..", ".."),
        ("/", "file"),
    ],
)
def test_names_of_uploads_are_shown_plain(name: str, shown: str) -> None:
    assert shown_filename(name) == shown
