"""Keeps the processes of one machine alive, and takes every one of them down at the end.

Each runs in its own process group. One that dies is started again, at once at first and
then with growing patience; on stop they get SIGTERM in reverse order, and SIGKILL after
their grace. Linux tells children when this process is killed (PR_SET_PDEATHSIG), so no
orphan stays behind.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct, field

log = structlog.get_logger()

PR_SET_PDEATHSIG = 1
HEALTHY_SECONDS = 30.0
LONGEST_PAUSE = 15.0
LONG_WORK = 10
"""Niceness of work that takes minutes."""
AUTOGROUP = Path("/proc/self/autogroup")


class Program(Struct, frozen=True, kw_only=True):
    """Something to keep running. ``ready`` is awaited before the next program starts."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] | None = None
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    options: dict[str, Any] = field(default_factory=dict)


class Supervisor:
    """Starts programs in order, restarts what dies, stops all in reverse order."""

    def __init__(self, log_folder: Path) -> None:
        self.log_folder = log_folder
        self.log_folder.mkdir(parents=True, exist_ok=True)
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.restarts: dict[str, int] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self.programs: dict[str, Program] = {}
        self._stopping = False

    async def start(self, program: Program, *, timeout: float = 60.0) -> None:
        """Start and wait until ready; ``TimeoutError`` names the log to read."""
        self.programs[program.name] = program
        await self._spawn(program)
        self._keepers[program.name] = asyncio.create_task(self._keep(program))
        if program.ready is None:
            return
        deadline = asyncio.get_running_loop().time() + timeout
        while not await program.ready():
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(
                    f"{program.name} was not ready after {timeout:g} s. Its log, {self.log_of(program)}, ends:\n"
                    + last_lines(self.log_of(program))
                )
            await asyncio.sleep(0.05)

    def forsake(self, name: str) -> Program:
        """Keep a program alive no longer, and return it: what dies now stays dead until it is started again."""
        self._keepers[name].cancel()
        return self.programs[name]

    async def stop(self) -> None:
        """Take everything down, the last started first."""
        self._stopping = True
        for keeper in self._keepers.values():
            keeper.cancel()
        for program in reversed(self.programs.values()):
            process = self.running.get(program.name)
            if process and process.returncode is None:
                await _end(process, program)

    def log_of(self, program: Program) -> Path:
        """Where a program's output goes."""
        return self.log_folder / f"{program.name}.log"

    async def _spawn(self, program: Program) -> None:
        with self.log_of(program).open("ab") as output:
            self.running[program.name] = await asyncio.create_subprocess_exec(
                *program.command,
                env=os.environ | program.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=die_with_parent,
                **program.options,
            )

    async def _keep(self, program: Program) -> None:
        pause = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            code = await self.running[program.name].wait()
            if self._stopping:
                return
            lived = asyncio.get_running_loop().time() - began
            pause = 0.1 if lived > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            self.restarts[program.name] = self.restarts.get(program.name, 0) + 1
            log.warning("started again", program=program.name, exit_code=code, after_seconds=round(lived, 1))
            await asyncio.sleep(pause)
            await self._spawn(program)


async def _end(process: asyncio.subprocess.Process, program: Program) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(program.stop_signal)
    try:
        await asyncio.wait_for(process.wait(), program.grace)
    except TimeoutError:
        log.warning("killed after its grace", program=program.name)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def die_with_parent(sign: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process ``sign`` when its parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sign)


def step_aside() -> None:
    """Let whoever waits for an answer go first: long work takes the processor time that others leave.

    Where Linux shares processors out by session (its autogroups), a process's own niceness counts within its session
    only: a session of its own says it once more.
    """
    os.nice(LONG_WORK)
    if os.getsid(0) == os.getpid() and AUTOGROUP.exists():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(LONG_WORK))


def last_lines(path: Path, count: int = 15) -> str:
    """Return the end of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:]) if path.exists() else "(no log)"
