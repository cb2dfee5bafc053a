"""One attempt, from its order to its last report.

Fetch what is needed (``fetching``) → start the child (``child``) → pass on what it says: progress at once, everything
durable in order, checkpoints uploaded while training goes on (``delivering``) → report how it ended. One that does not
end when it must is ended (``overdue``).
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from libs.lm.models import DamagedModel, UnknownModel
from libs.storage import Storage
from services.trainer.domain.hanging import USUAL, Patience, innermost
from services.trainer.line import Broken, DeviceFound, Halted, Launch, Reached, Remark
from services.trainer.runner.child import TAIL, Child, words_in
from services.trainer.runner.delivering import Delivery
from services.trainer.runner.fetching import Fetching
from services.trainer.runner.launching import Command, command, could_wait
from services.trainer.runner.machine import memory_kills
from services.trainer.runner.overdue import Overdue
from services.trainer.runner.reporting import Reporter, Stale
from services.trainer.runner.warm import Warm
from services.trainer.training.protocol import (
    Alive,
    AttemptSpec,
    Failed,
    Finished,
    Line,
    Progressed,
    Remarked,
    Saved,
    Shelf,
    Staged,
    Stopped,
    Waiting,
)

STACKS = 64_000
"""How much of a log may be stacks of one that hung."""


class Attempt:
    """Carries one attempt out on one device."""

    def __init__(
        self,
        launch: Launch,
        device: DeviceFound,
        storage: Storage,
        reporter: Reporter,
        *,
        command: Command = command,
        models: Path,
        folder: Path,
        workers: int = 0,
        shelf: Shelf | None = None,
        patience: Patience = USUAL,
        warm: Warm | None = None,
    ) -> None:
        self.launch = launch
        self.device = device
        self.reporter = reporter
        self.command = command
        self.models = models
        self.folder = folder
        self.workers = workers
        self.shelf = shelf
        self.warm = warm
        self.step = 0
        self.resumed_at = 0
        self.memory = 0
        self._fetching = Fetching(launch, storage, reporter, folder)
        self._delivery = Delivery(launch, storage, reporter)
        self._child = Child(self._delivery.prefix, folder / "stderr.log")
        self._overdue = Overdue(self._child, patience)
        self._memory_kills = memory_kills()
        self._stop_asked = asyncio.Event()
        self._leaving = False
        self._last: Line | None = None

    async def carry_out(self) -> None:
        """Run the attempt to its end and report it; returns quietly when the lease is gone."""
        try:
            spec = await self._unless_stopped(self._prepare())
            if spec is None:
                await self.reporter.tell(Halted(step=self.step))
            else:
                await self._run(spec)
        except Stale:
            self.kill()
        except UnknownModel as error:
            await self.reporter.tell(self._broken("unknown_model", str(error)))
        except DamagedModel as error:
            await self.reporter.tell(self._broken("damaged_model", str(error)))

    async def _unless_stopped(self, preparing: Coroutine[Any, Any, AttemptSpec]) -> AttemptSpec | None:
        """Return what is prepared; ``None`` as soon as a stop is asked, however much is still to be fetched."""
        prepared = asyncio.ensure_future(preparing)
        asked = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait((prepared, asked), return_when=asyncio.FIRST_COMPLETED)
            return None if asked.done() else prepared.result()
        finally:
            prepared.cancel()
            asked.cancel()
            await asyncio.wait((prepared, asked))

    async def give_up(self, error: Exception) -> None:
        """Report an error of ours or of the storage; the control decides whether to try again."""
        self.kill()
        with contextlib.suppress(Stale):
            await self.reporter.tell(self._broken("preempted" if self._leaving else "infrastructure", _said(error)))

    def ask_to_stop(self, grace: float) -> None:
        """SIGTERM now, SIGKILL after ``grace`` seconds. Safe to repeat."""
        if self._stop_asked.is_set():
            return
        self._stop_asked.set()
        self._child.send(signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace, self.kill)

    def leave(self, grace: float) -> None:
        """Stop for a reason of the machine, not of the run: what is lost by it is nobody's failure."""
        self._leaving = True
        self.ask_to_stop(grace)

    def kill(self) -> None:
        """End the child's whole process group."""
        self._child.kill()

    async def _prepare(self) -> AttemptSpec:
        await self.reporter.tell(Reached(stage="starting"))
        self.folder.mkdir(parents=True, exist_ok=True)
        resumed = await self._fetching.checkpoint()
        self.step = self.resumed_at = resumed.step if resumed else 0
        return await self._fetching.spec(self.device, self.models, self.workers, self.shelf, resumed)

    async def _run(self, spec: AttemptSpec) -> None:
        path = self.folder / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        await self._start(path, spec.recipe.quantization)
        if self._stop_asked.is_set():
            self._child.send(signal.SIGTERM)
        try:
            await self._see_through(spec.seconds_left)
        except* Stale:
            raise Stale from None
        finally:
            await self._child.end()

    async def _start(self, spec: Path, quantization: str) -> None:
        """Start the child, or let it be the one that waits."""
        command = self.command(spec, self.device)
        if self.warm and (waiting := await self.warm.take(usable=could_wait(command, self.device, quantization))):
            self._child.become(waiting, spec)
        else:
            await self._child.start(command)

    async def _see_through(self, seconds_left: float) -> None:
        """Listen, pass on and keep an eye on the child, until its end is reported."""
        queue: asyncio.Queue[Line | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            outlived = tasks.create_task(self._child.outlive())
            tasks.create_task(self._listen(queue, outlived))
            tasks.create_task(self._pass_on(queue))
            for watching in (self._overdue.end_in_time(seconds_left), self._overdue.end_if_hung()):
                outlived.add_done_callback(_cancelling(tasks.create_task(watching)))

    async def _listen(self, queue: "asyncio.Queue[Line | None]", outlived: "asyncio.Task[None]") -> None:
        async for line in self._child.lines():
            self._overdue.heard(line)
            if isinstance(line, Progressed):
                self.step = line.step
                self.memory = max(self.memory, line.device_bytes or line.rss_bytes)
                await self.reporter.show(line)
            elif not isinstance(line, Alive | Waiting):
                queue.put_nowait(line)
        await self._child.wait()
        await outlived
        queue.put_nowait(None)

    async def _pass_on(self, queue: "asyncio.Queue[Line | None]") -> None:
        while (line := await queue.get()) is not None:
            match line:
                case Staged():
                    await self.reporter.tell(Reached(stage=line.stage, step=self.resumed_at))
                case Saved():
                    await self._delivery.checkpoint(Path(line.path), line.step)
                case Remarked():
                    await self.reporter.tell(_remark(line))
                case Finished() | Stopped() | Failed():
                    self._last = self._last or line
        await self._report_end()

    async def _report_end(self) -> None:
        match self._last:
            case Finished():
                await self._delivery.result(self._last, self.memory)
            case Stopped():
                words = words_in(self._child.log_file)
                step = self._last.step
                await self.reporter.tell(Halted(step=step, exit_code=self._child.exit_code, stderr=words))
            case Failed():
                await self.reporter.tell(self._broken(self._last.kind, self._last.message, self._last.traceback))
            case _:
                await self.reporter.tell(self._broken("preempted" if self._leaving else self._overdue.why, ""))

    def _broken(self, kind: str, message: str, traceback: str = "") -> Broken:
        return Broken(
            kind=kind,
            message=message,
            exit_code=self._child.exit_code,
            stderr=f"{self._last_words()}\n{traceback}".strip(),
            step=self.step,
            killed_for_memory=memory_kills() > self._memory_kills,
        )

    def _last_words(self) -> str:
        """Return what the child wrote last; of one that hung, where it stood."""
        if self._overdue.why == "hung":
            return innermost(words_in(self._child.log_file, STACKS))[-TAIL:]
        return words_in(self._child.log_file)


def _cancelling(task: "asyncio.Task[None]") -> Callable[[object], None]:
    def cancel(_: object) -> None:
        task.cancel()

    return cancel


def _remark(line: Remarked) -> Remark:
    return Remark(step=line.step, code=line.code, level=line.level, message=line.message)


def _said(error: BaseException) -> str:
    """Say an error in a line; of a group, each of those it holds."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(_said(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
