"""Trackers people already use: what a job's run shows there, and what came of telling it.

The gateway knows what a person wished and what was measured; the notifier asks for it and tells the tracker. No fact
names a project or a label: those are people's words.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Token
from contracts.recipes import Recipe

WANDB = "wandb"
"""Weights & Biases, the one tracker there is so far; readers expect more to come."""


class Labels(Struct, frozen=True, kw_only=True):
    """Where a run stands at the tracker and what it is called, in a person's words; empty: the tracker decides."""

    project: str
    entity: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()


class Measured(Struct, frozen=True, kw_only=True):
    """One step's figures; those that nobody measured are null."""

    step: Count
    at: datetime
    epoch: float
    train_loss: float
    learning_rate: float
    grad_norm: float
    tokens: Count
    tokens_per_second: float
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None


class ReadTracked(Question, frozen=True, kw_only=True, tag="tracker.read.v1"):
    """What does a job's run show at its tracker, and what was measured after this step?"""

    subject: ClassVar[str] = "ask.gateway.tracked"

    job_id: Token
    after: int = -1
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class Tracked(Struct, frozen=True, kw_only=True, tag="tracker.read_answer.v1"):
    """The answer to :class:`ReadTracked`: ``steps`` in order, none of which changes any more.

    ``more``: further steps can be asked for now. ``ended`` is succeeded, failed or cancelled once nothing more will be
    measured, else empty. ``began`` is when the first step was measured. ``api_key`` is a secret, the organisation's own
    key; empty: it has none.
    """

    labels: Labels
    created_at: datetime
    base_model: str
    dataset_id: Token
    training_file: Token
    validation_file: str
    preset: str
    seed: int
    steps: tuple[Measured, ...]
    recipe: Recipe | None = None
    began: datetime | None = None
    more: bool = False
    ended: str = ""
    api_key: str = ""


class TrackerRemarked(Event, frozen=True, kw_only=True, tag="tracker.remarked.v1"):
    """Something about a job's tracker that its person should know; the job goes on as it would without.

    ``code`` is refused, unreachable or lost; more may follow. ``level`` is warn when somebody should look, else info.
    """

    subject: ClassVar[str] = "evt.{tenant}.tracker.{job_id}.remarked"

    job_id: Token
    tracker: Token
    code: str
    level: str
    message: str
