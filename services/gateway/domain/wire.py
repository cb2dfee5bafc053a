"""The objects clients see: OpenAI's shapes where OpenAI has one, our additions beside them under ``woodshed``.

Every key a client library insists on is always there, if only as null (openai-php throws
otherwise). Times are whole seconds since 1970, as on OpenAI's wire.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

Auto = Literal["auto"]


FilePurpose = Literal[
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "evals",
    "fine-tune",
    "fine-tune-results",
    "user_data",
    "vision",
]


class File(Struct, kw_only=True):
    """An upload, or a file a job left behind. ``bytes`` is its size; after ``expires_at`` it is gone, else it stays.

    ``status_details`` says why no dataset can be made of it, where that was tried.
    """

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: FilePurpose
    sha256: str
    expires_at: int | UnsetType = UNSET
    object: Literal["file"] = "file"
    status: Literal["processed", "error"] = "processed"
    status_details: str | None = None


class DeletedFile(Struct, kw_only=True):
    """The file is gone, its bytes too."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class Upload(Struct, kw_only=True):
    """A file that comes in parts. ``file`` is what it became; after ``expires_at`` nothing can be added to it."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: FilePurpose
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: File | None = None
    object: Literal["upload"] = "upload"


class UploadPart(Struct, kw_only=True):
    """A part of an upload; it is safe in storage."""

    id: str
    created_at: int
    upload_id: str
    object: Literal["upload.part"] = "upload.part"


class Model(Struct, kw_only=True):
    """A base model that can be trained, or one that was."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"
    shutdown_date: str | None = None
    job: str | None = None
    base_model: str | None = None


class DeletedModel(Struct, kw_only=True):
    """The model is gone, with the files of its adapter."""

    id: str
    object: Literal["model"] = "model"
    deleted: bool = True


class Hyperparameters(Struct, kw_only=True):
    """The three that OpenAI's clients know; ``auto`` until the recipe is decided."""

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"


class Supervised(Struct, kw_only=True):
    """The settings of supervised fine-tuning."""

    hyperparameters: Hyperparameters


class PairingHyperparameters(Hyperparameters, kw_only=True):
    """The same three, and how strongly dpo holds the model to its base."""

    beta: float | Auto = "auto"


class Dpo(Struct, kw_only=True):
    """The settings of direct preference optimisation."""

    hyperparameters: PairingHyperparameters


class Method(Struct, kw_only=True):
    """How the model is taught: by examples of good replies, or by pairs of a preferred reply and another (dpo)."""

    type: Literal["supervised", "dpo"] = "supervised"
    supervised: Supervised | UnsetType = UNSET
    dpo: Dpo | UnsetType = UNSET


class JobError(Struct, kw_only=True):
    """Why a job failed. ``param`` is never null: openai-php drops an error whose param is."""

    code: str
    message: str
    param: str


class Progress(Struct, kw_only=True):
    """The newest look at a run: losses in nats per trained token or a pair, rates per second. Rewards are of pairs."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    samples_per_second: float
    eta_seconds: float
    memory_bytes: int
    cost: float
    token_accuracy: float | None = None
    eval_loss: float | None = None
    eval_token_accuracy: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None


class Fix(Struct, kw_only=True):
    """What to do about a failure. ``title`` fits on a button; ``settings`` are those a retry changes by itself.

    ``kind`` is change_settings, change_data, more_memory, operator, try_again or report_bug; more may follow.
    """

    kind: str
    title: str
    sentence: str
    settings: dict[str, Any] | None = None


Setting = float | str | None


class Change(Struct, kw_only=True):
    """One setting that a retry changes, and why. ``old`` is null where nobody had chosen a value."""

    field: str
    old: Setting
    new: Setting
    why: str


class Retry(Struct, kw_only=True):
    """What ``POST …/retry`` would submit: the job once more, with these changes. ``hindrance`` says why it cannot."""

    job: str
    possible: bool
    changes: list[Change]
    hindrance: str | None = None
    fix: Fix | None = None
    retried_as: str | None = None
    object: Literal["fine_tuning.job.retry"] = "fine_tuning.job.retry"


class JobDetails(Struct, kw_only=True):
    """What Woodshed knows of a job beyond OpenAI's object. ``seconds`` is device time, ``cost`` money for it.

    ``lost_steps`` had to be trained twice and ``lost_seconds`` passed without training, all ``interruptions`` together.
    A job has ``succeeded`` when its model is there; ``report`` says how far the report on it is, made afterwards.
    """

    preset: str
    priority: str
    stage: str
    dataset: str
    suffix: str
    run: str | None = None
    recipe: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None
    progress: Progress | None = None
    seconds: float | None = None
    cost: float | None = None
    budget: float | None = None
    interruptions: int = 0
    lost_steps: int = 0
    lost_seconds: float = 0.0
    headline: str | None = None
    verdict: str | None = None
    report: Literal["running", "ready", "failed"] | None = None
    fix: Fix | None = None
    retry_of: str | None = None
    retried_as: str | None = None


class Wandb(Struct, kw_only=True):
    """Where the job's run stands in Weights & Biases; a null is left to it, a run without name has the job's id."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] = field(default_factory=list)


