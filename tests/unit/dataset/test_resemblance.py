"""Near duplicates: what counts as one, that they are found and named, and that none stands in two splits."""

import random
import re
import unicodedata
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.datasets import Dropped, SplitPlan
from services.dataset.domain.examples import Turn, normal
from services.dataset.domain.resemblance import FEWEST_WORDS, Sides, sides, similarity
from services.dataset.importer import leaks, parquet, spool
from services.dataset.importer.alike import SLOTS, Groups, sketch
from tests.unit.dataset.conftest import Import, jsonl, lesson, talk

SAMPLES = Path(__file__).resolve().parents[3] / "libs" / "samples"
KEEP = SplitPlan(near_duplicates="keep")
WORDS = [f"{sound}{rest}" for sound in "bdfgklmnprst" for rest in ("ane", "ilo", "ump", "erry", "ost", "ide", "ack")]


def said(seed: object, count: int = 120) -> list[str]:
    return random.Random(str(seed)).choices(WORDS, k=count)


def changed(words: list[str], count: int, seed: object = 0) -> list[str]:
    """The same words with some replaced."""
    draw = random.Random(f"{seed}/{count}")
    found = list(words)
    for at in draw.sample(range(len(words)), count):
        found[at] = f"other{draw.randrange(10**6)}"
    return found


def exchange(asked: list[str], answered: list[str], system: str = "") -> dict[str, Any]:
    before = [{"role": "system", "content": system}] if system else []
    answer = {"role": "assistant", "content": " ".join(answered)}
    return {"messages": [*before, {"role": "user", "content": " ".join(asked)}, answer]}


def others(count: int = 30) -> list[dict[str, Any]]:
    """Conversations that resemble nothing."""
    return [exchange(said(f"q{n}", 12), said(f"a{n}")) for n in range(count)]


def left_out(importing: Import, records: list[dict[str, Any]], **more: Any) -> list[tuple[str, int, tuple[Any, ...]]]:
    dropped = importing.made(jsonl(records), **more).dropped
    return [(each.reason, each.count, _lines(each)) for each in dropped]


def _lines(dropped: Dropped) -> tuple[tuple[int, int], ...]:
    return tuple((each.line, each.resembles) for each in dropped.resembling)


def compared(importing: Import) -> dict[str, list[Sides]]:
    """What stands in the splits of the version made last, as it is compared."""
    turns = msgspec.json.Decoder(tuple[Turn, ...])
    return {
        split: [sides(turns.decode(row.messages)) for row in parquet.read(importing.version / f"{split}.parquet")]
        for split in ("train", "validation", "test")
    }


def test_a_near_duplicate_is_left_out_and_named_with_what_it_resembles(importing: Import) -> None:
    asked, answered = said("q", 12), said("a")
    again = exchange(asked, changed(answered, 2))
    made = importing.made(jsonl([*others(), exchange(asked, answered), *others(60)[30:], again]))
    (dropped,) = made.dropped
    assert (dropped.reason, dropped.count, dropped.lines) == ("near_duplicate", 1, (62,))
    (found,) = dropped.resembling
    assert (found.line, found.resembles) == (62, 31)
    assert found.similarity == pytest.approx(112 / 124, abs=0.001)
    assert made.train_examples + made.validation_examples + made.test_examples == 61


def test_case_punctuation_and_the_system_prompt_make_no_difference(importing: Import) -> None:
    asked, answered = said("q", 12), said("a")
    louder = [word.upper() + "," for word in answered]
    records = [*others(), exchange(asked, answered, "Be kind."), exchange(asked, louder, "Be brief and never say why.")]
    assert left_out(importing, records) == [("near_duplicate", 1, ((32, 31),))]


def test_what_teaches_something_new_is_never_left_out(importing: Import) -> None:
    asked, answered, prompt = said("q", 60), said("a"), " ".join(said("system", 400))
    short = [exchange(said("q", 12), [*said("short", FEWEST_WORDS - 2), str(number)]) for number in range(5)]
    records = [
        exchange(asked, answered, prompt),
        exchange(asked, said("another answer"), prompt),
        exchange(said("another question", 60), answered, prompt),
        exchange(asked, changed(answered, 9), prompt),
        *short,
        *others(),
    ]
    assert left_out(importing, records) == []


@pytest.mark.parametrize("name", ["conversations.jsonl", "preferences.jsonl", "lessons"])
def test_the_samples_lose_nothing(importing: Import, name: str) -> None:
    path = SAMPLES / name
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    data = b"".join(
        msgspec.json.encode(msgspec.json.decode(each.read_bytes())) + b"\n" for each in files if path.is_dir()
    )
    reasons = {each.reason for each in importing.made(data or path.read_bytes(), max_length=8192).dropped}
    assert not reasons & {"near_duplicate", "duplicate"}


def test_a_lesson_that_was_transcribed_twice_is_taught_once(importing: Import) -> None:
    lessons = [lesson(number) for number in range(12)]
    again = lesson(7, title="The same, uploaded again", lesson_id="l-7b")
    for segment in again["segments"][3:5]:
        segment["text"] = segment["text"].replace("exactly", "exactly, um,")
    assert left_out(importing, [*lessons, again]) == [("near_duplicate", 1, ((13, 8),))]


def test_what_resembles_the_validation_file_never_trains_even_where_near_duplicates_are_kept(importing: Import) -> None:
    asked, answered = said("q", 12), said("a")
    held_out = jsonl([*others(20), exchange(asked, answered)])
    records = [*others(60)[30:], exchange(asked, changed(answered, 2)), exchange(asked, changed(answered, 3))]
    for split in (SplitPlan(), KEEP):
        found = left_out(importing, records, validation=held_out, split=split)
        assert found == [("resembles_validation_file", 2, ((31, 21), (32, 21)))]


