"""A spot market in small: local runners that are taken away, with notice, at times that follow from a seed.

For tests and demonstrations. What happens to a machine is what a cloud does: SIGTERM, and SIGKILL when the notice is
over, whether the runner has left by then or not.
"""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random

import structlog

from services.trainer.providers import processes
from services.trainer.providers.local import RUNNER, Local, send
from services.trainer.providers.pools import SpotPool
from services.trainer.providers.provider import Found, Need, Offer, Seen, Spec

log = structlog.get_logger()


def lifetimes(pool: SpotPool) -> list[float]:
    """Return the seconds each machine lives, in the order of launching; later machines stay."""
    random = Random(pool.seed)
    return [random.uniform(*pool.lifetime) for _ in range(pool.preemptions)]


class Spot:
    """Takes away what it lends. One that a former control started gets its lifetime when it is first seen here."""

    certain = True

    def __init__(self, pool: SpotPool, folder: Path, command: Sequence[str] = RUNNER) -> None:
        self.pool = pool
        self.local = Local(pool, folder, pool.notice_seconds, command)
        self._lifetimes = iter(lifetimes(pool))
        self._doomed: set[str] = set()

    async def offers(self, need: Need) -> list[Offer]:
        """A machine can always be had, at the pool's price."""
        return await self.local.offers(need)

    async def launch(self, spec: Spec, key: str) -> str:
        """Start a runner; its end is decided now."""
        handle = await self.local.launch(spec, key)
        self._doom(handle)
        return handle

    async def observe(self, handle: str) -> Seen:
        """Say how the runner is."""
        seen = await self.local.observe(handle)
        if seen == "running":
            self._doom(handle)
        return seen

    async def stop(self, handle: str, grace: float) -> None:
        """End a runner before its time."""
        await self.local.stop(handle, grace)

    async def list(self, owner: str) -> list[Found]:
        """Find the runners with this owner's mark."""
        return await self.local.list(owner)

    def _doom(self, handle: str) -> None:
        if handle in self._doomed:
            return
        self._doomed.add(handle)
        if lifetime := next(self._lifetimes, None):
            asyncio.get_running_loop().call_later(lifetime, self._preempt, handle)

    def _preempt(self, handle: str) -> None:
        if pid := processes.runner_of(handle):
            log.info("spot machine is taken away", machine=handle, notice_seconds=self.pool.notice_seconds)
            send(pid, signal.SIGTERM)
            asyncio.get_running_loop().call_later(self.pool.notice_seconds, self.local.kill, handle)
