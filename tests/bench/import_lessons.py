"""How fast a library of transcribed lessons is imported, and whether ten times of it costs ten times.

    python -m tests.bench.import_lessons [--segments 160000] [--rounds 1] [--loose] [--processes 0] [--model FOLDER]
        [--picture FILE]

Makes a WhisperX library of the real shape (some 2 KB a segment, most of it word timings; every fiftieth lesson is an
earlier one, transcribed again with other words here and there), and imports an eighth, a quarter, a half and all of it
as the service does, each in a process of its own. Files are warm. Of the largest it says apart

- *reading alone*: parse, filter, cut into conversations, by the processes that pay;
- *reading*: that, with tokens counted, duplicates and near duplicates found, and all of it spooled;
- *the whole import*: that, and divided, written as Parquet, checked for leaks and named.

With ``--loose`` every segment stands alone in its line. The picture shows seconds and memory by size.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from contracts.datasets import SplitPlan
from libs.embedded.home import Home
from services.dataset.domain.examples import Example
from services.dataset.domain.problems import Tally
from services.dataset.domain.versions import Imported
from services.dataset.importer import workers
from services.dataset.importer.making import Maker
from services.dataset.importer.reading import recognise
from services.dataset.importer.run import run
from services.dataset.importer.spec import Progress, Spec
from services.dataset.importer.spool import Made
from tests.bench import figures

SEGMENTS_PER_LESSON = 250
HEARD_BEFORE = 50
ROOT = Path(__file__).parents[2]
WORDS = (ROOT / "libs/samples/conversations.jsonl").read_text().split()
PARTS = (8, 4, 2, 1)
WIDTH, HEIGHT, MARGIN = 360, 240, 48


class Measured(Struct):
    """One import: seconds by the clock and of processors, bytes of memory, and what came of it."""

    segments: int
    size: int
    alone: float
    reading: float
    whole: float
    processor: float
    peak: int
    worker: int
    examples: int
    tokens: int
    near_duplicates: int


def library(path: Path, segments: int, *, loose: bool = False) -> None:
    """Write a library of lessons, one a line or each segment in its own, by 40 instructors."""
    draw = random.Random(42)
    with path.open("w") as file:
        earlier: list[dict[str, object]] = []
        for number in range(segments // SEGMENTS_PER_LESSON):
            instructor = f"Instructor {number % 40}"
            about = {"lesson_id": f"lesson-{number}", "title": f"Lesson {number}", "instructor": instructor}
            said = [segment(draw, at * 8.0, instructor) for at in range(SEGMENTS_PER_LESSON)]
            if number % HEARD_BEFORE == HEARD_BEFORE - 1:
                said = [heard_again(each, at) for at, each in enumerate(earlier)]
            earlier = said
            whole = {"language": "en", "metadata": about, "segments": said}
            records = [each | {"metadata": about} for each in said] if loose else [whole]
            file.writelines(json.dumps(each) + "\n" for each in records)


def heard_again(said: dict[str, object], at: int) -> dict[str, object]:
    """The same segment, one in five with another last word."""
    return said if at % 5 else said | {"text": str(said["text"]).rsplit(" ", 1)[0] + " um"}


def segment(draw: random.Random, start: float, speaker: str) -> dict[str, object]:
    """One segment of about twenty words; one in twelve is mumbled."""
    mean = 0.45 if draw.random() < 1 / 12 else 0.87
    words = []
    at = start
    for word in draw.choices(WORDS, k=draw.randint(14, 26)):
        end = at + draw.uniform(0.1, 0.5)
        score = round(min(0.99, max(0.1, draw.gauss(mean, 0.06))), 3)
        words.append({"word": word, "start": round(at, 3), "end": round(end, 3), "score": score, "speaker": speaker})
        at = end + 0.04
    text = " ".join(str(each["word"]) for each in words)
    return {"start": start, "end": round(at, 3), "text": text, "speaker": speaker, "words": words}


class OnlyReads(Maker):
    """Reads what others make examples of."""

    def _made(self, line: int, example: Example, tally: Tally) -> Iterator[Made]:
        """Throw it away."""
        yield from ()


def measure(source: Path, model: Path, segments: int, processes: int = 0) -> Measured:
    """Import once, in this process and those it starts."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Spec(
            source=str(source),
            source_sha256="0" * 64,
            folder=folder,
            model_dir=str(model),
            split=SplitPlan(by="speaker"),
            processes=processes,
        )
        alone = read_alone(spec)
        before = processor()
        began: dict[str, float] = {}
        started = time.perf_counter()
        outcome = run(spec, lambda said: note_stage(began, said))
        ended = time.perf_counter()
    assert isinstance(outcome, Imported), outcome
    return Measured(
        segments=segments,
        size=source.stat().st_size,
        alone=alone,
        reading=began["writing"] - started,
        whole=ended - started,
        processor=processor() - before,
        peak=memory(resource.RUSAGE_SELF),
        worker=memory(resource.RUSAGE_CHILDREN),
        examples=outcome.train_examples + outcome.validation_examples + outcome.test_examples,
        tokens=outcome.train_tokens,
        near_duplicates=sum(each.count for each in outcome.dropped if each.reason == "near_duplicate"),
    )