def mixed() -> list[dict[str, Any]]:
    """Eighty conversations in twenty families, whose members are more or less alike; some link two that are not."""
    records = []
    for family in range(20):
        asked, words = said(f"q{family}", 12), said(f"a{family}")
        for member in range(4):
            words = changed(words, random.Random(f"{family}/{member}").choice([1, 2, 3, 4, 12]), f"{family}/{member}")
            records.append(exchange(asked, words))
    random.Random(5).shuffle(records)
    return records


def straddling(importing: Import) -> int:
    found = compared(importing)
    return sum(
        similarity(one, other) >= 0.85
        for first, second in combinations(found, 2)
        for one in found[first]
        for other in found[second]
    )


def test_near_duplicates_that_are_kept_stand_in_one_split_together(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared here by brute force, without the sketches; without joining what is alike, many would straddle."""
    made = importing.made(jsonl(mixed()), split=KEEP)
    assert made.dropped == ()
    assert made.train_examples + made.validation_examples + made.test_examples == 80
    assert min(made.validation_examples, made.test_examples) > 0
    assert straddling(importing) == 0
    monkeypatch.setattr(spool.Spool, "cluster", lambda self, unit: None)
    with pytest.raises(leaks.Leak, match="nearly the same"):
        importing(jsonl(mixed()), split=KEEP)
    monkeypatch.setattr(leaks, "_see_alike", lambda index, one, other: None)
    importing.made(jsonl(mixed()), split=KEEP)
    assert straddling(importing) > 5


def test_none_is_left_when_they_are_dropped_and_each_that_was_dropped_is_one(importing: Import) -> None:
    records = mixed()
    (dropped,) = importing.made(jsonl(records)).dropped
    assert len(dropped.resembling) == dropped.count > 20
    shown = [sides([Turn(**turn) for turn in record["messages"]]) for record in records]
    for each in dropped.resembling:
        assert each.similarity <= similarity(shown[each.line - 1], shown[each.resembles - 1]) < each.similarity + 0.001
        assert each.similarity >= 0.85
    kept = [side for found in compared(importing).values() for side in found]
    assert all(similarity(one, other) < 0.85 for one, other in combinations(kept, 2))


def test_lessons_and_speakers_that_share_a_near_duplicate_stay_together(importing: Import) -> None:
    lessons = [lesson(number) for number in range(40)]
    for number in (30, 31):
        lessons[number]["segments"] = lesson(number - 18)["segments"]
        lessons[number]["segments"][4]["text"] += " Indeed so."
    importing.made(jsonl(lessons), split=SplitPlan(by="speaker", near_duplicates="keep"))
    speakers = [
        {row.speaker for row in parquet.read(importing.version / f"{split}.parquet")}
        for split in ("train", "validation", "test")
    ]
    assert sum(len(each) for each in speakers) == len(set.union(*speakers)) == 5
    found = compared(importing)
    answers = {split: [Sides([], each.answered) for each in kept] for split, kept in found.items()}
    assert not any(
        similarity(one, other) >= 0.85
        for first, second in combinations(answers, 2)
        for one in answers[first]
        for other in answers[second]
    )


def test_a_threshold_of_one_drops_only_what_has_the_same_words(importing: Import) -> None:
    asked, answered = said("q", 12), said("a")
    records = [*others(), exchange(asked, answered), exchange(asked, changed(answered, 1)), exchange(asked, answered)]
    records[-1]["messages"][0]["content"] += "!"
    assert left_out(importing, records, near_duplicate=1.0) == [("near_duplicate", 1, ((33, 31),))]
    assert left_out(importing, [talk(number) for number in range(40)], near_duplicate=0.7) == []


@given(st.text(st.characters(max_codepoint=0x24F)) | st.text(st.characters(max_codepoint=127)))
def test_words_are_what_stands_between_all_that_is_no_letter_digit_or_underscore(text: str) -> None:
    assert sides([Turn("assistant", text)]).answered == re.findall(r"\w+", text.lower())


@given(st.text(st.sampled_from("ab \t\n\x1c\u2003\u00a0e\u0301é.")))
def test_a_text_is_normal_when_single_blanks_stand_between_its_words(text: str) -> None:
    assert normal(text) == " ".join(unicodedata.normalize("NFC", text).split())


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=400), st.integers(1, 20))
def test_the_table_of_groups_is_a_dictionary_of_first_comers(groups: list[int], width: int) -> None:
    table, known = Groups(), dict[int, int]()
    for number, start in enumerate(range(0, len(groups), width), 1):
        mine = groups[start : start + width]
        expected = {known[group] for group in mine if group in known}
        assert set(table.candidates(mine)) <= expected
        assert bool(table.candidates(mine)) == bool(expected)
        table.add(number, mine)
        for group in mine:
            known.setdefault(group, number)


def test_the_table_grows_and_forgets_nothing() -> None:
    table = Groups()
    draw = random.Random(1)
    entered = [[draw.getrandbits(32) for _ in range(20)] for _ in range(2 * SLOTS // 20)]
    for number, groups in enumerate(entered, 1):
        table.add(number, groups)
    assert len(table._slots) > SLOTS
    assert all(table.candidates(groups)[0] == number for number, groups in enumerate(entered, 1))


def test_examples_that_are_alike_share_a_group_and_strangers_do_not() -> None:
    def group(words: list[str]) -> set[int]:
        return set(sketch(Sides(said("q", 12), words)))

    pairs = [(said(n), changed(said(n), 4, n)) for n in range(150)]
    assert all(group(one) & group(other) for one, other in pairs)
    strangers = [group(said(f"x{n}")) & group(said(f"y{n}")) for n in range(150)]
    assert sum(map(bool, strangers)) == 0
