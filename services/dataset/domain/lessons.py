"""From a transcribed lesson to conversations that teach a model to teach.

A WhisperX lesson is a row of short segments. What the instructor says in one go is cut
at segment ends into windows of about 150 to 300 words: these are the assistant's turns.
What anybody else says becomes the user's turn before the next window. Where the
instructor simply goes on, the user asks to. Up to 1,000 words make a conversation, which
opens with a question built from the lesson's metadata; a later conversation of the same
lesson quotes the sentence it goes on from. Every trusted segment is trained exactly once.

Segments whose words WhisperX aligned with a mean score under ``TRUSTED`` are left out and
end the window: what stands on both sides of a hole is not one flow of speech.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from math import ceil

from msgspec import Struct

from services.dataset.domain.examples import Example, Turn
from services.dataset.domain.problems import BadRecord

TRUSTED = 0.6
"""Smallest mean word score (0 to 1) of a segment that is used."""

WINDOW_WORDS = 300
"""Most words of an assistant's turn, give or take half a segment: cuts fall on segment ends."""

CONVERSATION_WORDS = 1_000
"""Words that one conversation teaches at most: some 1,400 tokens, well within the usual 2,048."""

OPENINGS = (
    "Please teach me {topic}.",
    "I would like to learn {topic}. Where do we start?",
    "Can we have a lesson on {topic}?",
    "Show me {topic}, step by step.",
)
GOINGS_ON = ("Please go on.", "What comes next?", "I am with you. Go on.", "And then?")
RESUMING = "We are in the middle of a lesson on {topic}. You just said: “{last}”"


class Word(Struct, gc=False):
    """Of a word, only how sure the aligner was; numerals have no score."""

    score: float | None = None


class Metadata(Struct, frozen=True):
    """What a library knows of a lesson; every field may be missing or null."""

    lesson_id: str | None = None
    title: str | None = None
    course: str | None = None
    instructor: str | None = None
    level: str | None = None
    style: str | None = None
    technique: str | None = None


NOTHING_KNOWN = Metadata()


class Segment(Struct, gc=False):
    """A stretch of speech: seconds from the start, the text, who speaks, the words' scores."""

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    words: list[Word] | None = None

    @property
    def score(self) -> float:
        """Mean score of the words that have one; 1.0 when none has."""
        scores = [word.score for word in self.words or () if word.score is not None]
        return sum(scores) / len(scores) if scores else 1.0

    @property
    def size(self) -> int:
        """How many words are said."""
        return len(self.words) if self.words else len(self.text.split())


class LooseSegment(Segment):
    """A segment that stands alone in its record, as search indexes export them; it says whose it is."""

    lesson_id: str | None = None
    metadata: Metadata | None = None

    @property
    def whose(self) -> tuple[str | None, Metadata | None]:
        """Of which lesson it is: neighbours that say the same of it belong together."""
        return self.lesson_id, self.metadata


class Lesson(Struct):
    """One WhisperX document, with the metadata a library adds."""

    segments: list[Segment]
    metadata: Metadata | None = None

    @property
    def about(self) -> Metadata:
        """The metadata, empty where there is none."""
        return self.metadata or NOTHING_KNOWN


LONGEST_GATHERED = 2_000
"""Segments that are gathered into one lesson at most: about an hour and a half of speech."""


def gather(loose: Iterable[tuple[int, LooseSegment]]) -> Iterator[tuple[int, Lesson]]:
    """Join neighbouring loose segments of the same lesson; yield each with the line it begins on."""

    for (lesson_id, metadata), run in groupby(loose, key=lambda each: each[1].whose):
        about = metadata or Metadata(lesson_id=lesson_id)
        while some := list(islice(run, LONGEST_GATHERED)):
            yield some[0][0], Lesson([segment for _, segment in some], about)


class Passage(Struct, frozen=True):
    """What one party says in one go: segments ``first`` to ``last`` (1-based) of the lesson."""

    taught: bool
    first: int
    last: int
    text: str
    words: int


def examples(lesson: Lesson, line: int) -> tuple[list[Example], int]:
    """Return a lesson's conversations, and how many segments were not trusted.

    ``BadRecord`` (``nothing_said``) when no segment of the instructor can be used.
    """
    instructor = instructor_of(lesson)
    trusted = [segment.score >= TRUSTED and bool(segment.text.strip()) for segment in lesson.segments]
    passages = list(_passages(lesson.segments, trusted, instructor))
    if not any(passage.taught for passage in passages):
        raise BadRecord(
            "No segment of the instructor can be used.",
            code="nothing_said",
            field="segments",
            fix=f"Transcribe the lesson again: segments need text and a mean word score of at least {TRUSTED}.",
        )
    talks = _conversations(passages)
    befores = ["", *(_last_sentence(talk) for talk in talks)]
    made = [_example(lesson, instructor, line, talk, before) for talk, before in zip(talks, befores, strict=False)]
    return made, trusted.count(False)