class Integration(Struct, kw_only=True):
    """A tracker that shows the job's figures."""

    wandb: Wandb
    type: Literal["wandb"] = "wandb"


Status = Literal["validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]


class Job(Struct, kw_only=True):
    """A person's wish to train, in the shape of OpenAI's ``fine_tuning.job``."""

    id: str
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Status
    training_file: str
    validation_file: str | None
    trained_tokens: int | None
    hyperparameters: Hyperparameters
    error: JobError | None
    seed: int
    estimated_finish: int | None
    method: Method
    metadata: dict[str, str]
    woodshed: JobDetails
    integrations: list[Integration] = field(default_factory=list)
    object: Literal["fine_tuning.job"] = "fine_tuning.job"


class JobEvent(Struct, kw_only=True):
    """One line of a job's story. ``data`` is empty, or has all of a step's figures."""

    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, float] = field(default_factory=dict)
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"


class CheckpointMetrics(Struct, kw_only=True):
    """What is known of the model at a checkpoint; the rest is left out. Validation is always over all held-out data."""

    step: int
    train_loss: float | UnsetType = UNSET
    train_mean_token_accuracy: float | UnsetType = UNSET
    valid_loss: float | UnsetType = UNSET
    valid_mean_token_accuracy: float | UnsetType = UNSET
    full_valid_loss: float | UnsetType = UNSET
    full_valid_mean_token_accuracy: float | UnsetType = UNSET


class Checkpoint(Struct, kw_only=True):
    """A whole state on storage that a run can go on from."""

    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: CheckpointMetrics
    fine_tuning_job_id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"


class CheckpointPermission(Struct, kw_only=True):
    """A project that may use a checkpoint."""

    id: str
    created_at: int
    project_id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"


class DeletedPermission(Struct, kw_only=True):
    """The permission does not hold any more."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: bool = True


class Metric(Struct, kw_only=True):
    """One step's figures; what was not measured is null."""

    step: int
    epoch: float
    train_loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    memory_bytes: int
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None


class CurvePoint(Struct, kw_only=True):
    """Figures of the steps up to one, or of that step alone: mean, least and greatest loss, greatest gradient norm."""

    step: int
    train_loss: float
    train_loss_min: float
    train_loss_max: float
    learning_rate: float
    grad_norm: float
    valid_loss: float | None = None


class Curve(Struct, kw_only=True):
    """A run's figures thinned out for drawing, however long it is."""

    points: list[CurvePoint]
    object: Literal["fine_tuning.job.curve"] = "fine_tuning.job.curve"


class Dataset(Struct, kw_only=True):
    """A file as examples for one base model: asked → importing → ready | refused."""

    id: str
    created_at: int
    file: str
    filename: str
    model: str
    format: str
    split: dict[str, Any]
    state: str
    validation_file: str | None = None
    finished_at: int | None = None
    figures: dict[str, Any] | None = None
    problems: list[dict[str, Any]] = field(default_factory=list)
    problem_count: int = 0
    progress: dict[str, Any] | None = None
    error: JobError | None = None
    object: Literal["dataset"] = "dataset"


class Artifact(Struct, kw_only=True):
    """A file that training made."""

    name: str
    size: int
    sha256: str
    url: str
    object: Literal["artifact"] = "artifact"
