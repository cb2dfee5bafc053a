"""What can go wrong while models are loaded and measured, named for programs and for people."""

from libs.errors import BadRequest, Rejected
from services.evaluator.answering.shapes import TOO_LONG
from services.evaluator.scoring.shapes import Failure

OUT_OF_MEMORY = "out_of_memory"
NO_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "bad_alloc",
    "could not create a primitive",
)  # fmt: skip
"""What allocators of PyTorch, CUDA and C++ say when they have no more, and oneDNN when its own gave it none."""


class Failed(Exception):
    """Measuring is impossible as it is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def classified(error: Exception) -> Failure | None:
    """Name what went wrong if it lies in the data or the machine; None for a bug."""
    from libs.lm.adapters import BadAdapter
    from libs.lm.chat import ChatError
    from libs.lm.llama import NoLlama

    if isinstance(error, Failed):
        return error.failure
    if isinstance(error, BadAdapter):
        return Failure("bad_adapter", f"The adapter cannot be loaded. {error}")
    if isinstance(error, NoLlama):
        return Failure("engine_failed", f"What speaks for the model failed. {error} The evaluator's log says more.")
    if isinstance(error, ChatError):
        return Failure("bad_data", f"A conversation does not fit the model. {error}")
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in NO_MEMORY):
        return Failure(
            OUT_OF_MEMORY,
            "The evaluator ran out of memory. Free some on its machine, or lower WOODSHED_EVALUATOR_MAX_LENGTH.",
        )
    return None


def refused(failure: Failure) -> Rejected:
    """Return what somebody who asks is told of it."""
    if failure.reason in (TOO_LONG, "bad_data"):
        return BadRequest(failure.message, code=failure.reason, field="messages")
    return Rejected(failure.message, code=failure.reason)
