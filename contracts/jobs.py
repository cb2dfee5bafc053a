"""A person's wish to train, from submission to its one end."""

import re
from typing import ClassVar, Literal

from msgspec import Struct

from contracts.base import Count, Event, Question, Seconds, Sha256, Token
from contracts.recipes import Recipe


class Overrides(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person changed of the preset; ``None`` keeps the preset's value or lets Woodshed choose.

    ``method`` is one of :data:`contracts.recipes.METHODS`, ``objective`` one of :data:`contracts.recipes.OBJECTIVES`,
    ``quantization`` one of :data:`contracts.recipes.QUANTIZATIONS`; readers expect more to come. ``beta`` is dpo's.
    ``budget`` is the most a job may cost, in the currency of the installation; it changes how long is trained, not how.
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None
    rank: int | None = None
    time_limit: float | None = None
    max_length: int | None = None
    method: str | None = None
    budget: float | None = None
    objective: str | None = None
    beta: float | None = None
    quantization: str | None = None


RemedyKind = Literal["change_settings", "change_data", "more_memory", "operator", "try_again", "report_bug"]
"""What a failure can be mended by today; readers expect more to come."""


class Remedy(Struct, frozen=True, kw_only=True):
    """What to do about a failure: ``title`` fits on a button, ``sentence`` says why it helps.

    ``kind`` is a :data:`RemedyKind`. ``overrides`` are the settings that a retry changes of the recipe that failed;
    without them a retry is the same job once more.
    """

    kind: str
    title: str
    sentence: str
    overrides: Overrides | None = None


class Estimate(Struct, frozen=True, kw_only=True):
    """What a run will take, before it starts: the likely figure, and a range that nine in ten fall in.

    ``seconds`` is training alone, cost is device time × rate in ``currency``, memory is the peak on the device.
    """

    seconds: Seconds
    seconds_low: Seconds
    seconds_high: Seconds
    cost: float
    currency: str
    memory_bytes: Count
    steps: Count
    tokens: Count
    notes: tuple[str, ...] = ()


class JobSubmitted(Event, frozen=True, kw_only=True, tag="job.submitted.v1"):
    """A person asked for a model. Told by the gateway, also while the scheduler is down.

    ``trackers`` are those that shall show its figures (:mod:`contracts.trackers`); what they are told is asked for.
    """

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.submitted"

    job_id: Token
    dataset_id: Token
    training_file: Token
    base_model: str
    preset: str
    overrides: Overrides
    seed: int
    suffix: str = ""
    priority: str = "medium"
    validation_file: str = ""
    retry_of: str = ""
    trackers: tuple[Token, ...] = ()


class JobCancelAsked(Event, frozen=True, kw_only=True, tag="job.cancel_asked.v1"):
    """A person wants the job to end without a model."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.cancel_asked"

    job_id: Token


class JobPauseAsked(Event, frozen=True, kw_only=True, tag="job.pause_asked.v1"):
    """A person wants the job to let its device go and wait. Of such wishes the one with the largest version stands."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.pause_asked"

    job_id: Token


class JobResumeAsked(Event, frozen=True, kw_only=True, tag="job.resume_asked.v1"):
    """A person wants a paused job to go on; it undoes an earlier wish to pause, also one still being carried out."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.resume_asked"

    job_id: Token


class JobQueued(Event, frozen=True, kw_only=True, tag="job.queued.v1"):
    """The recipe is complete and the dataset ready: the job waits for a device."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.queued"

    job_id: Token
    recipe: Recipe
    estimate: Estimate


class JobDispatched(Event, frozen=True, kw_only=True, tag="job.dispatched.v1"):
    """The scheduler gave the job an offered device; the trainer may now lease it.

    ``budget`` is the most the run may cost, all its attempts together: the job's own, or less where the organisation's
    month has less left; 0: nobody set one.
    """

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.dispatched"

    job_id: Token
    run_id: Token
    offer_id: Token
    device_id: Token
    recipe: Recipe
    estimate: Estimate
    dataset_id: Token
    dataset_digest: Sha256
    dataset_uri: str
    budget: float = 0.0


class JobStopping(Event, frozen=True, kw_only=True, tag="job.stopping.v1"):
    """The run has to let its device go: save at the end of a step, then stop. ``why`` is pause or preempt.

    It is about the dispatch of ``offer_id`` and no later one; it may arrive before that dispatch does.
    """

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.stopping"

    job_id: Token
    run_id: Token
    offer_id: Token
    why: str


class JobPaused(Event, frozen=True, kw_only=True, tag="job.paused.v1"):
    """The job holds no device and waits until a person resumes it."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.paused"

    job_id: Token


class JobResumed(Event, frozen=True, kw_only=True, tag="job.resumed.v1"):
    """The job is not paused any more: it takes its old place in the queue as soon as it holds no device.

    ``status`` says what it waits for: validating_files or queued.
    """

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.resumed"

    job_id: Token
    status: str


class JobSucceeded(Event, frozen=True, kw_only=True, tag="job.succeeded.v1"):
    """The end a person hoped for: an adapter is in storage under the model's name.

    ``cost`` is the rent of machines and, for other device time, ``device_rate`` (currency per hour), to the millionth.
    ``lost_steps`` were trained twice and ``lost_seconds`` passed without training, all ``interruptions`` together.
    """

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.succeeded"

    job_id: Token
    run_id: Token
    model: str
    trained_tokens: Count
    seconds: Seconds
    cost: float
    interruptions: Count = 0
    device_rate: float = 0.0
    lost_steps: Count = 0
    lost_seconds: Seconds = 0.0


class JobFailed(Event, frozen=True, kw_only=True, tag="job.failed.v1"):
    """The job ended without a model: why, in words a person understands, and what to do next."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.failed"

    job_id: Token
    reason: str
    message: str
    fix: str
    remedy: Remedy | None = None


class JobCancelled(Event, frozen=True, kw_only=True, tag="job.cancelled.v1"):
    """The job ended because a person asked for it. ``offer_id`` names its last dispatch, empty when there was none."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.cancelled"

    job_id: Token
    offer_id: str = ""


class ModelDeleted(Event, frozen=True, kw_only=True, tag="job.model_deleted.v1"):
    """A person deleted what the job made; the files under ``adapter_uri`` are gone from storage."""

    subject: ClassVar[str] = "evt.{tenant}.job.{job_id}.model_deleted"

    job_id: Token
    model: str
    adapter_uri: str


class EstimateJob(Question, frozen=True, kw_only=True, tag="job.estimate.v1"):
    """What would this job take, if it were submitted now?"""

    subject: ClassVar[str] = "ask.scheduler.estimate"

    dataset_id: Token
    base_model: str
    preset: str
    overrides: Overrides


class JobEstimated(Struct, frozen=True, kw_only=True, tag="job.estimate_answer.v1"):
    """The answer to :class:`EstimateJob`."""

    recipe: Recipe
    estimate: Estimate


def model_name(base_model: str, tenant: str, suffix: str, job_id: str) -> str:
    """Name the trained model in OpenAI's shape: ``ft:base:organisation:suffix:8 characters of the job's id``.

    A suffix keeps its letters and digits; what else a person typed becomes one hyphen, so the
    name always has five parts.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", suffix.lower()).strip("-")
    return f"ft:{base_model}:{tenant}:{plain}:{job_id[-8:]}"