def read_alone(spec: Spec) -> float:
    """Seconds to read the file and make conversations of it, without counting, comparing or keeping them."""
    reader = OnlyReads(spec)
    started = time.perf_counter()
    layout = recognise(
        Path(spec.source), "auto", max_record_bytes=spec.max_record_bytes, max_lesson_bytes=spec.max_lesson_bytes
    )
    for _ in workers.read(reader, spec, layout, Tally()):
        pass
    return time.perf_counter() - started


def note_stage(began: dict[str, float], said: Progress) -> None:
    """Remember when a stage was first told of."""
    began.setdefault(said.stage, time.perf_counter())


def processor() -> float:
    """Seconds of processor time, of this process and of those it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def memory(who: int) -> int:
    """Peak resident memory in bytes, of this process or of the largest of those it started."""
    return resource.getrusage(who).ru_maxrss * 1024


def apart(source: Path, model: Path, segments: int, processes: int = 0) -> Measured:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.import_lessons", "--one", str(source)]
    command += ["--segments", str(segments), "--model", str(model), "--processes", str(processes)]
    return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Measured)


def beginnings(source: Path, segments: int, *, loose: bool = False) -> Iterator[tuple[Path, int]]:
    """Yield the beginning of a library in each size."""
    for part in PARTS:
        lessons = segments // SEGMENTS_PER_LESSON // part
        rows = lessons * SEGMENTS_PER_LESSON if loose else lessons
        path = source.with_name(f"part-{part}.jsonl")
        with source.open("rb") as whole, path.open("wb") as file:
            file.writelines(line for _, line in zip(range(rows), whole, strict=False))
        yield path, lessons * SEGMENTS_PER_LESSON
        path.unlink()


def report(found: Sequence[Sequence[Measured]]) -> None:
    """Print a line for each size, and note the figures of the largest."""
    for rounds in found:
        each = sorted(rounds, key=lambda one: one.whole)[len(rounds) // 2]
        print(
            f"{each.segments:>9,} segments, {each.size / 1e6:,.0f} MB: reading alone {each.alone:.2f} s, reading "
            f"{each.reading:.2f} s, whole {each.whole:.2f} s ({each.segments / each.whole:,.0f} segments/s); "
            f"{each.processor:.2f} processor-s; {each.peak / 1e6:,.0f} MB, a worker {each.worker / 1e6:,.0f} MB; "
            f"{each.examples:,} examples, {each.tokens:,} tokens to train, {each.near_duplicates:,} near duplicates"
        )
    largest, smallest = found[-1], found[0]
    for what, goal, speeds in (
        ("reading alone", 150_000, [each.segments / each.alone for each in largest]),
        ("reading, tokens and near duplicates included", None, [each.segments / each.reading for each in largest]),
        ("whole import, near duplicates included", 50_000, [each.segments / each.whole for each in largest]),
    ):
        figures.note("import", what, speeds, "segments/s", goal=goal)
    cost = [
        one.whole / one.segments / (other.whole / other.segments) for one, other in zip(largest, smallest, strict=True)
    ]
    figures.note("import", "seconds a segment, 8× the data beside 1×", cost, "×", goal=1.1, less_is_better=True)
    grown = [one.peak / other.peak for one, other in zip(largest, smallest, strict=True)]
    figures.note("import", "memory, 8× the data beside 1×", grown, "×", goal=1.15, less_is_better=True)


def picture(found: Sequence[Sequence[Measured]]) -> str:
    """Draw seconds and memory by size: each measurement a dot, the line through their medians."""
    panels = (
        ("Seconds of the whole import", [[each.whole for each in rounds] for rounds in found]),
        ("Megabytes of the import process", [[each.peak / 1e6 for each in rounds] for rounds in found]),
    )
    segments = [rounds[0].segments for rounds in found]
    drawn = [panel(title, segments, values, at * WIDTH) for at, (title, values) in enumerate(panels)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
            'font-size="11"><rect width="100%" height="100%" fill="#fff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def panel(title: str, segments: Sequence[int], values: Sequence[Sequence[float]], left: int) -> str:
    """Draw one plot whose axes begin at zero."""
    top = max(max(each) for each in values) * 1.1

    def place(size: int, value: float) -> tuple[float, float]:
        x = left + MARGIN + size / segments[-1] * (WIDTH - 2 * MARGIN)
        return round(x, 1), round(HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN), 1)

    medians = [sorted(each)[len(each) // 2] for each in values]
    line = " ".join(f"{x},{y}" for x, y in map(place, segments, medians))
    (x0, y0), (x1, _) = place(0, 0), place(segments[-1], 0)
    parts = [
        f'<text x="{left + MARGIN}" y="24" font-size="13" font-weight="bold">{title}</text>',
        f'<path d="M{x0} {MARGIN}V{y0}H{x1}" stroke="#111" fill="none"/>',
        f'<polyline points="{line}" fill="none" stroke="#4a6fa5" stroke-width="2"/>',
    ]
    for size, each, median in zip(segments, values, medians, strict=True):
        x, y = place(size, median)
        parts += [f'<circle cx="{x}" cy="{place(size, one)[1]}" r="3" fill="#4a6fa5"/>' for one in each]
        parts.append(f'<text x="{x}" y="{y - 8}" text-anchor="middle">{median:,.3g}</text>')
        parts.append(f'<text x="{x}" y="{y0 + 16}" text-anchor="middle">{size / 1000:,.0f}K</text>')
    parts.append(f'<text x="{(x0 + x1) / 2}" y="{y0 + 34}" text-anchor="middle">segments</text>')
    return "\n".join(parts)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=160_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--loose", action="store_true", help="each segment in a line of its own")
    parser.add_argument("--processes", type=int, default=0, help="that read; 0: as many as pay")
    parser.add_argument("--model", type=Path, default=Home.default().models / "SmolLM2-135M-Instruct")
    parser.add_argument("--picture", type=Path, default=ROOT / ".bench" / "import.svg")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(msgspec.json.encode(measure(asked.one, asked.model, asked.segments, asked.processes)).decode())
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "library.jsonl"
        library(source, asked.segments, loose=asked.loose)
        found = [
            [apart(path, asked.model, segments, asked.processes) for _ in range(asked.rounds)]
            for path, segments in beginnings(source, asked.segments, loose=asked.loose)
        ]
    report(found)
    asked.picture.parent.mkdir(exist_ok=True)
    asked.picture.write_text(picture(found))
    print(f"picture: {asked.picture}")


if __name__ == "__main__":
    main()
