"""``woodshed wandb``: with which key jobs are said to be shown."""

import pytest

from services.cli.trackers import said


@pytest.mark.parametrize(
    ("key", "available", "words"),
    [
        ("…4567", True, "the organisation's key …4567"),
        (None, True, "the installation's key"),
        (None, False, "woodshed wandb set"),
    ],
)
def test_it_is_said_whose_key_is_used_or_how_to_give_one(key: str | None, available: bool, words: str) -> None:
    assert words in said({"object": "wandb_key", "api_key": key, "available": available})
