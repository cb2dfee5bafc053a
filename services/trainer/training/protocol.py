"""What the runner tells a training child, and what the child tells back.

The spec is a JSON file named on the child's command line, or, for one started ahead of its attempt (``warm``), on its
standard input, which ends there. The child answers with one JSON object a line on the
standard output it was born with; ``SIGTERM`` asks it to save at the end of the step and go (``Stopped``, exit 0).
Exit codes: 0 after ``Finished`` or ``Stopped``, 1 after ``Failed``; anything else is a loss. No torch here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from contracts.recipes import Recipe
from services.trainer.domain.saving import Rule

Stage = Literal["preprocessing", "loading_model", "training", "saving"]
FailureKind = Literal[
    "user_data",
    "nothing_to_learn",
    "out_of_memory",
    "diverged",
    "no_learning",
    "bad_checkpoint",
    "disk_full",
    "unknown_model",
    "damaged_model",
    "bug",
]


class Shelf(Struct, frozen=True, kw_only=True):
    """Where prepared data is kept between attempts (``prepared``), and how many bytes of it at most."""

    folder: str
    most_bytes: Annotated[int, Meta(ge=0)]


class AttemptSpec(Struct, frozen=True, kw_only=True):
    """One attempt. Paths are absolute; ``resume_from`` is a committed checkpoint's folder.

    ``micro_tokens`` bounds the tokens of one forward pass, 0 lets free memory decide; out-of-memory retries halve it.
    ``checkpoint_every`` counts optimiser steps, more where ``saving`` finds saves too dear; without it they stand.
    ``model_revision``, when given, must be that of ``model_dir``.
    ``seconds_left`` until training ends early with what it has, for ``limit``; 0: it takes the time it takes.
    ``processes`` above 1 train together, each with ``threads``; ``device`` then names their GPUs (``cuda:0,1``).
    ``workers`` are processes that prepare batches ahead; their number changes no byte. Nor does ``shelf``.
    """

    run_id: str
    attempt: int
    fence: int
    recipe: Recipe
    model_dir: str
    train: str
    work_dir: str
    validation: str | None = None
    resume_from: str | None = None
    model_revision: str | None = None
    checkpoint_every: Annotated[int, Meta(ge=1)] = 100
    saving: Rule | None = None
    threads: Annotated[int, Meta(ge=1)] = 2
    device: str = "cpu"
    micro_tokens: Annotated[int, Meta(ge=0)] = 0
    seconds_left: Annotated[float, Meta(ge=0)] = 0.0
    limit: str = "time_limit"
    processes: Annotated[int, Meta(ge=1)] = 1
    workers: Annotated[int, Meta(ge=0)] = 0
    shelf: Shelf | None = None


class Told(Struct, frozen=True, kw_only=True, tag_field="type"):
    """A line from the child to its parent."""


class Staged(Told, frozen=True, kw_only=True, tag="staged"):
    """The child has entered a stage. ``seconds`` since the child began; ``detail`` is for people."""

    stage: Stage
    seconds: float = 0.0
    detail: str = ""


class Progressed(Told, frozen=True, kw_only=True, tag="progressed"):
    """Where training stands, at most twice a second. Losses are nats a taught token, or a pair.

    Rates are of this attempt. ``tokens`` and ``trained_tokens`` count everything seen since step 0, all attempts
    together. Rewards are there where pairs are learned from.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    tokens_per_second: float
    samples_per_second: float
    eta_seconds: float
    eval_loss: float | None = None
    token_accuracy: float | None = None
    eval_token_accuracy: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None
    rss_bytes: int = 0
    device_bytes: int = 0


class Alive(Told, frozen=True, kw_only=True, tag="alive"):
    """A forward pass is over, in training or evaluation; told where nothing else was for some seconds.

    Who hears nothing for far longer than this takes the child for hung.
    """


class Waiting(Told, frozen=True, kw_only=True, tag="waiting"):
    """A child that was started ahead of its attempt has imported everything; ``memory_bytes`` is what it takes up."""

    memory_bytes: int


class Saved(Told, frozen=True, kw_only=True, tag="saved"):
    """A checkpoint is whole on the local disk: ``path`` holds its manifest.

    ``seconds`` from the step's end until then; training stood still for ``blocked`` of them. ``busy`` processor seconds
    were the writing thread's.
    """

    step: int
    path: str
    size: int
    seconds: float
    blocked: float = 0.0
    busy: float = 0.0


class Remarked(Told, frozen=True, kw_only=True, tag="remarked"):
    """Something a person should know; training goes on. ``level`` is warn or info."""

    step: int
    code: str
    level: Literal["info", "warn"]
    message: str


class Finished(Told, frozen=True, kw_only=True, tag="finished"):
    """Training is over. ``path`` is the adapter's folder, ``digest`` the sha256 of its weights file.

    ``seconds`` is this attempt's wall time; tokens count the whole run.
    """

    step: int
    path: str
    digest: str
    size: int
    train_loss: float
    eval_loss: float | None
    tokens: int
    trained_tokens: int
    seconds: float


class Stopped(Told, frozen=True, kw_only=True, tag="stopped"):
    """The child was asked to stop and has saved. ``path`` is None when it stopped before the first step."""

    step: int
    path: str | None


class Failed(Told, frozen=True, kw_only=True, tag="failed"):
    """Training cannot go on. ``message`` says what happened and what to do; ``traceback`` is its tail."""

    kind: FailureKind
    error: str
    message: str
    traceback: str


Line = Staged | Progressed | Alive | Waiting | Saved | Remarked | Finished | Stopped | Failed


def read_line(line: bytes) -> Line:
    """Decode one line of the child; ``msgspec.MsgspecError`` when it is none."""
    decoded: Line = msgspec.json.decode(line, type=Line)
    return decoded


def read_spec(data: bytes) -> AttemptSpec:
    """Decode the child's spec file."""
    return msgspec.json.decode(data, type=AttemptSpec)
