"""The proof: what a trained adapter changed, measured on words it never saw."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Seconds, Sha256, Token
from contracts.jobs import Remedy


class EvaluationStarted(Event, frozen=True, kw_only=True, tag="evaluation.started.v1"):
    """The suites owed by a finished run have begun."""

    subject: ClassVar[str] = "evt.{tenant}.evaluation.{evaluation_id}.started"

    evaluation_id: Token
    job_id: Token
    run_id: Token
    suites: tuple[str, ...]


class EvaluationProgressed(Event, frozen=True, kw_only=True, tag="evaluation.progressed.v1"):
    """How far an evaluation is; lossy, at most twice a second.

    ``done`` of ``total`` items of a suite; ``share`` of all suites together, from 0 to 1, and the seconds that the rest
    takes at this pace.
    """

    subject: ClassVar[str] = "tel.{tenant}.evaluation.{evaluation_id}.progressed"

    evaluation_id: Token
    job_id: Token
    suite: str
    done: Count
    total: Count
    share: float = 0.0
    eta_seconds: Seconds | None = None


class SuiteScored(Event, frozen=True, kw_only=True, tag="evaluation.suite_scored.v1"):
    """One suite's verdict on base and tuned model.

    ``change`` is the relative improvement (0.12 = 12 % better), ``low``–``high`` its 95 %
    interval; ``verdict`` is better, worse, no_difference or kept.
    """

    subject: ClassVar[str] = "evt.{tenant}.evaluation.{evaluation_id}.suite_scored"

    evaluation_id: Token
    job_id: Token
    suite: str
    base: float
    tuned: float
    change: float
    low: float
    high: float
    verdict: str
    items: Count


Engine = Literal["llama.cpp", "vllm", "transformers"]
"""What speaks for a model in chats."""


class ServingCompared(Event, frozen=True, kw_only=True, tag="evaluation.serving_compared.v1"):
    """The engine of the chats was held against the adapter as training left it; only the ``same`` is served.

    ``prompts`` were answered greedily by both, ``tokens`` in all; ``differing`` replies say something else, and
    ``difference`` is the largest between two log-probabilities (natural), of which ``tolerance`` is allowed. ``engine``
    is what speaks for the model. Where they are not the same, ``message`` says it to
    people and ``remedy`` what to do.
    """

    subject: ClassVar[str] = "evt.{tenant}.evaluation.{evaluation_id}.serving_compared"

    evaluation_id: Token
    job_id: Token
    same: bool
    prompts: Count
    tokens: Count
    differing: Count
    difference: Annotated[float, Meta(ge=0)]
    tolerance: Annotated[float, Meta(ge=0)]
    engine: Engine = "transformers"
    message: str = ""
    remedy: Remedy | None = None


class ReportReady(Event, frozen=True, kw_only=True, tag="evaluation.report_ready.v1"):
    """The report is in storage as PDF and HTML, with its figures as JSON."""

    subject: ClassVar[str] = "evt.{tenant}.evaluation.{evaluation_id}.report_ready"

    evaluation_id: Token
    job_id: Token
    pdf_uri: str
    html_uri: str
    json_uri: str
    pdf_sha256: Sha256
    html_sha256: Sha256
    json_sha256: Sha256
    verdict: str
    headline: str


class EvaluationFailed(Event, frozen=True, kw_only=True, tag="evaluation.failed.v1"):
    """The proof could not be made; the adapter itself is untouched."""

    subject: ClassVar[str] = "evt.{tenant}.evaluation.{evaluation_id}.failed"

    evaluation_id: Token
    job_id: Token
    reason: str
    message: str


class AskModel(Question, frozen=True, kw_only=True, tag="model.ask.v1"):
    """One reply of the base model and one of the tuned model to the same prompt."""

    subject: ClassVar[str] = "ask.evaluator.reply"

    job_id: Token
    prompt: Annotated[str, Meta(min_length=1, max_length=8000)]
    max_tokens: Annotated[int, Meta(ge=1, le=512)] = 96


class ModelReplied(Struct, frozen=True, kw_only=True, tag="model.reply.v1"):
    """The answer to :class:`AskModel`."""

    base: str
    tuned: str
