"""Whether a model is served as it was trained: the release gate's decision, and what people are told when it is not.

Both sides answer the same prompts greedily, token by token. Equal arithmetic gives equal log-probabilities; a kernel
chosen otherwise moves them a little, in bfloat16 more, and may turn two tokens that were as good as equally likely.
"""

from collections.abc import Sequence

from msgspec import Struct

from contracts.evaluations import Engine
from contracts.jobs import Remedy
from services.evaluator.domain.engines import LLAMA, TRANSFORMERS, VLLM

TOLERANCES = {"float32": 0.001, "bfloat16": 0.05, LLAMA: 0.05, VLLM: 0.1}
"""How far apart two log-probabilities (natural) of one token may lie. By precision where transformers speaks: on a CPU
they are equal to the last bit (measured with the shipped model in both precisions), and what is left allows for kernels
chosen otherwise. Other engines are held against transformers in float32: llama.cpp, whose numbers have 16 bits, was off
by up to 0.015 with the shipped model; vLLM's allowance is for a server in bfloat16, and nobody has measured it."""


class Step(Struct, frozen=True, kw_only=True):
    """One token of a reply: ``served``'s log-probability as the engine told it, and the trained adapter's for it.

    ``best`` is the log-probability of the token that the trained adapter says itself, which is ``trained`` where both
    say the same. A reply is compared up to the first token on which they part.
    """

    served: float
    trained: float
    best: float


class Compared(Struct, frozen=True, kw_only=True, tag="compared"):
    """What came of it: replies that say something else, and the largest difference between two log-probabilities."""

    prompts: int
    tokens: int
    differing: int
    difference: float
    tolerance: float
    engine: Engine = TRANSFORMERS

    @property
    def same(self) -> bool:
        """Whether the model may be spoken with."""
        return not self.differing and self.difference <= self.tolerance


def compare(replies: Sequence[Sequence[Step]], precision: str, engine: Engine = TRANSFORMERS) -> Compared:
    """Judge an engine's replies, each a sequence of steps; ``precision`` is that of transformers."""
    tolerance = TOLERANCES.get(engine) or TOLERANCES[precision]
    steps = [step for reply in replies for step in reply]
    return Compared(
        prompts=len(replies),
        tokens=len(steps),
        differing=sum(not reply or reply[-1].best - reply[-1].trained > tolerance for reply in replies),
        difference=max((abs(step.served - step.trained) for step in steps), default=0.0),
        tolerance=tolerance,
        engine=engine,
    )


def objection(found: Compared) -> str:
    """Say why a model is not served; empty when it is."""
    if found.same:
        return ""
    return (
        f"The chat engine does not answer as the trained adapter does: {found.differing} of {found.prompts} replies "
        f"say something else, and log-probabilities differ by up to {found.difference:.3g} ({found.tolerance:g} is "
        "allowed). The model is not offered for chats; its adapter and its report stay."
    )


REMEDY = Remedy(
    kind="operator",
    title="Look at the answering engine",
    sentence=(
        "Download the adapter and use it elsewhere, or have the evaluator's libraries and its cached base model "
        "checked against the runner's, then train again: every new model is compared anew."
    ),
)
