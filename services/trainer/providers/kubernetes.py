"""Machines as Jobs of a Kubernetes cluster, which Kueue admits when the queue's quota allows.

Plain httpx, not kubernetes_asyncio: four requests of ``batch/v1`` are all that is needed. A Job's name is its key, so
the cluster itself sees to it that there is one (a repeated POST is answered 409). Sources: the Job API of
Kubernetes 1.31, Kueue's "Run a Kubernetes Job" (label ``kueue.x-k8s.io/queue-name``, created suspended).
"""

import ssl
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, field

from libs.errors import Busy, Conflict, NotFound, Rejected
from services.trainer.providers.http import DEADLINE, Edge
from services.trainer.providers.pools import KubernetesPool
from services.trainer.providers.provider import SHELL, Found, Need, Offer, Seen, Spec, in_container, notice

OWNER, POOL = "woodshed-owner", "woodshed-pool"
QUEUE = "kueue.x-k8s.io/queue-name"
PAGE = "200"

A = TypeVar("A")


class Condition(Struct, frozen=True):
    """What became of a Job."""

    type: str
    status: str


class Status(Struct, frozen=True):
    """A Job's state; ``ready`` counts pods that are up."""

    ready: int = 0
    conditions: tuple[Condition, ...] = ()


class Metadata(Struct, frozen=True):
    """A Job's name and labels."""

    name: str
    labels: dict[str, str] = {}


class Job(Struct, frozen=True):
    """What of a Job is read."""

    metadata: Metadata
    status: Status = Status()


class Page(Struct, frozen=True):
    """Where a list goes on."""

    token: str = field(default="", name="continue")


class JobList(Struct, frozen=True):
    """One page of Jobs."""

    metadata: Page
    items: tuple[Job, ...]


class Anything(Struct, frozen=True):
    """An answer nothing is read of."""


class Kubernetes:
    """Speaks with one cluster's API server for one namespace, with the token its service account has right now."""

    certain = False

    def __init__(self, pool: KubernetesPool, *, deadline: float = DEADLINE) -> None:
        self.pool = pool
        self._edge = Edge("Kubernetes", pool.server, deadline=deadline, verify=_trust(pool.ca_file))
        self._jobs = f"/apis/batch/v1/namespaces/{pool.namespace}/jobs"

    async def offers(self, need: Need) -> list[Offer]:
        """Kueue decides when; here it can always be asked."""
        return [Offer(kind=self.pool.resource or "cpu", price=self.pool.price)]

    async def launch(self, spec: Spec, key: str) -> str:
        """Create the Job; 409 means it is there. ``Rejected`` when a stranger's bears the name."""
        try:
            await self._ask(Anything, "POST", self._jobs, body=manifest(self.pool, spec, key))
        except Conflict as error:
            there = await self._ask(Job, "GET", f"{self._jobs}/{key}")
            if there.metadata.labels.get(OWNER) != spec.owner:
                raise Rejected(f"There is a Job {key} in {self.pool.namespace} that is not ours.") from error
        return key

    async def observe(self, handle: str) -> Seen:
        """Read the Job's conditions and counts."""
        try:
            return state_of(await self._ask(Job, "GET", f"{self._jobs}/{handle}"))
        except NotFound:
            return "gone"
        except (Busy, Rejected):
            return "unknown"

    async def stop(self, handle: str, grace: float) -> None:
        """Delete the Job and, behind it, its pod, which has the grace its manifest names."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            await self._ask(Anything, "DELETE", f"{self._jobs}/{handle}", body=options)
        except NotFound:
            return

    async def list(self, owner: str) -> list[Found]:
        """Find the Jobs with this owner's label, page by page."""
        found: list[Found] = []
        query = {"labelSelector": f"{OWNER}={owner}", "limit": PAGE}
        while True:
            page = await self._ask(JobList, "GET", self._jobs, **query)
            found += [Found(key=job.metadata.name, handle=job.metadata.name) for job in page.items]
            if not page.metadata.token:
                return found
            query["continue"] = page.metadata.token

    async def _ask(self, into: type[A], method: str, path: str, *, body: Any = None, **query: str) -> A:
        try:
            token = Path(self.pool.token_file).read_text().strip()
        except OSError as error:
            raise Rejected(f"The cluster's token cannot be read from {self.pool.token_file}.") from error
        return await self._edge.ask(into, method, path, bearer=token, body=body, **query)


def _trust(ca_file: str) -> ssl.SSLContext | bool:
    """Trust the cluster's own authority, or, where none is named, those that Python trusts."""
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else True
    except OSError as error:
        raise Rejected(f"The cluster's certificate cannot be read from {ca_file}: {error}.") from error


def state_of(job: Job) -> Seen:
    """Return what a Job's status means: ended by its conditions, else by how many of its pods are up."""
    ended = {each.type for each in job.status.conditions if each.status == "True"}
    if ended & {"Complete", "Failed"}:
        return "exited"
    return "running" if job.status.ready else "pending"


def manifest(pool: KubernetesPool, spec: Spec, key: str) -> dict[str, Any]:
    """Return the Job of one machine: suspended until Kueue admits it, one pod, never started again by itself.

    The runner's passwords come from the pool's Secret; nothing of it stands here.
    """
    labels = {"app.kubernetes.io/managed-by": "woodshed", OWNER: spec.owner, POOL: spec.pool}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": key, "namespace": pool.namespace, "labels": labels | {QUEUE: pool.queue}},
        "spec": {
            "suspend": True,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": round(pool.grace_seconds),
                    "automountServiceAccountToken": False,
                    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
                    "containers": [_container(pool, key)],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }


def _container(pool: KubernetesPool, key: str) -> dict[str, Any]:
    gpus = {pool.resource: str(pool.devices)} if pool.resource else {}
    told = in_container(key) | notice(pool.grace_seconds)
    return {
        "name": "runner",
        "image": pool.image,
        "command": ["sh", "-c", SHELL],
        "env": [{"name": name, "value": value} for name, value in told.items()],
        "envFrom": [{"secretRef": {"name": pool.secret}}],
        "resources": {
            "requests": {"cpu": pool.cpu, "memory": pool.memory},
            "limits": {"memory": pool.memory} | gpus,
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
