"""How fast each format is imported that people bring, as lines, as one array and as an array written for people.

    python -m tests.bench.import_formats [--megabytes 48] [--rounds 1] [--processes 0] [--model FOLDER] [FORMAT …]

Every file has about as many megabytes, so several processes read it where they pay. Conversations have 380 words,
lessons are those of ``import_lessons``. Each import is the whole one, near duplicates included, in a process of its
own; files are warm. Times of several rounds are medians.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contracts.recipes import SHIPPED_MODEL
from libs.embedded.home import Home
from tests.bench.import_lessons import SEGMENTS_PER_LESSON, WORDS, Measured, apart, library

Record = dict[str, Any]
Turns = list[dict[str, str]]

CONVERSATIONS: dict[str, Callable[[Turns], Record]] = {
    "openai": lambda turns: {"messages": turns},
    "sharegpt": lambda turns: {
        "conversations": [{"from": each["role"].replace("user", "human"), "value": each["content"]} for each in turns]
    },
    "alpaca": lambda turns: {"instruction": text(turns, 0), "input": text(turns, 2), "output": text(turns, 1)},
    "prompt_completion": lambda turns: {"prompt": text(turns, 0), "completion": text(turns, 1)},
    "openai_preference": lambda turns: {
        "input": {"messages": turns[:1]},
        "preferred_output": [turns[1]],
        "non_preferred_output": [turns[3]],
    },
    "trl_preference": lambda turns: {
        "prompt": text(turns, 0),
        "chosen": text(turns, 1),
        "rejected": text(turns, 3),
    },
}
LESSONS = {"whisperx": False, "whisperx, loose": True}
FORMATS = (*CONVERSATIONS, *LESSONS)


def text(turns: Turns, at: int) -> str:
    """What one turn says."""
    return turns[at]["content"]


def talks(shape: Callable[[Turns], Record]) -> Iterator[Record]:
    """Yield conversations of two exchanges by 40 speakers, for ever."""
    draw, number = random.Random(42), 0
    while True:
        said = [" ".join(draw.choices(WORDS, k=length)) for length in (40, 150, 40, 150)]
        roles = ("user", "assistant") * 2
        turns = [{"role": role, "content": content} for role, content in zip(roles, said, strict=True)]
        yield shape(turns) | {"speaker": f"Speaker {number % 40}"}
        number += 1


def lines(path: Path, name: str, size: int) -> int:
    """Write about ``size`` bytes of a format as lines; return how many conversations or segments they are."""
    if name in LESSONS:
        segments = size // 2160 // SEGMENTS_PER_LESSON * SEGMENTS_PER_LESSON
        library(path, segments, loose=LESSONS[name])
        return segments
    count = 0
    with path.open("w") as file:
        for record in talks(CONVERSATIONS[name]):
            if file.tell() >= size:
                break
            file.write(json.dumps(record) + "\n")
            count += 1
    return count


def layouts(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a file of lines, then the same records as one array, close and indented."""
    yield "lines", path
    array = path.with_suffix(".json")
    for name, indent in (("array", None), ("indented array", 2)):
        with path.open("rb") as rows, array.open("w") as file:
            for number, row in enumerate(rows):
                file.write((",\n" if indent else ", ") if number else "[")
                file.write(json.dumps(json.loads(row), indent=indent) if indent else row.decode().rstrip("\n"))
            file.write("]")
        yield name, array


def row(name: str, layout: str, units: int, found: list[Measured]) -> str:
    """A line of the table."""
    whole, alone = (statistics.median(getattr(each, kind) for each in found) for kind in ("whole", "alone"))
    size = found[0].size / 1e6
    cells = [f"{units / whole:,.0f}/s ({size / whole:,.0f} MB/s)", f"{units / alone:,.0f}/s ({size / alone:,.0f} MB/s)"]
    cells += [f"{max(getattr(each, kind) for each in found) / 1e6:,.0f} MB" for kind in ("peak", "worker")]
    return " | ".join([f"| {name}", layout, *cells]) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"{', '.join(FORMATS)}; default: all")
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=0, help="that read; 0: as many as pay")
    parser.add_argument("--model", type=Path, default=Home.default().models / SHIPPED_MODEL)
    asked = parser.parse_args()
    print("| format | as | the whole import | reading alone | memory | a helper's |\n|---|---|---|---|---|---|")
    for name in asked.formats or FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "library.jsonl"
            units = lines(source, name, asked.megabytes * 1_000_000)
            for layout, path in layouts(source):
                found = [apart(path, asked.model, units, asked.processes) for _ in range(asked.rounds)]
                print(row(name, layout, units, found), flush=True)


if __name__ == "__main__":
    main()
