"""Whether twice as much costs twice as much.

    python -m tests.bench.growth [--rounds 3] [--job-rounds 1] [--picture FILE]

Once, twice, four and eight times the data and the jobs, in one plot beside the line of what grows with them exactly:

- *import*: seconds to import a library of lessons, from 20,000 segments up;
- *training*: seconds of one pass of the shipped model over first exchanges, from 8 up, by the training process alone;
- *jobs*: seconds from submitting that many jobs at once to the last one's report, on one device of a
  platform whose model trains in seconds;
- *memory of the import* and *of the platform* after those jobs, which should not grow at all.

Each is drawn relative to its own cost at 1×. What a line costs before it does anything (a process, its libraries) makes
it flatter than the ideal, never steeper.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from contracts.recipes import SHIPPED_MODEL
from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.testing.models import tiny_model
from services.cli.access import Access
from services.cli.client import Api, Refused
from tests.bench import figures, import_lessons
from tests.bench.overhead import first_exchanges, idle_memory
from tests.bench.training import EXAMPLES, ROOT, alone, conversations, spec

TIMES = (1, 2, 4, 8)
SEGMENTS = 20_000
UNDER_WAY = ("validating_files", "queued", "running", "succeeded")
NOT_FOUND = 404
SHORT_PROOF = {"WOODSHED_EVALUATOR_EXAMPLES": "2", "WOODSHED_EVALUATOR_REPLIES": "1"}
WIDTH, HEIGHT, MARGIN, LABELS = 720, 460, 60, 240
COLOURS = ("#4a6fa5", "#2f7d4f", "#b3542e", "#7a5c99", "#7a6a2f")


class Line(Struct, frozen=True):
    """What something cost at each size, every round of it."""

    name: str
    unit: str
    measured: list[list[float]]

    @property
    def relative(self) -> list[float]:
        """Medians, relative to the first."""
        medians = [statistics.median(each) for each in self.measured]
        return [each / medians[0] for each in medians]

    @property
    def highest(self) -> list[float]:
        """The most of each size, relative to the first median."""
        return [max(each) / statistics.median(self.measured[0]) for each in self.measured]


def importing(folder: Path, rounds: int) -> tuple[Line, Line]:
    """Import an eighth, a quarter, a half and all of a library, each in a process of its own."""
    source = folder / "library.jsonl"
    import_lessons.library(source, SEGMENTS * TIMES[-1])
    model = Home.default().models / SHIPPED_MODEL
    found = [
        [import_lessons.apart(path, model, segments) for _ in range(rounds)]
        for path, segments in import_lessons.beginnings(source, SEGMENTS * TIMES[-1])
    ]
    source.unlink()
    return (
        Line("import", "s", [[each.whole for each in one] for one in found]),
        Line("memory of the import", "MB", [[each.peak / 1e6 for each in one] for one in found]),
    )


def training(folder: Path, rounds: int) -> Line:
    """Train one pass over that many first exchanges, eight to a step."""
    found = []
    for times in TIMES:
        data = conversations(folder / f"train-{times}.parquet", EXAMPLES * times, exchanges=1)
        specs = [spec(data, folder / f"{times}-{each}", times - 1) for each in range(rounds)]
        found.append([alone(each) for each in specs])
    return Line("training", "s", found)


async def living(folder: Path, rounds: int) -> tuple[Line, Line]:
    """Carry that many jobs through a platform whose model trains in seconds; one is thrown away before."""
    home = Home(folder / "home")
    await asyncio.to_thread(tiny_model, Home.default().models / SHIPPED_MODEL, home.models / SHIPPED_MODEL)
    seconds, memory = [], []
    async with (
        platform_up(home, 0, lambda _: None, told=SHORT_PROOF) as running,
        Api(Access(running.url, running.key)) as api,
    ):
        file = (await api.upload(first_exchanges(folder), lambda _: None))["id"]
        await finished(api, file, 1)
        for times in TIMES:
            took, holds = [], []
            for _ in range(rounds):
                took.append(await finished(api, file, times))
                holds.append(platform_memory(running))
            seconds.append(took)
            memory.append(holds)
    return Line("jobs", "s", seconds), Line("memory of the platform", "MB", memory)


def platform_memory(running: Running) -> float:
    """Megabytes of the idle platform, the process that waits for a training apart."""
    found = idle_memory(running)
    return sum(found.values()) - found["waiting"]


async def finished(api: Api, file: str, count: int) -> float:
    """Submit that many jobs at once; return the seconds until all are proven."""
    began = time.perf_counter()
    wish = {"training_file": file, "model": SHIPPED_MODEL, "preset": "balanced"}
    wish |= {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}
    jobs = [(await api.post("/v1/fine_tuning/jobs", wish | {"seed": number}))["id"] for number in range(count)]
    for job in jobs:
        await proven(api, f"/v1/fine_tuning/jobs/{job}")
    return time.perf_counter() - began


async def proven(api: Api, job: str) -> None:
    """Wait until a job has its report."""
    while True:
        if (status := (await api.get(job))["status"]) not in UNDER_WAY:
            raise SystemExit(f"{job} {status}")
        try:
            await api.get(f"{job}/report")
            return
        except Refused as refused:
            if refused.problem.status != NOT_FOUND:
                raise
        await asyncio.sleep(0.2)


def picture(lines: Sequence[Line]) -> str:
    """Draw all lines relative to their cost at 1×, and the diagonal."""
    top = max(TIMES[-1], *(most for each in lines for most in each.highest)) * 1.05

    def place(times: float, value: float) -> tuple[float, float]:
        x = MARGIN + times / TIMES[-1] * (WIDTH - MARGIN - LABELS)
        return round(x, 1), round(HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN), 1)

    (x0, y0), (x1, y1) = place(0, 0), place(TIMES[-1], TIMES[-1])
    middle = (y0 + MARGIN) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{MARGIN}" y="26" font-size="14" font-weight="bold">What 1×, 2×, 4× and 8× cost, beside 1×</text>',
        f'<path d="M{x0} {MARGIN - 10}V{y0}H{x1}" stroke="#111" fill="none"/>',
        f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#111" stroke-dasharray="4 3"/>',
        f'<text x="{(x0 + 3 * x1) / 4 + 8}" y="{(y0 + 3 * y1) / 4 + 12}">in exact proportion</text>',
        f'<text x="{(x0 + x1) / 2}" y="{y0 + 40}" text-anchor="middle">data, or jobs at once</text>',
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">cost beside 1×</text>',
    ]
    for times in TIMES:
        x, _ = place(times, 0)
        _, y = place(0, times)
        parts.append(f'<path d="M{x0} {y}H{x1}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{y0 + 18}" text-anchor="middle">{times}×</text>')
        parts.append(f'<text x="{x0 - 8}" y="{y + 4}" text-anchor="end">{times}×</text>')
    ends = _apart([place(0, each.relative[-1])[1] for each in lines])
    for each, colour, end in zip(lines, COLOURS, ends, strict=True):
        points = [place(times, value) for times, value in zip(TIMES, each.relative, strict=True)]
        drawn = " ".join(f"{x},{y}" for x, y in points)
        first = statistics.median(each.measured[0])
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for times, rounds in zip(TIMES, each.measured, strict=True):
            dots = [place(times, one / first) for one in rounds]
            parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in dots]
        says = f"{each.name}: {each.relative[-1]:.1f} × {first:,.3g} {each.unit}"
        parts.append(f'<text x="{x1 + 10}" y="{end + 4}" fill="{colour}">{says}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _apart(heights: Sequence[float], least: float = 15.0) -> list[float]:
    """Move labels down until none covers another."""
    found = dict.fromkeys(range(len(heights)), 0.0)
    last = float("-inf")
    for at in sorted(found, key=lambda each: heights[each]):
        found[at] = last = max(heights[at], last + least)
    return [found[at] for at in range(len(heights))]


def report(lines: Sequence[Line]) -> None:
    """Print every line and keep how it grew."""
    print("| | " + " | ".join(f"{each}×" for each in TIMES) + " | 8× beside 1× |")
    print("|---" * (len(TIMES) + 2) + "|")
    for each in lines:
        cells = [f"{statistics.median(one):,.3g} ({min(one):,.3g}–{max(one):,.3g})" for one in each.measured]
        print(f"| {each.name}, {each.unit} | " + " | ".join(cells) + f" | {each.relative[-1]:.2f} |")
        goal = 1.15 if each.unit == "MB" else 8.8
        figures.note("growth", f"{each.name}, 8× beside 1×", [each.relative[-1]], "×", goal=goal, less_is_better=True)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-rounds", type=int, default=1, help="of the jobs: one round is fifteen of them, minutes")
    parser.add_argument("--picture", type=Path, default=ROOT / ".bench" / "growth.svg")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        imported, imports = importing(folder, asked.rounds)
        trained = training(folder, asked.rounds)
        jobs, platform = asyncio.run(living(folder, asked.job_rounds))
    lines = (imported, trained, jobs, imports, platform)
    report(lines)
    asked.picture.parent.mkdir(exist_ok=True)
    asked.picture.write_text(picture(lines))
    print(f"picture: {asked.picture}")


if __name__ == "__main__":
    main()
