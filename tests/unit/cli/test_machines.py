"""``woodshed machines``: what is said of a device."""

from typing import Any

import pytest

from services.cli.machines import heard, jobs, state

DEVICE: dict[str, Any] = {"online": True, "leaving": False, "jobs": [], "others": 0, "heard_ago": 0.8}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "idle"),
        ({"jobs": ["ftjob-1"]}, "at work"),
        ({"others": 1}, "at work"),
        ({"online": False}, "silent"),
        ({"online": False, "leaving": True}, "leaving"),
    ],
)
def test_a_device_is_in_one_state(change: dict[str, Any], word: str) -> None:
    assert state(DEVICE | change) == word


def test_jobs_of_others_are_counted_and_not_named() -> None:
    assert jobs(DEVICE | {"jobs": ["ftjob-1"], "others": 2}) == "ftjob-1\n2 of others"
    assert (jobs(DEVICE), heard(DEVICE), heard(DEVICE | {"heard_ago": None})) == ("–", "1 s ago", "–")
