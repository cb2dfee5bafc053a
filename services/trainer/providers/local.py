"""Runners as processes of this host, one for each machine that is asked for.

A runner outlives the control that started it: it leads a session of its own, and whoever is control next finds it by
its key. It is told what its pool's environment file says and nothing the control knows.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from libs.errors import Rejected
from services.trainer.providers import processes
from services.trainer.providers.pools import LocalPool, SpotPool
from services.trainer.providers.provider import Found, Need, Offer, Seen, Spec, notice

KIND = "process"
RUNNER = (sys.executable, "-m", "services.trainer.runner")


class Local:
    """Keeps each machine in a folder of its own under ``folder``; a runner leaves within ``notice_seconds``."""

    certain = True

    def __init__(
        self,
        pool: LocalPool | SpotPool,
        folder: Path,
        notice_seconds: float,
        command: Sequence[str] = RUNNER,
    ) -> None:
        self.pool = pool
        self.folder = folder
        self.command = command
        self.notice_seconds = notice_seconds
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    async def offers(self, need: Need) -> list[Offer]:
        """A process can always be had."""
        return [Offer(kind=KIND, price=self.pool.price)]

    async def launch(self, spec: Spec, key: str) -> str:
        """Start the runner unless it lives; ``Rejected`` when the environment file cannot be read."""
        if await asyncio.to_thread(processes.runner_of, key) is None:
            self._started[key] = self._start(spec, key)
        return key

    async def observe(self, handle: str) -> Seen:
        """Say ``exited`` of what this control saw end, ``gone`` of what it cannot find."""
        started = self._started.get(handle)
        if started:
            return "running" if started.poll() is None else "exited"
        return "gone" if await asyncio.to_thread(processes.runner_of, handle) is None else "running"

    async def stop(self, handle: str, grace: float) -> None:
        """SIGTERM, and SIGKILL after ``grace`` seconds; its files go once it is gone."""
        pid = await asyncio.to_thread(processes.runner_of, handle)
        if pid is None:
            self._forget(handle)
            return
        send(pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace, self.kill, handle)

    async def list(self, owner: str) -> list[Found]:
        """Find the runners with this owner's mark."""
        found = await asyncio.to_thread(lambda: list(processes.runners()))
        return [Found(key=key, handle=key) for _, key, theirs in found if theirs == owner]

    def kill(self, handle: str) -> None:
        """End the runner at once; the kernel ends its children."""
        if pid := processes.runner_of(handle):
            send(pid, signal.SIGKILL)

    def _start(self, spec: Spec, key: str) -> subprocess.Popen[bytes]:
        told = _environment(self.pool.environment) | notice(self.notice_seconds)
        work = self.folder / key
        work.mkdir(parents=True, exist_ok=True)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("WOODSHED_")}
        marks = {processes.KEY: key, processes.OWNER: spec.owner, "WOODSHED_RUNNER_NAME": key}
        with (self.folder / f"{key}.log").open("ab") as log:
            return subprocess.Popen(
                self.command,
                env=ours | told | marks | {"WOODSHED_DATA_DIR": str(work), "WOODSHED_HEALTH_PORT": "0"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _forget(self, handle: str) -> None:
        if started := self._started.pop(handle, None):
            started.poll()
        shutil.rmtree(self.folder / handle, ignore_errors=True)


def send(pid: int, sign: signal.Signals) -> None:
    """Send a signal to a process that may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


def _environment(path: str) -> dict[str, str]:
    """Read ``NAME=value`` lines, as ``python -m deploy.secrets`` writes them."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise Rejected(f"The runner's environment cannot be read from {path}: {error.strerror}.") from error
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
