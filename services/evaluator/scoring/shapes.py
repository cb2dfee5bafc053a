"""What a scoring process is asked and what it answers. No torch: the service reads these too."""

from typing import Annotated

from msgspec import Meta, Struct

from services.evaluator.domain.engines import Remote
from services.evaluator.domain.serving import Compared
from services.evaluator.domain.statistics import Likelihood, Preference
from services.evaluator.domain.verdicts import Answer

CANNOT = 3
"""Exit code of a scoring process: measuring is impossible, and the last line of stderr is a :class:`Failure`."""

BATCH_TOKENS = 1024
"""Tokens measured at once, while memory lasts."""


class Failure(Struct, frozen=True):
    """Why a measurement is impossible: a ``reason`` for programs, a ``message`` for people."""

    reason: str
    message: str


class ScoringSpec(Struct, frozen=True, kw_only=True):
    """One evaluation to carry out. Paths are of this machine; ``precision`` is float32, bfloat16 or auto.

    ``examples`` is the most conversations to measure, ``max_length`` the tokens read of each,
    ``replies`` and ``reply_tokens`` how many before/after pairs and how long. ``batch_tokens`` bounds what is in memory
    at once; both models read the same batches, so less of it moves no verdict. ``hindrance`` says why there is no
    ``split``: then the engine of the chats is compared, and nothing measured. ``engine`` is the setting of the chats,
    ``cache`` the folder for what llama.cpp reads, ``remote`` the vLLM server, if there is one.
    """

    base: str
    adapter: str
    split: str
    split_name: str
    knowledge: str
    result: str
    suites: tuple[str, ...]
    seed: int
    threads: int
    precision: str = "auto"
    examples: int = 200
    max_length: int = 2048
    replies: int = 10
    reply_tokens: int = 96
    batch_tokens: int = BATCH_TOKENS
    hindrance: Failure | None = None
    engine: str = "auto"
    cache: str
    remote: Remote | None = None


class Progress(Struct, frozen=True, tag="progress"):
    """``done`` of ``total`` items of a suite, ``share`` of all suites, and the seconds ``left``."""

    suite: str
    done: int
    total: int
    share: float
    left: float


Line = Progress | Compared
"""One line of a scoring process's output."""


class Question(Struct, frozen=True):
    """One multiple-choice question; ``answer`` is the index of the right one of its ``choices``."""

    id: str
    topic: Annotated[str, Meta(min_length=1)]
    question: Annotated[str, Meta(min_length=10)]
    choices: Annotated[tuple[str, ...], Meta(min_length=4, max_length=4)]
    answer: Annotated[int, Meta(ge=0, le=3)]


class Turn(Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str


class Pair(Struct, frozen=True):
    """One prompt from the held-out part, what a person wrote, and what each model answers, to its end or cut off."""

    example_id: str
    prompt: tuple[Turn, ...]
    written: str
    base: str
    tuned: str
    base_cut: bool = False
    tuned_cut: bool = False


class Machine(Struct, frozen=True, kw_only=True):
    """Where and with what it was measured; enough to repeat it."""

    device: str
    precision: str
    threads: int
    base_revision: str
    versions: dict[str, str]


class Measured(Struct, frozen=True, kw_only=True):
    """All that was found: raw scores, no verdicts. ``seconds`` by part, ``held_out`` examples in all."""

    machine: Machine
    likelihoods: tuple[Likelihood, ...]
    answers: tuple[Answer, ...]
    pairs: tuple[Pair, ...]
    held_out: int
    seconds: dict[str, float]
    preferences: tuple[Preference, ...] = ()
