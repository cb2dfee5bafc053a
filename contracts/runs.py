"""A job being carried out: devices, leases, attempts, checkpoints, and the adapter at the end.

Told by the trainer's control. A *run* lives through *attempts*; each attempt holds a
device under a lease whose *fence* is larger than every earlier one's.
"""

from typing import ClassVar

from contracts.base import PLATFORM, Count, Event, Seconds, Sha256, TenantId, Token
from contracts.jobs import Remedy


class DeviceOffered(Event, frozen=True, kw_only=True, tag="device.offered.v1"):
    """A device is idle. The offer stands until a job is dispatched to it or it is withdrawn.

    ``flops`` is matrix-multiply speed measured on the device at start, in FLOP/s of the
    precision it trains in; the estimate of a first run rests on it. ``features`` are those of
    :data:`contracts.recipes.FEATURES` that recipes for it may need; a runner that names none understands none.
    ``processor`` is what multiplies, ``cpu`` or ``cuda``; empty in offers from before it was told.
    """

    subject: ClassVar[str] = "evt.{tenant}.device.{device_id}.offered"

    tenant: TenantId = PLATFORM
    device_id: Token
    offer_id: Token
    kind: str
    precision: str
    threads: Count
    memory_bytes: Count
    flops: float
    features: tuple[str, ...] = ()
    processor: str = ""


class DeviceWithdrawn(Event, frozen=True, kw_only=True, tag="device.withdrawn.v1"):
    """The device of an offer went away before anything was dispatched to it."""

    subject: ClassVar[str] = "evt.{tenant}.device.{device_id}.withdrawn"

    tenant: TenantId = PLATFORM
    device_id: Token
    offer_id: Token


class LeaseGranted(Event, frozen=True, kw_only=True, tag="run.lease_granted.v1"):
    """The run may use the device; every durable write of this attempt carries ``fence``."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.lease_granted"

    run_id: Token
    job_id: Token
    device_id: Token
    attempt: Count
    fence: Count


class DispatchDeclined(Event, frozen=True, kw_only=True, tag="run.dispatch_declined.v1"):
    """The offered device was no longer free: the job goes back to its place in the queue."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.dispatch_declined"

    run_id: Token
    job_id: Token
    device_id: Token


class RunStarted(Event, frozen=True, kw_only=True, tag="run.started.v1"):
    """The process of a dispatch's first attempt is up."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.started"

    run_id: Token
    job_id: Token
    device_id: Token
    fence: Count


class RunStageReached(Event, frozen=True, kw_only=True, tag="run.stage_reached.v1"):
    """Preprocessing, loading_model, training or saving has begun."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.stage_reached"

    run_id: Token
    job_id: Token
    stage: str


class RunProgressed(Event, frozen=True, kw_only=True, tag="run.progressed.v1"):
    """One look at a training run; lossy, at most twice a second.

    ``loss`` is the mean cross-entropy in nats per trained token of the step, or a pair's mean loss where
    pairs are learned from; ``reward_margin`` and ``reward_accuracy`` then say how far, and in what share of the pairs,
    the preferred reply gained on the other one.
    """

    subject: ClassVar[str] = "tel.{tenant}.run.{run_id}.progressed"

    run_id: Token
    job_id: Token
    attempt: Count
    step: Count
    total_steps: Count
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: Count
    tokens_per_second: float
    samples_per_second: float
    eta_seconds: Seconds
    memory_bytes: Count
    token_accuracy: float | None = None
    eval_loss: float | None = None
    cost: float = 0.0
    reward_margin: float | None = None
    reward_accuracy: float | None = None
    eval_token_accuracy: float | None = None


class CheckpointCommitted(Event, frozen=True, kw_only=True, tag="run.checkpoint_committed.v1"):
    """A checkpoint is whole on storage; a lost machine now costs only later steps.

    Told after the manifest is written, never before: a reader may resume from ``uri``
    the moment it hears this.
    """

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.checkpoint_committed"

    run_id: Token
    job_id: Token
    fence: Count
    step: Count
    uri: str
    size: Count
    sha256: Sha256
    loss: float | None = None
    eval_loss: float | None = None


