"""The process that trains, from its start to the end of everything it started.

It has a process group of its own, says one line of JSON at a time on standard output and everything else in a log. If
the runner dies the kernel kills it.
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import structlog

from libs.embedded.supervisor import die_with_parent
from services.trainer.runner import family
from services.trainer.runner.launching import SHUTDOWN
from services.trainer.training.protocol import Line, read_line

log = structlog.get_logger()

LONGEST_LINE = 1 << 20
BURIAL_LOOKS = 200
TAIL = 8000
STACKS = signal.SIGUSR1
"""Asks the child to write where each of its threads stands into its log."""
STACKS_SECONDS = 30.0
STACKS_SETTLE = 2.0


class Child:
    """One training process and its family."""

    def __init__(self, mark: str, log_file: Path) -> None:
        """Take what marks the family's environments, and where what they say on standard error goes."""
        self.mark = mark
        self.log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._gone = False

    async def start(self, command: list[str]) -> None:
        """Start it; its standard input is empty."""
        await self._spawn(command, asyncio.subprocess.DEVNULL)

    async def start_ahead(self, command: list[str]) -> None:
        """Start it before its attempt is known; another child may become it and then tells it its spec."""
        await self._spawn(command, asyncio.subprocess.PIPE)

    def become(self, waiting: "Child", spec: Path) -> None:
        """Be the child that was started ahead from now on, with its log in the place of this one's."""
        waiting.log_file.rename(self.log_file)
        self._process, self.mark = waiting._process, waiting.mark
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(bytes(spec))
        self._process.stdin.close()

    async def _spawn(self, command: list[str], stdin: int) -> None:
        family.adopted.being_born += 1
        try:
            with self.log_file.open("wb") as errors:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=errors,
                    limit=LONGEST_LINE, process_group=0, env=os.environ | SHUTDOWN | {family.MARK: self.mark},
                    preexec_fn=functools.partial(die_with_parent, signal.SIGKILL),
                )  # fmt: skip
            family.adopted.ours.add(self._process.pid)
        finally:
            family.adopted.being_born -= 1

    async def lines(self) -> AsyncIterator[Line]:
        """Yield what it says until nobody holds its standard output any more."""
        assert self._process
        assert self._process.stdout
        async for raw in self._process.stdout:
            try:
                line = read_line(raw)
            except msgspec.MsgspecError:
                log.warning("not a line of the child", said=raw[:200])
                continue
            yield line

    async def first_word(self) -> Line | None:
        """Return what it says first; ``None`` when it ends without a word."""
        return await anext(self.lines(), None)

    @property
    def lives(self) -> bool:
        """Whether it has not ended yet, by the kernel's word."""
        assert self._process
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def send(self, sign: signal.Signals) -> None:
        """Signal its process group, unless that is known to be gone."""
        if self._process and not self._gone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)

    def kill(self) -> None:
        """End its whole process group."""
        self.send(signal.SIGKILL)

    async def outlive(self) -> None:
        """Wait for its end and end what it left behind.

        That would hold the device, and the pipe too, for whose end ``wait`` waits: so the kernel is asked.
        """
        assert self._process
        ended = asyncio.Event()
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(self._process.pid)
            try:
                asyncio.get_running_loop().add_reader(process, ended.set)
                await ended.wait()
            finally:
                asyncio.get_running_loop().remove_reader(process)
                os.close(process)
        self.kill()
        await self._family_gone()

    async def wait(self) -> None:
        """Wait until it has ended and nobody holds its standard output any more."""
        assert self._process
        await self._process.wait()

    async def end(self) -> None:
        """Kill it with all that is left of its family, and wait until it is gone."""
        assert self._process
        self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        await self._family_gone()
        await self._process.wait()
        family.adopted.ours.discard(self._process.pid)

    async def _family_gone(self) -> None:
        """End who left the group and wait until all are gone; not for ever: the dead may find nobody to bury them."""
        assert self._process
        killed: set[int] = set()
        for _ in range(0 if self._gone else BURIAL_LOOKS):
            killed = {pid for pid in killed.union(family.end(self.mark)) if family.exists(pid)}
            if not killed and not _lives(self._process.pid):
                break
            await asyncio.sleep(0.01)
        self._gone = True

    async def tell_stacks(self) -> None:
        """Have every process of the family that knows how write where it stands, and wait until that is written.

        Who does not catch the signal would die of it and is left alone.
        """
        before = self._log_size()
        asked = [pid for pid in family.marked(self.mark) if family.catches(pid, STACKS)]
        for pid in asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, STACKS)
        if asked:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._log_grown(before), STACKS_SECONDS)

    async def _log_grown(self, before: int) -> None:
        """Wait until the log is longer than before and grows no more."""
        seen = before
        while (now := self._log_size()) == before or now != seen:
            seen = now
            await asyncio.sleep(STACKS_SETTLE)

    def _log_size(self) -> int:
        return self.log_file.stat().st_size

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative for a signal; ``None`` while it lives."""
        return self._process.returncode if self._process else None


def words_in(log_file: Path, tail: int = TAIL) -> str:
    """Return the end of a log; empty where there is none."""
    return log_file.read_text(errors="replace")[-tail:].replace("\0", "") if log_file.exists() else ""


def _lives(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False
