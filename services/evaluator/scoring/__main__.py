"""Measure one trained adapter: ``python -m services.evaluator.scoring SPEC.json``, a process that ends when done.

First it holds the engine of the chats against the adapter. Writes a JSON line for that and one of progress for each
step to stdout, and the result to the file the specification names. What cannot be measured leaves a reason, a
sentence and exit code 3.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from libs.embedded.supervisor import step_aside
from services.evaluator.domain.course import Course, reading, writing
from services.evaluator.domain.engines import TRANSFORMERS
from services.evaluator.domain.verdicts import PERPLEXITY, PREFERENCE, REPLIES, RETENTION
from services.evaluator.scoring.failures import Failed, classified
from services.evaluator.scoring.held_out import Conversation
from services.evaluator.scoring.shapes import CANNOT, Failure, Line, Measured, Progress, Question, ScoringSpec


class Clock:
    """Counts the seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Measure what happens inside."""
        began = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - began, 3)


def score(spec: ScoringSpec) -> Measured:
    """Compare the chat engine, then take every measurement the specification asks for, of both models at once.

    While the engine speaks, what measures is imported and loaded; transformers speaks first, for it needs the memory.
    """
    from libs.lm.chat import ChatFormat
    from services.evaluator.scoring import held_out, knowledge, speaking

    clock = Clock()
    questions = knowledge.load(Path(spec.knowledge))
    conversations, there = ([], 0) if spec.hindrance else held_out.read(Path(spec.split), spec.examples, spec.seed)
    prompts = speaking.prompts(ChatFormat.load(Path(spec.base)), conversations, questions)
    engine, *others = speaking.engines(spec)
    with clock.of("load"), ThreadPoolExecutor(1) as aside:
        speech = aside.submit(speaking.spoken, spec, prompts, engine)
        if engine == TRANSFORMERS:
            speech.result()
        from services.evaluator.scoring import machine, measure, served

        loaded, where = machine.load(spec.base, spec.adapter, threads=spec.threads, precision=spec.precision)
        spoken = speech.result()
    with clock.of("compared"):
        found = served.compared(spec, loaded, where.precision, engine, spoken)
        for engine in others:
            if not found.same:
                print(f"{found.engine} says something else than was trained: {found}", file=sys.stderr, flush=True)
                spoken = speaking.spoken(spec, prompts, engine)
                found = served.compared(spec, loaded, where.precision, engine, spoken)
        say(found)
    if spec.hindrance:
        raise Failed(spec.hindrance)
    tell = teller(Course(work(spec, conversations, questions), time.perf_counter()))
    longest, batch = spec.max_length, spec.batch_tokens
    with clock.of(PERPLEXITY):
        likelihoods = measure.likelihoods(loaded, conversations, longest, batch, tell(PERPLEXITY))
    if not likelihoods:
        raise Failed(Failure("nothing_held_out", "No held-out conversation has a reply to measure. Bring more data."))
    answers, pairs, preferences = [], [], []
    if PREFERENCE in spec.suites:
        with clock.of(PREFERENCE):
            preferences = measure.preferences(loaded, conversations, likelihoods, longest, batch, tell(PREFERENCE))
        if not preferences:
            raise Failed(Failure("nothing_held_out", "No held-out pair has two replies to compare. Bring more data."))
    if RETENTION in spec.suites:
        with clock.of(RETENTION):
            answers = measure.knowledge(loaded, questions, batch, tell(RETENTION))
    if REPLIES in spec.suites:
        with clock.of(REPLIES):
            pairs = measure.pairs(loaded, conversations, spec.replies, spec.reply_tokens, batch, tell(REPLIES))
    return Measured(
        machine=where,
        likelihoods=tuple(likelihoods),
        answers=tuple(answers),
        pairs=tuple(pairs),
        held_out=there,
        seconds=clock.seconds,
        preferences=tuple(preferences),
    )


def work(spec: ScoringSpec, conversations: Sequence[Conversation], questions: Sequence[Question]) -> dict[str, float]:
    """Return what there is to do, in order: each suite and its work."""
    said = [[turn["content"] for turn in each.messages] for each in conversations]
    other = [[turn["content"] for turn in each.rejected] for each in conversations if each.rejected]
    asked = [[" ".join((each.question, *each.choices))] for each in questions]
    every = {
        PERPLEXITY: reading(said, spec.max_length),
        PREFERENCE: reading(other, spec.max_length),
        RETENTION: reading(asked, spec.max_length),
        REPLIES: writing(min(spec.replies, len(conversations)), spec.reply_tokens),
    }
    return {suite: much for suite, much in every.items() if suite == PERPLEXITY or suite in spec.suites}


def teller(course: Course) -> Callable[[str], Callable[[int, int], None]]:
    """Return what makes, for a suite, a function that prints one line of its progress."""

    def of(suite: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            share = course.share(suite, done, total)
            say(Progress(suite, done, total, round(share, 4), round(course.left(share, time.perf_counter()), 1)))

        return tell

    return of


def say(line: Line) -> None:
    """Print one line for the service."""
    print(msgspec.json.encode(line).decode(), flush=True)


def main() -> None:
    """Measure; leave the result in a file, or the reason on stderr."""
    step_aside()
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # peft imports it for 1.3 s; nothing here is 4-bit
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ScoringSpec)
    try:
        measured = score(spec)
    except Exception as error:
        failure = classified(error)
        if failure is None:
            raise
        print(msgspec.json.encode(failure).decode(), file=sys.stderr, flush=True)
        sys.exit(CANNOT)
    partial = Path(spec.result + ".partial")
    partial.write_bytes(msgspec.json.encode(measured))
    partial.replace(spec.result)


if __name__ == "__main__":
    main()
