"""What the platform itself costs: ``python -m tests.bench.overhead [--minutes 12]``.

One job trains under a freshly started platform, while all that is the platform's (servers, services, runner, the
process that waits) is stopped by SIGSTOP and let go again by turns, some seconds each. While it stands still the
training process has the machine to itself, as a plain script would. What piles up is worked off in the next turn, which
so does up to twice the work of its time: what is found is an upper bound. Turns that follow each other share the
machine's moods, which from one whole run to the next move the wall time by more than the platform takes. A step counts
for the turn that holds all of it; the speed of a turn is its tokens by its seconds. The interval is a bootstrap over
neighbours.

Before the job the idle platform's memory is read, as proportional set size, so that shared pages count once. Beside the
speeds stands the processor time that the platform's own processes took.
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.testing.family import AHEAD, descendants, trainings
from services.cli.access import Access
from services.cli.client import Api
from tests.bench import figures
from tests.bench.training import SAMPLE

CONVERSATIONS = 48
FAILED = ("job.failed.v1", "job.cancelled.v1")
MEASURED = "run.progressed.v1"
TURN = 4.0
"""Seconds: several steps, and far less than the ten of silence after which a runner ends what it trains."""
SETTLING = 20.0
"""Seconds after the first step in which nothing is measured."""
DRAWS = 10_000


def idle_memory(running: Running) -> dict[str, float]:
    """Return the megabytes of each program with its children; apart, of a training process that waits for a job."""
    found = {}
    waits = {each.pid for each in descendants(AHEAD)}
    for name, process in running.supervisor.running.items():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        found[name] = _megabytes(each for each in family if each.pid not in waits)
    return found | {"waiting": _megabytes(psutil.Process(pid) for pid in waits)}


def _megabytes(processes: Iterable[psutil.Process]) -> float:
    return sum(each.memory_full_info().pss for each in processes) / 1e6


def own_seconds(running: Running) -> float:
    """Return the processor seconds that the platform's programs took until now, their trainings not counted."""
    return sum(sum(_taken(process.pid)) for process in running.supervisor.running.values())


def _taken(pid: int) -> tuple[float, ...]:
    program = psutil.Process(pid)
    server = [each for each in program.children(recursive=True) if each.name() == "postgres"]
    return tuple(sum(each.cpu_times()[:2]) for each in (program, *server))


def sample(folder: Path) -> Path:
    """Write the first sample conversations to a file of their own."""
    path = folder / "some.jsonl"
    path.write_text("".join(line + "\n" for line in SAMPLE.read_text().splitlines()[:CONVERSATIONS]))
    return path


def first_exchanges(folder: Path) -> Path:
    """Write the first exchange of each of the first sample conversations to a file of their own."""
    path = folder / "some.jsonl"
    messages = [json.loads(line)["messages"] for line in SAMPLE.read_text().splitlines()[:CONVERSATIONS]]
    first = [next(at for at, each in enumerate(talk) if each["role"] == "assistant") for talk in messages]
    cut = [{"messages": talk[: end + 1]} for talk, end in zip(messages, first, strict=True)]
    path.write_text("".join(json.dumps(each) + "\n" for each in cut))
    return path


async def told(api: Api, file: Path, until: str) -> list[tuple[str, dict[str, Any]]]:
    """Submit a job and return its facts and measurements up to the first of the type ``until``."""
    uploaded = await api.upload(file, lambda _: None)
    wish = {"training_file": uploaded["id"], "model": "SmolLM2-135M-Instruct", "preset": "balanced", "seed": 42}
    wish |= {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}
    job = await api.post("/v1/fine_tuning/jobs", wish)
    heard = []
    async for event in api.live(f"/v1/fine_tuning/jobs/{job['id']}/stream", print):
        heard.append((event.type, json.loads(event.data)))
        if event.type == until:
            break
        if event.type in FAILED:
            raise SystemExit(f"the job did not finish: {heard[-1]}")
    return heard


def parts(heard: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, float]]:
    """Return each fact up to the first measured step with its seconds after the submission."""
    found: list[tuple[str, float]] = []
    began = next(datetime.fromisoformat(fact["at"]) for kind, fact in heard if kind == "job.submitted.v1")
    for kind, fact in heard:
        found.append((f"{kind} {fact.get('stage', '')}".strip(), _since(began, fact)))
        if kind == "run.progressed.v1":
            break
    return found


def _since(began: datetime, fact: dict[str, Any]) -> float:
    return (datetime.fromisoformat(fact["at"]) - began).total_seconds()


class Look(NamedTuple):
    """One measurement: ``tokens`` and ``seconds`` of training until it, and when it was told, by the wall clock."""

    tokens: int
    seconds: float
    at: float


class Turn(NamedTuple):
    """Some seconds by the wall clock, in which the platform worked or stood still."""

    began: float
    ended: float
    alone: bool


class Stretch(NamedTuple):
    """What was trained within a turn."""

    tokens: int
    seconds: float

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def platform_processes() -> list[psutil.Process]:
    """Return every process below this one that is not the training."""
    training = trainings()
    apart = {each.pid for one in training for each in (one, *one.children(recursive=True))}
    return [each for each in psutil.Process().children(recursive=True) if each.pid not in apart]


def signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    """Send a signal to each that still lives."""
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


