"""Rented GPUs: pods of RunPod, over its REST API v2 (docs.runpod.io/api-reference-v2).

Pod names are not unique there, and a request answered 5xx may have made its pod all the same. So a pod is looked for
by its name before one is asked for, and again after every answer that says neither yes nor no; what appears later
still is a second pod of one key, which the keeper ends as an orphan.
"""

import shlex
from typing import Any, TypeVar

from msgspec import Struct

from libs.errors import Busy, NotFound, Rejected
from services.trainer.providers.http import DEADLINE, Edge
from services.trainer.providers.pools import RunPodPool
from services.trainer.providers.provider import SHELL, Found, Need, Offer, Seen, Spec, in_container

STATES: dict[str, Seen] = {
    "PROVISIONING": "pending",
    "STARTING": "pending",
    "RUNNING": "running",
    "EXITED": "exited",
    "ERROR": "exited",
    "TERMINATED": "gone",
}
"""What RunPod's ``PodStatus`` means here; a word it adds one day is ``unknown``."""


A = TypeVar("A")


class Pod(Struct, frozen=True):
    """What of a pod is read."""

    id: str
    name: str
    status: str


class Pods(Struct, frozen=True):
    """The account's pods; those that are terminated may be missing."""

    pods: tuple[Pod, ...]


class Gpu(Struct, frozen=True):
    """A kind of GPU: dollars an hour for one, by cloud."""

    id: str
    price: dict[str, float]
    availability: str = "NONE"


class Gpus(Struct, frozen=True):
    """The catalogue."""

    gpus: tuple[Gpu, ...]


class Anything(Struct, frozen=True):
    """An answer nothing is read of."""


class RunPod:
    """Speaks for one account; ``key`` is its API key."""

    certain = False

    def __init__(self, pool: RunPodPool, key: str, *, deadline: float = DEADLINE) -> None:
        if not key:
            raise Rejected("A pool rents from RunPod, but WOODSHED_TRAINER_RUNPOD_KEY is empty.", code="bad_pools")
        self.pool = pool
        self._key = key
        self._edge = Edge("RunPod", pool.server, deadline=deadline)

    async def offers(self, need: Need) -> list[Offer]:
        """Return the pool's kinds of GPU that are to be had and cost no more than it allows, the cheapest first."""
        query = {"include": "AVAILABILITY", "product": "POD", "count": str(need.devices), "cloud": self.pool.cloud}
        found = await self._ask(Gpus, "GET", "/v2/catalog/gpus", **query)
        offers = [
            Offer(kind=each.id, price=each.price[self.pool.cloud.lower()] * need.devices)
            for each in found.gpus
            if each.id in self.pool.gpus and each.availability != "NONE"
        ]
        return sorted((each for each in offers if each.price <= self.pool.price), key=lambda each: each.price)

    async def launch(self, spec: Spec, key: str) -> str:
        """Return the pod of this name, made now unless it is there."""
        if there := await self._pod_named(key):
            return there
        try:
            made = await self._ask(Pod, "POST", "/v2/pods", body=request(self.pool, spec, key))
        except Busy:
            if there := await self._pod_named(key):
                return there
            raise
        return made.id

    async def observe(self, handle: str) -> Seen:
        """Read the pod's status."""
        try:
            pod = await self._ask(Pod, "GET", f"/v2/pods/{handle}")
        except NotFound:
            return "gone"
        except (Busy, Rejected):
            return "unknown"
        return STATES.get(pod.status, "unknown")

    async def stop(self, handle: str, grace: float) -> None:
        """Delete the pod: RunPod promises no grace, and one that merely stopped would cost for its disk."""
        try:
            await self._ask(Anything, "DELETE", f"/v2/pods/{handle}")
        except NotFound:
            return

    async def list(self, owner: str) -> list[Found]:
        """Find the pods whose name bears this owner's mark."""
        return [Found(key=pod.name, handle=pod.id) for pod in await self._pods() if pod.name.startswith(f"ws-{owner}-")]

    async def _pod_named(self, key: str) -> str | None:
        ids = sorted(pod.id for pod in await self._pods() if pod.name == key)
        return ids[0] if ids else None

    async def _pods(self) -> tuple[Pod, ...]:
        found = await self._ask(Pods, "GET", "/v2/pods")
        return tuple(pod for pod in found.pods if pod.status != "TERMINATED")

    async def _ask(self, into: type[A], method: str, path: str, *, body: Any = None, **query: str) -> A:
        return await self._edge.ask(into, method, path, bearer=self._key, body=body, **query)


def request(pool: RunPodPool, spec: Spec, key: str) -> dict[str, Any]:
    """Return the body of ``POST /v2/pods``: exactly what ``CreatePodRequest`` knows, for it refuses anything else."""
    body: dict[str, Any] = {
        "name": key,
        "image": pool.image,
        "args": f"sh -c {shlex.quote(SHELL)}",
        "cloud": pool.cloud,
        "gpu": {"id": spec.kind, "count": pool.devices},
        "disk": pool.disk,
        "env": pool.environment | in_container(key),
    }
    return body | ({"registry": pool.registry} if pool.registry else {})
