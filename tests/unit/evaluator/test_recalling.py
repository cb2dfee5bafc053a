"""What is kept of prompts that were read: whole blocks, by model, within a room."""

from services.evaluator.domain.recalling import BLOCK, Readings, whole

SYSTEM = list(range(BLOCK))
FIRST = SYSTEM + list(range(1000, 1000 + BLOCK))
SECOND = SYSTEM + list(range(2000, 2000 + BLOCK))


def test_the_longest_common_beginning_is_recalled_in_whole_blocks() -> None:
    readings: Readings[str, str] = Readings(100)
    readings.keep("a", FIRST, "first", 10)
    readings.keep("a", SECOND, "second", 10)
    assert readings.recall("a", [*FIRST, 7]) == ("first", 2 * BLOCK)
    assert readings.recall("a", [*SECOND, 7]) == ("second", 2 * BLOCK)
    assert readings.recall("a", [*SYSTEM, 7]) is not None
    assert readings.recall("a", [7, *SYSTEM]) is None
    assert readings.recall("b", [*FIRST, 7]) is None


def test_one_token_of_a_prompt_is_always_left_to_read() -> None:
    readings: Readings[str, str] = Readings(100)
    readings.keep("a", FIRST, "first", 10)
    assert readings.recall("a", FIRST) == ("first", BLOCK)
    assert readings.recall("a", SYSTEM) is None
    assert [whole(each) for each in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 1)] == [0, 0, BLOCK, 2 * BLOCK]


def test_a_longer_reading_replaces_what_it_continues() -> None:
    readings: Readings[str, str] = Readings(100)
    readings.keep("a", SYSTEM, "system", 10)
    readings.keep("b", SYSTEM, "other model", 10)
    readings.keep("a", FIRST, "first", 20)
    assert readings.size == 30


def test_what_was_not_used_longest_makes_room_and_too_much_is_not_kept() -> None:
    readings: Readings[str, str] = Readings(30)
    readings.keep("a", FIRST, "first", 15)
    readings.keep("a", SECOND, "second", 15)
    readings.recall("a", [*FIRST, 7])
    readings.keep("b", FIRST, "third", 15)
    readings.keep("b", SECOND, "too much", 31)
    assert (readings.recall("a", [*FIRST, 7]), readings.size) == (("first", 2 * BLOCK), 30)
    assert readings.recall("a", [*SECOND, 7]) == ("first", BLOCK)
    readings.forget("a")
    assert (readings.recall("a", [*FIRST, 7]), readings.size) == (None, 15)
