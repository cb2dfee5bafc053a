"""What a training error means to its owner: a kind the trainer's policy can act on, and a sentence.

An error that is none of these is a bug of ours and says so. No torch here: its errors are told by name and text.
"""

import errno
import traceback

from libs.lm.adapters import BadAdapter
from libs.lm.chat import ChatError
from libs.lm.models import DamagedModel, UnknownModel
from services.trainer.training.checkpoints import BadCheckpoint, DiskFull
from services.trainer.training.data import NothingToLearn
from services.trainer.training.protocol import Failed, FailureKind

_KINDS: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (NothingToLearn, "nothing_to_learn"),
    (ChatError, "user_data"),
    (BadCheckpoint, "bad_checkpoint"),
    (BadAdapter, "bad_checkpoint"),
    (DiskFull, "disk_full"),
    (UnknownModel, "unknown_model"),
    (DamagedModel, "damaged_model"),
    (MemoryError, "out_of_memory"),
)
_NAMES: dict[str, FailureKind] = {
    "Diverged": "diverged",
    "NotLearning": "no_learning",
    "OutOfMemoryError": "out_of_memory",
}
_TEXTS: tuple[tuple[str, FailureKind], ...] = (
    ("can't allocate memory", "out_of_memory"),
    ("not enough memory", "out_of_memory"),
    ("could not create a primitive", "out_of_memory"),
    ("inline_container.cc", "disk_full"),
    ("No space left on device", "disk_full"),
)
_SAYS: dict[FailureKind, str] = {
    "out_of_memory": "A forward or backward pass needed more than was left.",
    "disk_full": "Writing a checkpoint failed for want of space.",
}
_TAIL = 4000


def explain(error: BaseException) -> Failed:
    """Say what failed and of which kind; the traceback is kept for engineers, its last 4,000 characters."""
    kind = kind_of(error)
    trace = "".join(traceback.format_exception(error))[-_TAIL:]
    return Failed(kind=kind, error=type(error).__name__, message=_message(error, kind), traceback=trace)


def _message(error: BaseException, kind: FailureKind) -> str:
    if kind == "bug":
        return f"Training met an error that is Woodshed's, not yours: {error}. Retry once; then report the traceback."
    ours = type(error).__module__.startswith(("libs.", "services."))
    return str(error) if ours else _SAYS[kind]


def kind_of(error: BaseException) -> FailureKind:
    """Return the kind of an error; ``bug`` when it is none that is known."""
    for known, kind in _KINDS:
        if isinstance(error, known):
            return kind
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    by_text: FailureKind = next((kind for text, kind in _TEXTS if text in str(error)), "bug")
    return _NAMES.get(type(error).__name__, by_text)
