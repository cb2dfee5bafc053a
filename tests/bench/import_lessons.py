"""How fast a library of transcribed lessons is imported, and how much memory that takes.

    python -m tests.bench.import_lessons [--segments 100000] [--model FOLDER]

Makes a WhisperX library of the real shape (some 2 KB a segment, most of it word timings),
imports it as the service does, in a process of its own, and prints segments a second and
the peak of resident memory. ``reading`` is parse, filter, deduplicate and spool; the rest
divides, writes Parquet, counts tokens and checks for leaks.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

from contracts.datasets import SplitPlan
from libs.embedded.home import Home
from services.dataset.domain.versions import Imported
from services.dataset.importer.run import run
from services.dataset.importer.spec import Progress, Spec

SEGMENTS_PER_LESSON = 250
WORDS = (Path(__file__).parents[2] / "libs/samples/conversations.jsonl").read_text().split()


def library(path: Path, segments: int) -> None:
    """Write a library of lessons, one a line, by 40 instructors."""
    draw = random.Random(42)
    with path.open("w") as file:
        for number in range(segments // SEGMENTS_PER_LESSON):
            instructor = f"Instructor {number % 40}"
            about = {"lesson_id": f"lesson-{number}", "title": f"Lesson {number}", "instructor": instructor}
            said = [segment(draw, at * 8.0, instructor) for at in range(SEGMENTS_PER_LESSON)]
            file.write(json.dumps({"language": "en", "metadata": about, "segments": said}) + "\n")


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


def main() -> None:
    """Measure once and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--model", type=Path, default=Home.default().models / "SmolLM2-135M-Instruct")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "library.jsonl"
        library(source, asked.segments)
        measure(source, Path(folder) / "version", asked.model, asked.segments)


def measure(source: Path, version: Path, model: Path, segments: int) -> None:
    """Import and print."""
    version.mkdir()
    size = source.stat().st_size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spec = Spec(
        source=str(source),
        source_sha256="0" * 64,
        folder=str(version),
        model_dir=str(model),
        split=SplitPlan(by="speaker"),
    )
    began: dict[str, tuple[float, float]] = {}

    def tell(said: Progress) -> None:
        began.setdefault(said.stage, clocks())

    started = clocks()
    outcome = run(spec, tell)
    ended = clocks()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(outcome, Imported), outcome
    print(f"file                 {size / 1e6:,.0f} MB, {segments:,} segments")
    print(
        f"examples             {outcome.train_examples:,} + {outcome.validation_examples:,} + {outcome.test_examples:,}"
    )
    print(f"tokens (train)       {outcome.train_tokens:,}, trained {outcome.trained_tokens:,}")
    for stage, until in (("reading     ", began["writing"]), ("whole import", ended)):
        wall, cpu = until[0] - started[0], until[1] - started[1]
        print(f"{stage}         {wall:.1f} s ({cpu:.1f} CPU-s), {segments / wall:,.0f} segments/s")
    print(f"peak resident memory {peak / 1024:,.0f} MB ({before / 1024:,.0f} MB before)")


def clocks() -> tuple[float, float]:
    """Wall time and this process's CPU time, in seconds."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
