"""What was left out of a dataset is shown: how many for which reason, and what resembles what."""

from rich.console import Console

from services.cli import show


def test_near_duplicates_are_shown_with_what_they_resemble() -> None:
    resembling = [{"line": 112 + at, "resembles": 17, "similarity": 0.943} for at in range(9)]
    figures = {
        "train_examples": 80, "validation_examples": 10, "test_examples": 10, "train_tokens": 9_000,
        "trained_tokens": 4_000, "digest": "ab" * 32,
        "dropped": [
            {"reason": "duplicate", "count": 2, "lines": [7, 8]},
            {"reason": "near_duplicate", "count": 9, "lines": [112], "resembling": resembling},
        ],
    }  # fmt: skip
    found = {
        "id": "ds-1", "state": "ready", "filename": "chats.jsonl", "format": "openai", "figures": figures,
        "problem_count": 0,
    }  # fmt: skip
    console = Console(width=120)
    with console.capture() as shown:
        console.print(show.dataset(found))
    assert "2 × duplicate" in shown.get()
    assert "9 × near duplicate" in shown.get()
    assert "line 112 is 94% the same as line 17" in shown.get()
    assert shown.get().count("the same as line") == show.SHOWN_RESEMBLANCES
