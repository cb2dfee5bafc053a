"""The one structure behind report.json, the web page and the PDF: figures, sentences, pairs, provenance."""

from datetime import datetime

from msgspec import Struct

from contracts.runs import RunFinished
from services.evaluator.domain.statistics import Preference
from services.evaluator.domain.verdicts import Score
from services.evaluator.scoring.shapes import Machine, Pair

VERSION = 1


class BigFigure(Struct, frozen=True):
    """A figure anybody can read: what it is, its value, and what it means in a sentence."""

    label: str
    value: str
    means: str
    light: str


class Example(Struct, frozen=True):
    """One held-out conversation: perplexity of both models, the relative change, whether it stands out."""

    id: str
    tokens: int
    base: float
    tuned: float
    change: float
    outlier: bool


class Topic(Struct, frozen=True):
    """Right answers of both models on one topic."""

    name: str
    asked: int
    base: int
    tuned: int


class Changed(Struct, frozen=True):
    """A knowledge question that only one of the models answers right (``gained``: the tuned one)."""

    id: str
    topic: str
    question: str
    answer: str
    gained: bool


class Band(Struct, frozen=True):
    """One model's perplexity with its own 95 % interval."""

    model: str
    value: float
    low: float
    high: float


class CurvePoint(Struct, frozen=True):
    """One step of training: mean loss in nats per trained token, and held-out loss where it was measured."""

    step: int
    loss: float | None
    eval_loss: float | None


class Method(Struct, frozen=True, kw_only=True):
    """How it was measured, so that somebody else can repeat it."""

    split: str
    held_out: int
    measured: int
    max_length: int
    seed: int
    resamples: int
    reply_tokens: int
    knowledge_sha256: str


class ReportData(Struct, frozen=True, kw_only=True):
    """Everything a report says. ``run`` is the fact it rests on; ``cost`` is None with no rate and no rent."""

    version: int = VERSION
    evaluation_id: str
    made_at: datetime
    run: RunFinished
    verdict: str
    light: str
    headline: str
    sureness: str
    advice: str
    figures: tuple[BigFigure, ...]
    scores: tuple[Score, ...]
    bands: tuple[Band, ...]
    examples: tuple[Example, ...]
    topics: tuple[Topic, ...]
    changed: tuple[Changed, ...]
    pairs: tuple[Pair, ...]
    curve: tuple[CurvePoint, ...]
    method: Method
    machine: Machine
    seconds: dict[str, float]
    cost: float | None = None
    currency: str = ""
    preferences: tuple[Preference, ...] = ()
