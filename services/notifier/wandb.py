"""Talks to a server of Weights & Biases over HTTP: makes or finds a run, and sends it lines.

The two calls are those of its own client: GraphQL at ``/graphql``, and ``/files/…/file_stream`` for a run's lines. What
the server says is logged, and repeated to nobody. No redirect is followed and no proxy asked.
"""

from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import structlog
from msgspec import Struct

from contracts.trackers import Labels
from libs.errors import Busy, Rejected
from services.notifier.domain.notice import plain
from services.notifier.domain.wandb import Standing, standing_in

log = structlog.get_logger()

SECONDS = 15.0
SHOWN = 300
NO_SERVER = "what answers at its address is no server of Weights & Biases"

STANDING = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $name, missingOk: true) { historyLineCount historyTail summaryMetrics }
  }
}
"""
UPSERT = """
mutation UpsertBucket(
  $name: String, $project: String, $entity: String, $displayName: String, $config: JSONString, $tags: [String!]
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config, tags: $tags
  }) {
    bucket { project { name entity { name } } }
  }
}
"""


S = TypeVar("S", bound=Struct)


class Bucket(Struct, rename="camel"):
    """What the server knows of a run: how many lines it has, and in JSON the last of them and its summary."""

    history_line_count: int | None = None
    history_tail: str | None = None
    summary_metrics: str | None = None


class Model(Struct):
    """A project, and the run in it that was asked for."""

    bucket: Bucket | None = None


class Found(Struct):
    """The answer to ``STANDING``; nothing where there is no such project."""

    model: Model | None = None


class Entity(Struct):
    """A team or a user."""

    name: str


class Project(Struct):
    """A project and whose it is."""

    name: str
    entity: Entity


class Made(Struct):
    """A run, and where it stands."""

    project: Project


class Upserted(Struct):
    """What became of a wish to make or keep a run."""

    bucket: Made


class Kept(Struct, rename="camel"):
    """The answer to ``UPSERT``."""

    upsert_bucket: Upserted


class Place(Struct, frozen=True, kw_only=True):
    """A run at the server: the path its lines go to, and where it stands. ``found``: it was there already."""

    path: str
    standing: Standing
    found: bool


class Wandb:
    """One server, and the key for those who have none of their own. Tests give it a shorter patience."""

    def __init__(self, url: str, key: str, *, seconds: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._seconds = seconds
        self._tls = httpx.create_ssl_context()

    async def open(self, run_id: str, labels: Labels, config: str, key: str) -> Place:
        """Make a run, or go on with the one that is there: its labels may have been changed there, and stay.

        ``Busy``: the server cannot be reached now. ``Rejected``: it does not want this.
        """
        named = {"name": run_id, "project": labels.project, "entity": labels.entity or None}
        model = (await self._ask(STANDING, named, Found, key)).model
        there = model and model.bucket
        chosen = {} if there else {"displayName": labels.name, "tags": list(labels.tags), "config": config}
        kept = (await self._ask(UPSERT, named | chosen, Kept, key)).upsert_bucket.bucket.project
        return Place(path=_path(kept, run_id), standing=_standing(there) if there else Standing(), found=bool(there))

    async def send(self, path: str, payload: dict[str, Any], key: str) -> None:
        """Send lines, a sign of life, or how the run ended, to the path of a run. Raises as ``open`` does."""
        await self._post(path, payload, key)

    async def _ask(self, query: str, variables: dict[str, Any], kind: type[S], key: str) -> S:
        said = await self._post("/graphql", {"query": query, "variables": variables}, key)
        if said.get("errors"):
            log.warning("wandb refused", said=plain(str(said["errors"]))[:SHOWN])
            raise Rejected("it refuses the project or the entity that the job names")
        try:
            return msgspec.convert(said.get("data"), kind)
        except msgspec.ValidationError as error:
            raise Rejected(NO_SERVER) from error

    async def _post(self, path: str, body: dict[str, Any], own: str) -> dict[str, Any]:
        key = own or self._key
        if not key:
            raise Rejected("neither the organisation nor the installation has a key for it any more")
        try:
            async with httpx.AsyncClient(verify=self._tls, timeout=self._seconds, trust_env=False) as client:
                answer = await client.post(self._url + path, json=body, auth=("api", key))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Busy(f"it cannot be reached ({type(error).__name__})", after=0) from error
        _check(answer)
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Rejected(NO_SERVER) from error


def _path(project: Project, run_id: str) -> str:
    owner, name, run = (quote(each, safe="") for each in (project.entity.name, project.name, run_id))
    return f"/files/{owner}/{name}/{run}/file_stream"


def _standing(bucket: Bucket) -> Standing:
    return standing_in(bucket.history_line_count or 0, bucket.history_tail, bucket.summary_metrics)


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    log.warning("wandb refused", status=status, said=plain(answer.text)[:SHOWN])
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        asked = answer.headers.get("retry-after", "")
        raise Busy(f"it answers {status}", after=float(asked) if asked.isdecimal() and len(asked) < 6 else 0.0)
    if status == httpx.codes.UNAUTHORIZED:
        raise Rejected("it refuses the key (401)")
    if status == httpx.codes.FORBIDDEN:
        raise Rejected("its key may not write where the job wishes (403)")
    raise Rejected(f"it refuses the project or the entity that the job names ({status})")
