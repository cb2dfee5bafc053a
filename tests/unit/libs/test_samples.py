"""The sample data is as large as it says, well formed, and no text in it repeats another."""

import json
from itertools import combinations
from pathlib import Path

from libs.samples import CONVERSATIONS, LESSONS, PREFERENCES

WORDS = 5
NEAR = 0.3


def conversations() -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in CONVERSATIONS.read_text().splitlines()]


def lessons() -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(Path(LESSONS).glob("*.json"))]


def closest(texts: list[str]) -> float:
    """The greatest share of five-word sequences that two of the texts have in common."""
    sets = []
    for text in texts:
        words = text.lower().split()
        sets.append({tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)})
    return max(len(one & other) / len(one | other) for one, other in combinations(sets, 2))


def test_there_are_conversations_enough_in_turns() -> None:
    found = conversations()
    assert len(found) >= 120
    assert sum(len(each) for each in found) // 2 >= 700
    for each in found:
        assert [turn["role"] for turn in each] == ["user", "assistant"] * (len(each) // 2)
        assert all(turn["content"].strip() for turn in each)


def test_there_are_pairs_enough_whose_preferred_reply_says_more() -> None:
    found = [json.loads(line) for line in PREFERENCES.read_text().splitlines()]
    assert len(found) >= 60
    sides = [[each[name][0]["content"] for each in found] for name in ("preferred_output", "non_preferred_output")]
    for good, bad in zip(*sides, strict=True):
        assert len(good) > len(bad) > 20
    assert len({each["input"]["messages"][0]["content"] for each in found}) == len(found)
    assert all(closest(side) < NEAR for side in sides)


def test_there_are_lessons_by_five_instructors_with_words_in_order() -> None:
    found = lessons()
    assert len(found) == 40
    assert len({each["metadata"]["instructor"] for each in found}) == 5
    for lesson in found:
        segments = lesson["segments"]
        assert [s["start"] for s in segments] == sorted(s["start"] for s in segments)
        for segment in segments:
            times = [time for word in segment["words"] if "start" in word for time in (word["start"], word["end"])]
            assert times == sorted(times)
            assert segment["start"] <= times[0]
            assert times[-1] <= segment["end"]
            assert " ".join(word["word"] for word in segment["words"]) == segment["text"]


def test_no_two_conversations_or_lessons_are_near_duplicates() -> None:
    assert closest([" ".join(turn["content"] for turn in each) for each in conversations()]) < NEAR
    assert closest([" ".join(segment["text"] for segment in each["segments"]) for each in lessons()]) < NEAR