def instructor_of(lesson: Lesson) -> str:
    """Return the label of who teaches: the metadata's instructor if heard, else who says most."""
    named = lesson.about.instructor or ""
    said: dict[str, int] = {}
    for segment in lesson.segments:
        who = segment.speaker or named
        said[who] = said.get(who, 0) + len(segment.text)
    if named in said or not said:
        return named
    return max(sorted(said), key=lambda who: said[who])


def _passages(segments: Sequence[Segment], trusted: Sequence[bool], instructor: str) -> Iterator[Passage]:
    """Join trusted neighbours of one party, and cut the instructor's passages into windows."""

    def party(index: int) -> tuple[bool, bool]:
        return trusted[index], (segments[index].speaker or instructor) == instructor

    for (used, taught), run in groupby(range(len(segments)), key=party):
        if used:
            indices = list(run)
            for part in _windows(segments, indices) if taught else [indices]:
                text = " ".join(segments[index].text.strip() for index in part)
                yield Passage(taught, part[0] + 1, part[-1] + 1, text, sum(segments[index].size for index in part))


def _windows(segments: Sequence[Segment], indices: list[int]) -> Iterator[list[int]]:
    """Cut a passage at segment ends into parts of nearly equal length, about ``WINDOW_WORDS`` words at most."""
    total = sum(segments[index].size for index in indices)
    share = total / max(1, ceil(total / WINDOW_WORDS))
    part: list[int] = []
    said = 0.0
    for index in indices:
        size = segments[index].size
        if part and said + size / 2 > share:
            yield part
            part, said = [], said - share
        part.append(index)
        said += size
    yield part


def _conversations(passages: list[Passage]) -> list[list[Passage]]:
    """Group passages so that each group teaches something, and at most ``CONVERSATION_WORDS`` words."""
    groups: list[list[Passage]] = []
    open_group: list[Passage] = []
    words = 0
    for passage in passages:
        if open_group and passage.taught and words + passage.words > CONVERSATION_WORDS:
            asked = [open_group.pop()] if not open_group[-1].taught else []
            groups.append(open_group)
            open_group, words = asked, 0
        open_group.append(passage)
        words += passage.words if passage.taught else 0
    groups.append(open_group)
    return [group for group in groups if any(passage.taught for passage in group)]


def _example(lesson: Lesson, instructor: str, line: int, talk: list[Passage], before: str) -> Example:
    """Make a conversation of passages; ``before`` is the sentence it goes on from, ``""`` at a lesson's beginning."""
    about = lesson.about
    seed = hashlib.blake2b(f"{about.lesson_id}/{about.title}/{talk[0].first}".encode(), digest_size=2).digest()
    turns = _persona(about)
    asked = [RESUMING.format(topic=_topic(about), last=before)] if before else []
    if talk[0].taught:
        asked.append(GOINGS_ON[0] if before else OPENINGS[seed[0] % len(OPENINGS)].format(topic=_topic(about)))
    for at, passage in enumerate(talk):
        if passage.taught:
            question = " ".join(asked) or GOINGS_ON[(seed[1] + at) % len(GOINGS_ON)]
            turns += [Turn("user", question), Turn("assistant", passage.text)]
            asked = []
        else:
            asked.append(passage.text)
    speaker = about.instructor or _name(instructor)
    return Example(tuple(turns), speaker, _unit(about, line), _source(lesson, line, talk), transcribed=True)


def _source(lesson: Lesson, line: int, talk: list[Passage]) -> str:
    first, last = talk[0].first, talk[-1].last
    span = f"{lesson.segments[first - 1].start or 0:.1f}–{lesson.segments[last - 1].end or 0:.1f} s"
    return f"line {line}, segments {first}–{last}, {span}"


def _persona(about: Metadata) -> list[Turn]:
    course = f" You teach the course “{about.course}”." if about.course else ""
    return [Turn("system", f"You are {about.instructor}.{course}")] if about.instructor else []


def _topic(about: Metadata) -> str:
    """Say what a lesson is about in the words of its metadata."""
    topic = about.technique or about.title or about.style or about.course or "this"
    title = f" (the lesson “{about.title}”)" if about.title and about.title != topic else ""
    level = f", at {about.level} level" if about.level else ""
    return f"{topic}{title}{level}"


def _last_sentence(talk: list[Passage]) -> str:
    """Return the end of what the instructor said last in a conversation, at most 30 words of it."""
    words = next(passage.text for passage in reversed(talk) if passage.taught).split()[-30:]
    ends = [at for at, word in enumerate(words[:-1]) if word[-1] in ".!?"]
    return " ".join(words[ends[-1] + 1 :] if ends else words)


def _name(label: str) -> str:
    """Return a speaker's name; diarisation labels such as SPEAKER_00 mean another person in every lesson."""
    return "" if label.upper().startswith(("SPEAKER_", "UNKNOWN")) else label


def _unit(about: Metadata, line: int) -> str:
    return about.lesson_id or f"{about.course}/{about.title}/{line}"
