"""One job, live, until nothing more happens to it: its story line by line, and a bar that moves.

Sentences come from the job's story, which the gateway keeps; the live stream brings the figures between them
and says when to look. So a broken stream loses nothing: what was missed is in the story.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from contracts.evaluations import EvaluationProgressed
from contracts.runs import RunProgressed
from services.cli import show
from services.cli.client import Api, Json, LiveEvent
from services.cli.errors import CliError, EndedBadly, Unreachable

LOOK_EVERY = 3.0
QUIET_LINE_EVERY = 10.0
STORY_LENGTH = 1000


class Seen(Struct):
    """What of a job's story is on the screen already."""

    lines: set[str] = field(default_factory=set)

    def new(self, story: list[Json]) -> list[Json]:
        """Return the lines that are not shown yet, in order; ``story`` comes with the latest first."""
        fresh = [each for each in reversed(story) if each["id"] not in self.lines]
        self.lines |= {each["id"] for each in fresh}
        return fresh


def is_over(job: Json) -> bool:
    """Whether nothing more is to come: a failure or a cancellation, or success with its proof made or given up."""
    proven = job["status"] == "succeeded" and job["woodshed"]["stage"] == "done"
    return proven or job["status"] in ("failed", "cancelled")


class Bar:
    """A bar with the newest figures; where the output is no terminal, a line every few seconds instead."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[figures]}"),
            console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._console = console
        self._next_line = 0.0

    def move(self, event: LiveEvent) -> None:
        """Take in what was measured; other events move nothing."""
        match _measured(event):
            case RunProgressed() as run:
                self._show("training", run.step, run.total_steps, figures_of(run))
            case EvaluationProgressed() as proof:
                self._show(f"measuring {show.clean(proof.suite)}", proof.share, 1.0, figures_of_proof(proof))

    def _show(self, what: str, done: float, total: float, figures: str) -> None:
        if self._task is None:
            self._task = self.progress.add_task("", figures="")
        self.progress.update(self._task, description=what, completed=done, total=total, figures=figures)
        now = asyncio.get_running_loop().time()
        if not self._console.is_terminal and now >= self._next_line:
            self._next_line = now + QUIET_LINE_EVERY
            self._console.print(Text(f"          {what} {figures}"))

    def clear(self) -> None:
        """Take the bar away until there are figures again."""
        if self._task is not None:
            self.progress.remove_task(self._task)
            self._task = None


def figures_of(run: RunProgressed) -> str:
    """Say where training stands in one line."""
    validation = "" if run.eval_loss is None else f"  validation {run.eval_loss:.3f}"
    rewards = "" if run.reward_accuracy is None else f"  prefers {run.reward_accuracy:.0%}"
    return (
        f"step {run.step}/{run.total_steps}  loss {run.loss:.3f}{validation}{rewards}  "
        f"{run.tokens_per_second:,.0f} tokens/s  {show.duration(run.eta_seconds)} left"
    )


def figures_of_proof(proof: EvaluationProgressed) -> str:
    """Say where an evaluation stands in one line."""
    left = "" if proof.eta_seconds is None else f"  {show.duration(proof.eta_seconds)} left"
    return f"{proof.done}/{proof.total}  {proof.share:.0%} of the evaluation{left}"


async def watch(api: Api, job_id: str, console: Console, over: Callable[[Json], bool] = is_over) -> Json:
    """Show a job until it is over and return it. Leaving early changes nothing for the job."""
    path = f"/v1/fine_tuning/jobs/{job_id}"
    seen, bar = Seen(), Bar(console)
    await api.get(path)
    with bar.progress:
        async with aclosing(_ticks(api, f"{path}/stream", console)) as ticks:
            async for event in ticks:
                if event and not event.id:
                    bar.move(event)
                    continue
                try:
                    job = await api.get(path)
                    story = await api.get(f"{path}/events", limit=STORY_LENGTH)
                except CliError as error:
                    if error.code < Unreachable.code:
                        raise
                    continue  # the stream notices too, says so, and decides when waiting is pointless
                for line in seen.new(story["data"]):
                    console.print(show.story_line(line))
                if job["woodshed"]["stage"] not in ("training", "evaluating"):
                    bar.clear()
                if over(job):
                    return job
    raise AssertionError("ticks never end")


async def _ticks(api: Api, path: str, console: Console) -> AsyncGenerator[LiveEvent | None]:
    """Yield what is told live; ``None`` at once, and when it is time to look again though nothing was told.

    Facts that come close together are one reason to look, not many.
    """
    told: asyncio.Queue[LiveEvent] = asyncio.Queue()
    reader = asyncio.create_task(_read(api, path, console, told))
    try:
        yield None
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    event = await told.get()
            except TimeoutError:
                if reader.done():
                    reader.result()
                yield None
            else:
                yield event
                while event.id and told.qsize():
                    event = told.get_nowait()
                    if not event.id:
                        yield event
    finally:
        reader.cancel()


async def _read(api: Api, path: str, console: Console, told: asyncio.Queue[LiveEvent]) -> None:
    async for event in api.live(path, lambda text: console.print(Text(text, style="yellow"))):
        told.put_nowait(event)


def _measured(event: LiveEvent) -> RunProgressed | EvaluationProgressed | None:
    try:
        found: Any = msgspec.json.decode(event.data, type=RunProgressed | EvaluationProgressed)
    except msgspec.ValidationError:
        return None
    return found  # type: ignore[no-any-return]


def require_success(job: Json) -> None:
    """Raise ``EndedBadly`` unless the job made a model."""
    if job["status"] == "succeeded":
        return
    error = job["error"] or {"message": f"The job was {job['status']}."}
    raise EndedBadly(f"{error['message']} Its story stays readable: woodshed jobs show {job['id']}")