async def take_turns(minutes: float) -> list[Turn]:
    """Stop the platform and let it go by turns until the time is over."""
    turns: list[Turn] = []
    end = time.time() + 60 * minutes
    while time.time() < end:
        turns.append(await _a_turn(alone=False))
        processes = platform_processes()
        signal_all(processes, signal.SIGSTOP)
        try:
            turns.append(await _a_turn(alone=True))
        finally:
            signal_all(processes, signal.SIGCONT)
    return turns


async def _a_turn(*, alone: bool) -> Turn:
    began = time.time()
    await asyncio.sleep(TURN)
    return Turn(began, time.time(), alone)


def stretches(turns: Sequence[Turn], looks: Sequence[Look]) -> list[Stretch | None]:
    """Return what was trained within each turn; ``None`` where no step lies wholly in it.

    Looks that say nothing new of training (an evaluation in between) end a step without being one. When training's own
    clock began is known from the look that was told fastest.
    """
    origin = min(each.at - each.seconds for each in looks)
    steps = [
        (origin + one.seconds, origin + other.seconds, other.tokens - one.tokens)
        for one, other in pairwise(looks)
        if other.tokens > one.tokens
    ]
    found: list[Stretch | None] = []
    for turn in turns:
        within = [(end - begin, tokens) for begin, end, tokens in steps if turn.began <= begin and end <= turn.ended]
        seconds, tokens = (sum(each) for each in zip(*within, strict=True)) if within else (0.0, 0)
        found.append(Stretch(int(tokens), seconds) if within else None)
    return found


def slowdowns(turns: Sequence[Turn], trained: Sequence[Stretch | None]) -> list[float]:
    """Return of each turn alone how much faster it was than the mean of the turns before and after it."""
    found = []
    for at in range(1, len(turns) - 1):
        before, alone, after = trained[at - 1 : at + 2]
        if turns[at].alone and before and alone and after:
            found.append(alone.speed / statistics.mean((before.speed, after.speed)) - 1)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean."""
    draw = random.Random(1)
    means = sorted(statistics.mean(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS)]


async def live(api: Api, file: Path) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """Train on a file for as long as anybody listens, then cancel; yield the job's facts and measurements."""
    uploaded = await api.upload(file, lambda _: None)
    wish = {"training_file": uploaded["id"], "model": "SmolLM2-135M-Instruct", "preset": "balanced", "seed": 42}
    wish |= {"hyperparameters": {"n_epochs": 50, "batch_size": 2}}
    job = await api.post("/v1/fine_tuning/jobs", wish)
    try:
        async for event in api.live(f"/v1/fine_tuning/jobs/{job['id']}/stream", print):
            if event.type in FAILED:
                raise SystemExit(f"the job ended: {event.data!r}")
            yield event.type, json.loads(event.data)
    finally:
        await api.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel", {})


async def measured(running: Running, file: Path, minutes: float) -> tuple[list[Turn], list[Look]]:
    """Train while the platform takes its turns."""
    looks: list[Look] = []
    turns: asyncio.Task[list[Turn]] | None = None
    async with Api(Access(running.url, running.key)) as api, aclosing(live(api, file)) as heard:
        async for kind, fact in heard:
            if kind != MEASURED:
                continue
            if fact["attempt"] > 1:
                raise SystemExit("The training was interrupted and resumed, so nothing can be compared. Run it again.")
            seconds = fact["tokens"] / fact["tokens_per_second"]
            looks.append(Look(fact["tokens"], seconds, datetime.fromisoformat(fact["at"]).timestamp()))
            if turns is None and looks[-1].seconds - looks[0].seconds > SETTLING:
                turns = asyncio.create_task(take_turns(minutes))
            if turns and turns.done() and looks[-1].at > turns.result()[-1].ended:
                return turns.result(), looks
    raise SystemExit("the stream ended before the turns did")


async def bench(minutes: float) -> None:
    """Print what every turn trained and what the platform's work costs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        async with platform_up(Home(folder / "home"), 0) as running:
            await asyncio.sleep(10)
            memory = idle_memory(running)
            print("idle memory, MB:", {name: round(size) for name, size in memory.items()}, end=" ")
            print("in all", round(sum(memory.values()) - memory["waiting"]), "and what waits")
            began, own = time.time(), own_seconds(running)
            turns, looks = await measured(running, first_exchanges(folder), minutes)
            own, took = own_seconds(running) - own, time.time() - began
    trained = stretches(turns, looks)
    if not (found := slowdowns(turns, trained)):
        raise SystemExit(f"No step fits into turns of {TURN:g} s: this machine is too busy to measure anything.")
    for alone in (False, True):
        speeds = [each.speed for turn, each in zip(turns, trained, strict=True) if each and turn.alone is alone]
        print(f"{'alone' if alone else 'platform'}: median {statistics.median(speeds):.1f} tokens/s", end=" ")
        print(f"({min(speeds):.0f}–{max(speeds):.0f}) in {len(speeds)} turns")
    low, high = interval(found)
    print(f"overhead: mean {statistics.mean(found):+.2%}, 95 % interval {low:+.2%} to {high:+.2%}", end=", ")
    print(f"median {statistics.median(found):+.2%} of {len(found)} turns alone between two others")
    print(f"the platform's own processes: {own:.2f} s of processor time in {took:.0f} s")
    figures.note(
        "overhead",
        "share of training time, at most",
        [100 * statistics.mean(found)],
        "%",
        goal=3.0,
        less_is_better=True,
    )


def main() -> None:
    """Run with ``--minutes``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    asyncio.run(bench(parser.parse_args().minutes))


if __name__ == "__main__":
    main()
