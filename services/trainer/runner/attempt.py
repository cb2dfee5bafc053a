"""One attempt, from its order to its last report.

Fetch what is needed (every byte verified) → start the child in its own process group →
pass on what it says: progress at once, everything durable in order, checkpoints uploaded
while training goes on → report how it ended. If this process dies the kernel kills the child.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from libs.embedded.supervisor import die_with_parent
from libs.errors import NotFound
from libs.lm.models import DamagedModel, UnknownModel, resolve
from libs.storage import Corrupted, Storage
from services.trainer.domain.card import card
from services.trainer.domain.time_limit import PATIENCE
from services.trainer.line import (
    Broken,
    DeviceFound,
    Done,
    Halted,
    Launch,
    Quarantined,
    Reached,
    Remark,
    SavedBefore,
    Uploaded,
)
from services.trainer.runner.launching import SHUTDOWN, Command, command
from services.trainer.runner.machine import memory_kills
from services.trainer.runner.reporting import Reporter, Stale
from services.trainer.training.checkpoints import MANIFEST, BadCheckpoint, require_run, verify
from services.trainer.training.protocol import (
    AttemptSpec,
    Failed,
    Finished,
    Line,
    Progressed,
    Remarked,
    Saved,
    Staged,
    Stopped,
    read_line,
)

log = structlog.get_logger()

LONGEST_LINE = 1 << 20
BURIAL_LOOKS = 200
TAIL = 8000
NEVER = 30 * 86_400.0


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
    ) -> None:
        self.launch = launch
        self.device = device
        self.storage = storage
        self.reporter = reporter
        self.command = command
        self.models = models
        self.folder = folder
        self.workers = workers
        self.prefix = f"{launch.tenant}/runs/{launch.run_id}/fence-{launch.fence}"
        self.step = 0
        self.resumed_at = 0
        self.memory = 0
        self._memory_kills = memory_kills()
        self._child: asyncio.subprocess.Process | None = None
        self._gone = False
        self._stop_asked = asyncio.Event()
        self._leaving = False
        self._too_late = False
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
        self._signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace, self.kill)

    def leave(self, grace: float) -> None:
        """Stop for a reason of the machine, not of the run: what is lost by it is nobody's failure."""
        self._leaving = True
        self.ask_to_stop(grace)

    def kill(self) -> None:
        """End the child's whole process group."""
        self._signal(signal.SIGKILL)

    def _signal(self, sign: int) -> None:
        """Signal the child's process group, unless it is known to be gone."""
        if self._child and not self._gone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, sign)

    async def _prepare(self) -> AttemptSpec:
        launch = self.launch
        await self.reporter.tell(Reached(stage="starting"))
        self.folder.mkdir(parents=True, exist_ok=True)
        resume = await self._fetch_checkpoint()
        return AttemptSpec(
            run_id=launch.run_id,
            attempt=launch.attempt,
            fence=launch.fence,
            recipe=launch.recipe,
            model_dir=str(resolve(self.models, launch.recipe.base_model)),
            train=str(await self._fetch_split("train")),
            validation=str(await self._fetch_split("validation")),
            work_dir=str(self.folder),
            resume_from=str(resume) if resume else None,
            checkpoint_every=launch.checkpoint_every,
            threads=self.device.threads,
            device=self.device.torch_device,
            micro_tokens=launch.micro_tokens,
            seconds_left=launch.seconds_left,
            processes=self.device.processes,
            workers=self.workers,
        )

    async def _fetch_split(self, name: str) -> Path:
        manifest = self.folder / "dataset.json"
        if not manifest.exists():
            await self.storage.fetch(f"{self.launch.dataset_uri}/manifest.json", manifest, self.launch.dataset_digest)
        files = {entry["name"]: entry["sha256"] for entry in msgspec.json.decode(manifest.read_bytes())["files"]}
        file = f"{name}.parquet"
        return await self.storage.fetch(f"{self.launch.dataset_uri}/{file}", self.folder / file, files[file])

    async def _fetch_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that verifies; each that does not is quarantined and told."""
        for saved in self.launch.checkpoints:
            try:
                return await self._fetch_verified(saved)
            except (BadCheckpoint, NotFound, Corrupted) as error:
                log.warning("checkpoint does not verify", run=self.launch.run_id, step=saved.step, error=str(error))
                await self.reporter.tell(Quarantined(step=saved.step, uri=saved.uri, reason=str(error)[:500]))
        return None

    async def _fetch_verified(self, saved: SavedBefore) -> Path:
        folder = self.folder / "resume" / f"step-{saved.step}"
        await self.storage.fetch(f"{saved.uri}/{MANIFEST}", folder / MANIFEST, saved.sha256)
        for key in await self.storage.list(saved.uri):
            await self.storage.fetch(key, folder / Path(key).name)
        require_run(await asyncio.to_thread(verify, folder), self.launch.run_id)
        self.step = self.resumed_at = saved.step
        return folder

    async def _run(self, spec: AttemptSpec) -> None:
        path = self.folder / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        with (self.folder / "stderr.log").open("wb") as errors:
            self._child = await asyncio.create_subprocess_exec(
                *self.command(path, self.device),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
                limit=LONGEST_LINE, process_group=0, env=os.environ | SHUTDOWN,
                preexec_fn=functools.partial(die_with_parent, signal.SIGKILL),
            )  # fmt: skip
        if self._stop_asked.is_set():
            self._signal(signal.SIGTERM)
        queue: asyncio.Queue[Line | None] = asyncio.Queue()
        alarm = self._wind_alarm(spec.seconds_left)
        try:
            async with asyncio.TaskGroup() as tasks:
                outlived = tasks.create_task(self._outlive())
                tasks.create_task(self._listen(queue, outlived))
                tasks.create_task(self._pass_on(queue))
        except* Stale:
            raise Stale from None
        finally:
            alarm.cancel()
            self.kill()
            await self._child.wait()
            self._gone = True

    async def _outlive(self) -> None:
        """Wait for the child's end and end what it left behind.

        That would hold the device, and the pipe too, for whose end ``wait`` waits: so the kernel is asked.
        """
        assert self._child
        ended = asyncio.Event()
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(self._child.pid)
            try:
                asyncio.get_running_loop().add_reader(process, ended.set)
                await ended.wait()
            finally:
                asyncio.get_running_loop().remove_reader(process)
                os.close(process)
        self.kill()
        await self._group_gone(self._child.pid)
        self._gone = True

    async def _group_gone(self, group: int) -> None:
        """Wait until what was killed is gone; not for ever, since a dead orphan may find nobody to bury it."""
        with contextlib.suppress(ProcessLookupError):
            for _ in range(BURIAL_LOOKS):
                os.killpg(group, 0)
                await asyncio.sleep(0.01)

    def _wind_alarm(self, seconds_left: float) -> asyncio.Handle:
        """End a child that does not end by itself when its time is up: one that hangs in a step never would."""

        def ring() -> None:
            self._too_late = True
            self.kill()

        loop = asyncio.get_running_loop()
        return loop.call_later(seconds_left + PATIENCE if seconds_left else NEVER, ring)

    async def _listen(self, queue: "asyncio.Queue[Line | None]", outlived: "asyncio.Task[None]") -> None:
        assert self._child
        assert self._child.stdout
        async for raw in self._child.stdout:
            try:
                line = read_line(raw)
            except msgspec.MsgspecError:
                log.warning("not a line of the child", said=raw[:200])
                continue
            if isinstance(line, Progressed):
                self.step = line.step
                self.memory = max(self.memory, line.device_bytes or line.rss_bytes)
                await self.reporter.show(line)
            else:
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
                    await self._upload(Path(line.path), line.step)
                case Remarked():
                    await self.reporter.tell(_remark(line))
                case Finished() | Stopped() | Failed():
                    self._last = self._last or line
        await self._report_end()

    async def _upload(self, local: Path, step: int) -> None:
        """Put a checkpoint on storage, its manifest last, and report it; the local copy has done its work."""
        uri = f"{self.prefix}/step-{step}"
        size = 0
        for file in sorted(local.iterdir(), key=lambda each: each.name == MANIFEST):
            stored = await self.storage.put_file(f"{uri}/{file.name}", file)
            size += stored.size
        await self._tell_stored(uri, Uploaded(step=step, uri=uri, size=size, sha256=stored.sha256))
        await asyncio.to_thread(shutil.rmtree, local)

    async def _tell_stored(self, uri: str, what: Uploaded | Done) -> None:
        """Report what is on storage; refused, it belongs to nobody and is removed again."""
        try:
            await self.reporter.tell(what)
        except Stale:
            await self.storage.delete_prefix(uri)
            raise

    async def _report_end(self) -> None:
        match self._last:
            case Finished():
                await self._deliver(self._last)
            case Stopped():
                step = self._last.step
                await self.reporter.tell(Halted(step=step, exit_code=self._exit_code(), stderr=self._stderr()))
            case Failed():
                await self.reporter.tell(self._broken(self._last.kind, self._last.message, self._last.traceback))
            case _:
                await self.reporter.tell(self._broken(self._kind(), ""))

    async def _deliver(self, finished: Finished) -> None:
        """Put the adapter on storage with its model card, and report it."""
        local = Path(finished.path)
        launch = self.launch
        text = card(
            launch.recipe, launch.run_id, launch.dataset_digest, finished.step, finished.train_loss, finished.digest
        )
        (local / "README.md").write_text(text)
        uri = f"{self.prefix}/adapter"
        for file in sorted(local.iterdir()):
            await self.storage.put_file(f"{uri}/{file.name}", file)
        await self._tell_stored(
            uri,
            Done(
                adapter_uri=uri,
                sha256=finished.digest,
                size=finished.size,
                steps=finished.step,
                tokens=finished.tokens,
                trained_tokens=finished.trained_tokens,
                train_loss=finished.train_loss,
                eval_loss=finished.eval_loss,
                train_seconds=finished.seconds,
                memory_bytes=self.memory,
            ),
        )

    def _broken(self, kind: str, message: str, traceback: str = "") -> Broken:
        return Broken(
            kind=kind,
            message=message,
            exit_code=self._exit_code(),
            stderr=f"{self._stderr()}\n{traceback}".strip(),
            step=self.step,
            killed_for_memory=memory_kills() > self._memory_kills,
        )

    def _kind(self) -> str:
        """What we know of the end of a child that said nothing."""
        if self._leaving:
            return "preempted"
        return "time_limit" if self._too_late else ""

    def _exit_code(self) -> int | None:
        return self._child.returncode if self._child else None

    def _stderr(self) -> str:
        log_file = self.folder / "stderr.log"
        return log_file.read_text(errors="replace")[-TAIL:].replace("\0", "") if log_file.exists() else ""


def _remark(line: Remarked) -> Remark:
    return Remark(step=line.step, code=line.code, level=line.level, message=line.message)


def _said(error: BaseException) -> str:
    """Say an error in a line; of a group, each of those it holds."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(_said(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
