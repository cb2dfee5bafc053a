"""What a tracker is told of a job: only steps that nothing will change any more.

A step is measured before it is evaluated, so its row may be written twice: the newest one waits until there is a later
one, or the job is over.
"""

from collections.abc import Sequence

import msgspec

from contracts.recipes import Recipe
from contracts.trackers import Labels, Measured, Tracked
from services.gateway.domain.shapes import wandb_in
from services.gateway.domain.statuses import Row


def tracked_of(job: Row, rows: Sequence[Row], limit: int, *, key: str, over: bool) -> Tracked:
    """Make an answer of what was found with one more than ``limit`` asked for; ``over``: there will be no more."""
    more = len(rows) > limit
    settled = rows[:limit] if more or over else rows[:-1]
    return Tracked(
        labels=_labels_of(job),
        api_key=key,
        created_at=job["created_at"],
        base_model=job["model"],
        dataset_id=job["dataset_id"],
        training_file=job["training_file"],
        validation_file=job["validation_file"] or "",
        preset=job["preset"],
        seed=job["seed"],
        recipe=job["recipe"] and msgspec.json.decode(job["recipe"], type=Recipe),
        began=rows[0]["began"] if rows else None,
        steps=tuple(Measured(**{name: row[name] for name in Measured.__struct_fields__}) for row in settled),
        more=more,
        ended=job["status"] if over and not more else "",
    )


def _labels_of(job: Row) -> Labels:
    wandb = wandb_in(job)
    assert wandb is not None
    return Labels(project=wandb.project, entity=wandb.entity or "", name=wandb.name or "", tags=tuple(wandb.tags))
