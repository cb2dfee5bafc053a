"""The private line between the trainer's two programs, over NATS request/reply.

The runner dials in: it says hello, beats every two seconds and reports what happened; the
control answers each. Every report carries the fence of its lease and is refused when the
lease is no longer held, so a late, repeated or stale report does no harm. Reports are
repeated until answered.
"""

import hashlib

import msgspec
from msgspec import Struct

from contracts.recipes import Recipe
from services.trainer.domain.saving import Rule
from services.trainer.training.protocol import Progressed

HELLO = "trainer.control.hello"
BEAT = "trainer.control.beat"
REPORT = "trainer.control.report"
PROGRESS = "trainer.control.progress"


def mark_of(session: str) -> str:
    """Return what tells a process, and nobody else, that an order is for it; empty without a session."""
    return hashlib.sha256(session.encode()).hexdigest()[:16] if session else ""


def order_subject(runner: str, what: str) -> str:
    """The subject on which a runner takes the orders ``launch`` and ``stop``."""
    return f"trainer.runner.{runner}.{what}"


class DeviceFound(Struct, frozen=True, kw_only=True):
    """A device of the runner's machine. ``flops`` was measured at start, in FLOP/s of ``precision``.

    ``processes`` above 1 train on it together, each with ``threads``. ``features`` are those of
    :data:`contracts.recipes.FEATURES` that its runner understands; one that is older than a feature does not name it.
    """

    device_id: str
    kind: str
    precision: str
    threads: int
    memory_bytes: int
    flops: float
    torch_device: str
    processes: int = 1
    features: tuple[str, ...] = ()


class Held(Struct, frozen=True, kw_only=True):
    """An attempt whose child lives on the runner."""

    run_id: str
    fence: int


class Hello(Struct, frozen=True, kw_only=True):
    """A runner has started and holds nothing: its devices. ``shared``: each may carry several jobs at once.

    ``session`` is the process: heard again from the same one, nothing was started anew.
    """

    runner: str
    devices: tuple[DeviceFound, ...]
    shared: bool = False
    session: str = ""


class Beat(Struct, frozen=True, kw_only=True):
    """A runner lives and holds these attempts. ``leaving``: its machine is being taken away, give it nothing more."""

    runner: str
    holds: tuple[Held, ...] = ()
    leaving: bool = False
    session: str = ""


class Heard(Struct, frozen=True, kw_only=True):
    """Answer to a beat.

    ``stale``: fences no longer valid, whose children must end. ``known``: false asks for a new hello.
    """

    stale: tuple[int, ...] = ()
    known: bool = True


class SavedBefore(Struct, frozen=True, kw_only=True):
    """A committed checkpoint the attempt may resume from; ``sha256`` is of its manifest."""

    step: int
    uri: str
    sha256: str


class Launch(Struct, frozen=True, kw_only=True):
    """Start this attempt; ``checkpoints`` newest first. Safe to repeat: an attempt already here is left alone.

    ``saving`` is what may stretch ``checkpoint_every``. ``seconds_left`` of the run's time limit, or of its budget if
    ``limit`` says so; 0 for none: then training ends early with what it has. ``mark`` is of the session it is for: who
    only bears the runner's name leaves it alone.
    """

    tenant: str
    run_id: str
    job_id: str
    attempt: int
    fence: int
    device_id: str
    recipe: Recipe
    dataset_uri: str
    dataset_digest: str
    checkpoint_every: int
    saving: Rule | None = None
    micro_tokens: int
    seconds_left: float = 0.0
    limit: str = "time_limit"
    checkpoints: tuple[SavedBefore, ...] = ()
    mark: str = ""


class Stop(Struct, frozen=True, kw_only=True):
    """End the attempt with this fence: SIGTERM, and SIGKILL after ``grace`` seconds.

    ``accepted`` false in the answer: there is no such attempt here.
    """

    run_id: str
    fence: int
    grace: float


class Answered(Struct, frozen=True, kw_only=True):
    """The order or report was taken; ``accepted`` false: it was refused, and a stale holder stops."""

    accepted: bool = True


class Reached(Struct, frozen=True, kw_only=True, tag="reached"):
    """The child entered a stage; ``step`` is where it resumed from when training begins."""

    stage: str
    step: int = 0


class Uploaded(Struct, frozen=True, kw_only=True, tag="uploaded"):
    """A checkpoint is whole on storage, its manifest last."""

    step: int
    uri: str
    size: int
    sha256: str


class Quarantined(Struct, frozen=True, kw_only=True, tag="quarantined"):
    """A checkpoint did not verify and is not used again."""

    step: int
    uri: str
    reason: str


class Remark(Struct, frozen=True, kw_only=True, tag="remark"):
    """The child has something to say that a person should know; told once for each code and step."""

    step: int
    code: str
    level: str
    message: str


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """The adapter is whole on storage."""

    adapter_uri: str
    sha256: str
    size: int
    steps: int
    tokens: int
    trained_tokens: int
    train_loss: float
    eval_loss: float | None
    train_seconds: float
    memory_bytes: int


class Halted(Struct, frozen=True, kw_only=True, tag="halted"):
    """The child saved and stopped because it was asked to."""

    step: int
    exit_code: int | None = None
    stderr: str = ""


class Broken(Struct, frozen=True, kw_only=True, tag="broken"):
    """The child ended otherwise.

    ``kind`` is what it said of itself, empty when it could say nothing, ``preempted`` when its machine was taken away.
    ``stderr`` ends with the child's traceback, if it had one. ``killed_for_memory``: the kernel of the runner's machine
    ended processes for want of memory meanwhile.
    """

    kind: str
    message: str
    exit_code: int | None
    stderr: str
    step: int
    killed_for_memory: bool = False


What = Reached | Uploaded | Quarantined | Remark | Done | Halted | Broken


class Report(Struct, frozen=True, kw_only=True):
    """Something happened to an attempt. ``session`` is the process that was given its lease."""

    runner: str
    run_id: str
    fence: int
    what: What
    session: str = ""


class ProgressReport(Struct, frozen=True, kw_only=True):
    """A look at a training attempt; may be lost."""

    runner: str
    run_id: str
    fence: int
    seen: Progressed
    session: str = ""


encode = msgspec.json.encode
