"""A lesson becomes conversations that teach every trusted segment exactly once."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.dataset.domain import lessons
from services.dataset.domain.examples import Example
from services.dataset.domain.lessons import Lesson, LooseSegment, Metadata, Segment, Word
from services.dataset.domain.problems import BadRecord
from tests.unit.dataset.conftest import lesson

TEACHER = "Nadia Ferreira"


def said(text: str, speaker: str | None = TEACHER, score: float | None = 0.9) -> Segment:
    return Segment(text, speaker=speaker, words=[Word(score) for _ in text.split()])


def made(segments: list[Segment], **about: str) -> list[Example]:
    return lessons.examples(Lesson(segments, Metadata(**({"instructor": TEACHER} | about))), line=1)[0]


def taught(examples: list[Example]) -> list[str]:
    return [turn.content for example in examples for turn in example.turns if turn.role == "assistant"]


segments = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([TEACHER, "STUDENT", None]), st.sampled_from([0.3, 0.9, None])),
    max_size=80,
)


@settings(max_examples=60)
@given(segments)
def test_every_trusted_segment_of_the_instructor_is_taught_exactly_once(drawn: list[tuple[int, Any, Any]]) -> None:
    assume(any(speaker == TEACHER for _, speaker, _ in drawn))
    row = [said(" ".join([f"w{at}"] * size), speaker, score) for at, (size, speaker, score) in enumerate(drawn)]
    expected = [each.text for each in row if each.speaker != "STUDENT" and each.score >= lessons.TRUSTED]
    if not expected:
        with pytest.raises(BadRecord, match="No segment of the instructor"):
            made(row)
        return
    examples = made(row)
    assert " ".join(taught(examples)) == " ".join(expected)
    for example in examples:
        roles = [turn.role for turn in example.turns]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]


@given(st.lists(st.integers(5, 40), min_size=30, max_size=120))
def test_windows_of_a_long_passage_have_about_150_to_300_words(sizes: list[int]) -> None:
    windows = taught(made([said(" ".join(["word"] * size)) for size in sizes]))
    total = sum(sizes)
    share = total / len(windows)
    assert all(abs(len(window.split()) - share) <= max(sizes) for window in windows)
    assert 150 <= share <= 300


def test_a_student_asks_and_the_instructor_answers() -> None:
    (example,) = made(
        [said("Hold it like this."), said("Like that?", "STUDENT"), said("Just so."), said("Now play.")],
        technique="posture",
    )
    turns = [(turn.role, turn.content) for turn in example.turns[1:]]
    assert turns[1:] == [
        ("assistant", "Hold it like this."),
        ("user", "Like that?"),
        ("assistant", "Just so. Now play."),
    ]
    assert turns[0][0] == "user"
    assert "posture" in turns[0][1]


def test_a_segment_that_is_not_trusted_is_left_out_counted_and_ends_the_window() -> None:
    row = [said("One."), said("mumble mumble", score=0.4), said("Two."), said("  ")]
    examples, unsure = lessons.examples(Lesson(row, Metadata(instructor=TEACHER)), line=1)
    assert taught(examples) == ["One.", "Two."]
    assert unsure == 2
    assert examples[0].turns[3].content in lessons.GOINGS_ON


def test_words_without_a_score_do_not_count_against_a_segment() -> None:
    assert Segment("fret 5", words=[Word(0.9), Word(None)]).score == pytest.approx(0.9)
    assert Segment("fret 5").score == 1.0


def test_a_long_lesson_becomes_conversations_that_each_quote_where_they_go_on_from() -> None:
    row = [said(f"Step {at} is to move one finger and to listen to the note it makes.") for at in range(150)]
    first, second, *_ = made(row, technique="barre chords", course="Six Weeks")
    assert "“Six Weeks”" in first.turns[0].content
    last = first.turns[-1].content.split(". ")[-1]
    assert f"“{last}”" in second.turns[1].content
    assert first.unit == second.unit
    assert first.source.startswith("line 1, segments 1–")


def test_without_metadata_the_one_who_says_most_teaches_and_has_no_name() -> None:
    row = [said("Yes?", "SPEAKER_01"), said("Let us begin with the open strings.", "SPEAKER_00")]
    (example,) = lessons.examples(Lesson(row), line=4)[0]
    assert [(turn.role, turn.content) for turn in example.turns] == [
        ("user", "Yes?"),
        ("assistant", "Let us begin with the open strings."),
    ]
    assert example.speaker == ""


def test_an_instructor_named_otherwise_than_the_speakers_is_who_says_most() -> None:
    row = [said("Hello?", "SPEAKER_01"), said("Let us begin with the open strings.", "SPEAKER_00")]
    (example,) = made(row)
    assert example.speaker == TEACHER
    assert example.turns[-1].content.startswith("Let us begin")


def test_loose_segments_are_gathered_by_lesson_and_never_without_end() -> None:
    loose = [(at, LooseSegment("Hello there.", lesson_id="a" if at < 2500 else "b")) for at in range(1, 2601)]
    found = list(lessons.gather(loose))
    assert [(line, len(one.segments)) for line, one in found] == [(1, 2000), (2001, 499), (2500, 101)]
    assert found[2][1].about.lesson_id == "b"


def test_the_same_lesson_is_made_the_same_way_every_time() -> None:
    document = msgspec.convert(lesson(3, 90), Lesson)
    assert lessons.examples(document, 1) == lessons.examples(document, 1)
