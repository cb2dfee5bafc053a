"""What a retry would change: a failed job's settings with its fix, a person's own wishes above both.

A retry is a new job with the same data, seed and name; ends are ends. It is worth showing before it is submitted, so
both ``GET`` and ``POST …/retry`` come from here.
"""

from typing import Any

import msgspec
from msgspec import Struct

from contracts.jobs import Overrides, Remedy
from contracts.recipes import Recipe, preset_named
from libs.errors import Conflict, Rejected
from services.gateway.domain import wire

SETTINGS = ("learning_rate", "rank", "epochs", "batch_size", "max_length", "time_limit", "quantization")
"""What can change, in the order it is shown; each names a field of recipe and overrides alike."""

ASKED = "You asked for it."
SAME_FILE = "The same file would be refused again."


class Failed(Struct, frozen=True, kw_only=True):
    """The job that is to be tried again. ``recipe`` is missing when it never came to one."""

    job_id: str
    status: str
    preset: str
    overrides: Overrides
    training_file: str
    recipe: Recipe | None
    remedy: Remedy | None


class Plan(Struct, frozen=True, kw_only=True):
    """What the new job is asked to be, and how that differs."""

    overrides: Overrides
    changes: list[wire.Change]


def plan(job: Failed, asked: Overrides, training_file: str | None, *, with_fix: bool) -> Plan:
    """Decide what the new job is; ``with_fix`` applies the fix under what was asked."""
    fix = (job.remedy and job.remedy.overrides if with_fix else None) or Overrides()
    before, wanted = _by_rate(job.overrides, job), _by_rate(asked, job)
    after = merged(merged(before, fix), wanted)
    because = dict.fromkeys(_chosen(fix), job.remedy.sentence if job.remedy else ASKED)
    because |= dict.fromkeys(_chosen(wanted), ASKED)
    changes = [
        wire.Change(field=name, old=_was(job, before, name), new=getattr(after, name), why=because[name])
        for name in SETTINGS
        if name in because and getattr(after, name) != _was(job, before, name)
    ]
    if training_file not in (None, job.training_file):
        changes.append(wire.Change(field="training_file", old=job.training_file, new=training_file, why=ASKED))
    return Plan(overrides=after, changes=changes)


def hindrance(job: Failed, training_file: str | None) -> Rejected | None:
    """Return why the job cannot be tried again like this, or ``None``."""
    if job.status not in ("failed", "cancelled"):
        return Conflict(
            f"The job is {job.status}: only one that failed or was cancelled can be tried again.",
            code="nothing_to_retry",
            field="job",
        )
    needs_data = job.remedy is not None and job.remedy.kind == "change_data"
    if needs_data and training_file in (None, job.training_file):
        return Rejected(
            f"{SAME_FILE} {job.remedy.sentence if job.remedy else ''}".strip(),
            code="data_must_change",
            field="training_file",
            fix="Upload the mended file and send its id as training_file.",
        )
    return None


def merged(below: Overrides, above: Overrides) -> Overrides:
    """Return ``below`` with everything that is chosen in ``above``."""
    return msgspec.structs.replace(below, **_chosen(above))


def _by_rate(overrides: Overrides, job: Failed) -> Overrides:
    """Write a multiplier of the preset's learning rate as the rate it means, so that two can be compared."""
    preset = preset_named(job.preset)
    if overrides.learning_rate_multiplier is None or preset is None:
        return overrides
    rate = preset.rate_for(job.overrides.method, job.overrides.objective) * overrides.learning_rate_multiplier
    return msgspec.structs.replace(overrides, learning_rate=rate, learning_rate_multiplier=None)


def _chosen(overrides: Overrides | None) -> dict[str, Any]:
    found = msgspec.structs.asdict(overrides) if overrides else {}
    return {name: value for name, value in found.items() if value is not None}


def _was(job: Failed, before: Overrides, name: str) -> wire.Setting:
    """Return what a setting was: in the recipe, else as it was asked, else the preset's, else nobody's choice."""
    found: wire.Setting = getattr(before, name)
    if job.recipe is not None:
        found = getattr(job.recipe, name, found)
    elif found is None:
        found = getattr(preset_named(job.preset), name, None)
    return found
