"""What of another server can come, as what, and why the rest cannot: decisions only."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct, field

Json = dict[str, Any]

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""What uploads may be for; files of other purposes are written by a server itself."""
MARK = "moved_from"
"""The key among a job's metadata that says which job elsewhere it was."""
MOST_METADATA = 16
HOUR, MONTH = 3600, 30 * 86_400
LABELS = ("project", "name", "entity", "tags")
NO_TRACKER = "unsupported_integration"
"""What a server says that has no key for the tracker of a job."""
NUMBERS = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta")


class Left(Struct, frozen=True):
    """Something that could not come: a file, a job, its model or its tracker, and why."""

    kind: str
    name: str
    why: str


class Recipe(Struct, frozen=True):
    """A job of the other server as it would be submitted here; ``job`` is what it became, if it was."""

    source: str
    body: Json
    job: str | None = None


class Report(Struct, kw_only=True):
    """What came, what was here already, and what could not come."""

    source: str
    target: str
    files: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    recipes: list[Recipe] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def why_not_file(file: Json, now: int) -> str:
    """Say why a file cannot come; empty: it can."""
    if file.get("purpose") not in PURPOSES:
        return f"files of purpose {file.get('purpose')} are written by a server itself, and belong to a job there"
    if not file.get("bytes"):
        return "it is empty"
    if (ends := file.get("expires_at")) and ends - now < HOUR:
        return "it expires within the hour"
    return ""


def lifetime_of(file: Json, now: int) -> Json | None:
    """Return how long a file is to be kept here: as long as it would have been there."""
    ends = file.get("expires_at")
    return {"anchor": "created_at", "seconds": min(ends - now, MONTH)} if ends else None


def why_not_job(job: Json, files: Collection[str]) -> str:
    """Say why a job cannot be trained again; empty: it can."""
    status = job.get("status")
    if status in ("failed", "cancelled"):
        return f"it {'failed' if status == 'failed' else 'was cancelled'} there"
    if status != "succeeded":
        return f"it is {status} there: move in again when it is over"
    wanted = [each for each in (job.get("training_file"), job.get("validation_file")) if each]
    if missing := [each for each in wanted if each not in files]:
        return f"it learned from {' and '.join(missing)}, which did not come"
    return ""


def why_no_model(job: Json) -> str:
    """Say what stays there of a job that succeeded."""
    return f"weights, checkpoints and events stay where they were made (of {job['id']})"


def body_of(job: Json, files: Mapping[str, str], models: Collection[str], model: str, mark: str) -> Json:
    """Return the wish that makes a job again: its files, method, numbers, seed, suffix, metadata and tracker.

    A base model that is not here is replaced by ``model``.
    """
    body: Json = {
        "model": job["model"] if job.get("model") in models else model,
        "training_file": files[job["training_file"]],
        "method": _method(job),
        "metadata": _marked(job.get("metadata") or {}, mark),
    }
    if job.get("validation_file"):
        body["validation_file"] = files[job["validation_file"]]
    if suffix := _suffix(job):
        body["suffix"] = suffix
    if isinstance(job.get("seed"), int):
        body["seed"] = job["seed"]
    if trackers := [_tracker(each) for each in job.get("integrations") or [] if each.get("type") == "wandb"]:
        body["integrations"] = trackers[:1]
    ours = job.get("woodshed") or {}
    return body | {name: ours[name] for name in ("preset", "priority", "budget") if ours.get(name) is not None}


def mark_of(source: str, job_id: str) -> str:
    """Return the value of ``MARK`` for a job of a server."""
    return f"{source.partition('://')[2]}/{job_id}"[-512:]


def key_of(mark: str) -> str:
    """Return the idempotency key that a job is submitted with."""
    return f"move-in-{hashlib.sha256(mark.encode()).hexdigest()[:40]}"


def _method(job: Json) -> Json:
    method = job.get("method") or {}
    kind = method.get("type") or "supervised"
    said = (method.get(kind) or {}).get("hyperparameters") or job.get("hyperparameters") or {}
    numbers = {name: said[name] for name in NUMBERS if said.get(name) is not None}
    return {"type": kind, kind: {"hyperparameters": numbers}}


def _tracker(integration: Json) -> Json:
    """Keep what a job was called there, and not which run it was."""
    said = integration.get("wandb") or {}
    return {"type": "wandb", "wandb": {name: said[name] for name in LABELS if said.get(name)}}


def _marked(metadata: Mapping[str, str], mark: str) -> Json:
    """Add where a job came from, unless its metadata is full."""
    return dict(metadata) | ({MARK: mark} if len(metadata) < MOST_METADATA else {})


def _suffix(job: Json) -> str:
    """Read the suffix out of ``ft:base:organisation:suffix:id``, or take it where it is said."""
    parts = str(job.get("fine_tuned_model") or "").split(":")
    said = (job.get("woodshed") or {}).get("suffix") or (parts[3] if len(parts) == 5 else "")
    return str(said)[:64]