class RunInterrupted(Event, frozen=True, kw_only=True, tag="run.interrupted.v1"):
    """The attempt was lost (``cause``); the run goes on from ``step`` by itself, ``wait_seconds`` from now or later."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.interrupted"

    run_id: Token
    job_id: Token
    fence: Count
    cause: str
    evidence: str
    step: Count
    lost_steps: Count
    wait_seconds: Seconds = 0.0


class RunRecovered(Event, frozen=True, kw_only=True, tag="run.recovered.v1"):
    """A new attempt trains again from ``step``, ``seconds`` after the interruption, or after a paused job was resumed.

    ``interruptions``, ``lost_steps`` and ``lost_seconds`` are the sums of the whole run so far. A pause a person
    asked for is no interruption, and the time it lasts is not lost.
    """

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.recovered"

    run_id: Token
    job_id: Token
    fence: Count
    step: Count
    seconds: Seconds
    interruptions: Count
    lost_steps: Count = 0
    lost_seconds: Seconds = 0.0


class RunPaused(Event, frozen=True, kw_only=True, tag="run.paused.v1"):
    """The run holds no device and goes on from ``step`` when its job is dispatched again.

    ``why`` is pause or preempt, as in the order it obeys. ``lost_steps`` is 0 unless its process died while stopping.
    """

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.paused"

    run_id: Token
    job_id: Token
    step: Count
    lost_steps: Count
    why: str
    device_seconds: Seconds
    rented_seconds: Seconds = 0.0
    rent: float = 0.0


class RunRemarked(Event, frozen=True, kw_only=True, tag="run.remarked.v1"):
    """Something a person should know while a run goes on; the run itself goes on.

    ``code`` is loss_spike, not_converging, time_limit, evaluation_smaller, evaluation_skipped, slow_path (the kind of
    base model trains the plain way), four_bit (its weights are kept so while it trains), or budget_50, budget_80 and
    budget_100 where that many hundredths of the job's budget are spent; more may follow.
    ``level`` is warn when somebody should look, else info.
    """

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.remarked"

    run_id: Token
    job_id: Token
    step: Count
    code: str
    level: str
    message: str


class RunFinished(Event, frozen=True, kw_only=True, tag="run.finished.v1"):
    """The adapter is whole on storage under ``adapter_uri``; ``sha256`` is of its weights file.

    ``train_seconds`` is of the last attempt alone where ``interruptions`` or ``pauses`` divided the run. Of
    ``device_seconds``, ``rented_seconds`` were held on rented machines, whose price for that time is ``rent``, to the
    millionth of the currency. ``objective`` is one of :data:`contracts.recipes.OBJECTIVES`; losses are its own.
    ``quantization`` is how the base stood in memory, one of :data:`contracts.recipes.QUANTIZATIONS`.
    """

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.finished"

    run_id: Token
    job_id: Token
    fence: Count
    base_model: str
    dataset_id: Token
    dataset_digest: Sha256
    dataset_uri: str
    adapter_uri: str
    sha256: Sha256
    size: Count
    steps: Count
    tokens: Count
    trained_tokens: Count
    device_seconds: Seconds
    train_seconds: Seconds
    memory_bytes: Count
    train_loss: float
    interruptions: Count
    seed: int
    eval_loss: float | None = None
    pauses: Count = 0
    lost_steps: Count = 0
    lost_seconds: Seconds = 0.0
    rented_seconds: Seconds = 0.0
    rent: float = 0.0
    objective: str = "supervised"
    quantization: str = "none"


class RunFailed(Event, frozen=True, kw_only=True, tag="run.failed.v1"):
    """Training cannot succeed as it is: the reason, the evidence, a sentence and a fix; and what was spent on it."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.failed"

    run_id: Token
    job_id: Token
    reason: str
    evidence: str
    message: str
    fix: str
    device_seconds: Seconds
    remedy: Remedy | None = None
    rented_seconds: Seconds = 0.0
    rent: float = 0.0


class RunCancelled(Event, frozen=True, kw_only=True, tag="run.cancelled.v1"):
    """The run was stopped because its job was cancelled; its device is free. What it cost is told as in RunFinished."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.cancelled"

    run_id: Token
    job_id: Token
    device_seconds: Seconds
    rented_seconds: Seconds = 0.0
    rent: float = 0.0


class WriteFenced(Event, frozen=True, kw_only=True, tag="run.write_fenced.v1"):
    """A stale holder, or a runner that says what cannot be true, tried to write and was refused: ``why``."""

    subject: ClassVar[str] = "evt.{tenant}.run.{run_id}.write_fenced"

    run_id: Token
    fence: Count
    what: str
    why: str = ""
