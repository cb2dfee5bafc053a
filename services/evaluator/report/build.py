"""From raw measurements to the report's one structure: verdicts, sentences, tables."""

import csv
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from contracts.runs import RunFinished
from services.evaluator.domain import verdicts, words
from services.evaluator.domain.statistics import (
    RESAMPLES,
    Likelihood,
    bootstrap,
    outliers,
    perplexity,
    perplexity_change,
)
from services.evaluator.domain.verdicts import Answer, Score
from services.evaluator.report.data import (
    Band,
    BigFigure,
    Changed,
    CurvePoint,
    Example,
    Method,
    ReportData,
    Topic,
)
from services.evaluator.scoring import knowledge
from services.evaluator.scoring.shapes import Measured, ScoringSpec

FOUR_BITS = (
    " While it learned, the base stood in four bits (NF4); everything here is measured, and the adapter is used, on "
    "the base as it is."
)


class ReportSpec(Struct, frozen=True, kw_only=True):
    """A report to write into folder ``out`` from what was measured. ``rate`` is money per device hour."""

    evaluation_id: str
    made_at: datetime
    run: RunFinished
    scoring: ScoringSpec
    out: str
    rate: float = 0.0
    currency: str = ""


def build(spec: ReportSpec, measured: Measured) -> ReportData:
    """Judge the measurements and put everything the report says into one structure."""
    seed = spec.scoring.seed
    scores = [
        verdicts.judge_preference(measured.preferences, seed)
        if measured.preferences
        else verdicts.judge_perplexity(measured.likelihoods, seed)
    ]
    if measured.answers:
        scores.append(verdicts.judge_retention(measured.answers, knowledge.CHOICES, seed))
    return ReportData(
        evaluation_id=spec.evaluation_id,
        made_at=spec.made_at,
        run=spec.run,
        verdict=verdicts.overall(scores),
        light=verdicts.overall_light(scores),
        headline=words.headline(scores),
        sureness=words.sureness(scores),
        advice=words.advice(scores),
        figures=(*map(_big, scores), _effort(spec.run)),
        scores=tuple(scores),
        bands=_bands(measured.likelihoods, seed),
        examples=_examples(measured.likelihoods),
        topics=_topics(measured.answers),
        changed=_changed(measured.answers, Path(spec.scoring.knowledge)),
        pairs=measured.pairs,
        curve=read_curve(Path(spec.scoring.adapter) / "metrics.csv"),
        method=_method(spec.scoring, measured),
        machine=measured.machine,
        seconds=measured.seconds,
        cost=_cost(spec.rate, spec.run),
        currency=spec.currency,
        preferences=measured.preferences,
    )


def _cost(rate: float, run: RunFinished) -> float | None:
    own = rate * (run.device_seconds - run.rented_seconds) / 3600
    return own + run.rent if rate or run.rent else None


def _big(score: Score) -> BigFigure:
    return BigFigure(words.label(score), words.figure(score), words.meaning(score), verdicts.light(score))


def _effort(run: RunFinished) -> BigFigure:
    means = (
        f"{run.steps:,} steps over {run.trained_tokens:,} words and word parts of replies"
        f"{f', resumed {run.interruptions} times after interruptions' if run.interruptions else ''}. "
        f"The adapter weighs {run.size / 1e6:.0f} MB; the base model is unchanged."
        f"{FOUR_BITS if run.quantization == 'nf4' else ''}"
    )
    return BigFigure("of training", words.lasted(run.train_seconds), means, "")


def _bands(examples: Sequence[Likelihood], seed: int) -> tuple[Band, ...]:
    def model(name: str, field: str) -> Band:
        def figure(drawn: Sequence[int]) -> float:
            total = sum(getattr(examples[index], field) for index in drawn)
            return perplexity(total, sum(examples[index].tokens for index in drawn))

        found = bootstrap(len(examples), figure, seed)
        return Band(name, found.value, found.low, found.high)

    return model("Base", "base"), model("Tuned", "tuned")


def _examples(likelihoods: Sequence[Likelihood]) -> tuple[Example, ...]:
    changes = [perplexity_change([each]) for each in likelihoods]
    apart = set(outliers(changes))
    rows = [
        Example(
            each.id,
            each.tokens,
            perplexity(each.base, each.tokens),
            perplexity(each.tuned, each.tokens),
            changes[index],
            index in apart,
        )
        for index, each in enumerate(likelihoods)
    ]
    return tuple(sorted(rows, key=lambda row: row.change))


def _topics(answers: Sequence[Answer]) -> tuple[Topic, ...]:
    names = dict.fromkeys(each.topic for each in answers)
    found = []
    for name in names:
        here = [each for each in answers if each.topic == name]
        base, tuned = (sum(getattr(each, model) == each.right for each in here) for model in ("base", "tuned"))
        found.append(Topic(name, len(here), base, tuned))
    return tuple(found)


def _changed(answers: Sequence[Answer], suite: Path) -> tuple[Changed, ...]:
    questions = {each.id: each for each in knowledge.load(suite)} if answers else {}
    found = []
    for each in answers:
        gained = each.tuned == each.right
        if gained != (each.base == each.right):
            asked = questions[each.id]
            found.append(Changed(each.id, each.topic, asked.question, asked.choices[asked.answer], gained))
    return tuple(found)


def _method(spec: ScoringSpec, measured: Measured) -> Method:
    return Method(
        split=spec.split_name,
        held_out=measured.held_out,
        measured=len(measured.likelihoods),
        max_length=spec.max_length,
        seed=spec.seed,
        resamples=RESAMPLES,
        reply_tokens=spec.reply_tokens,
        knowledge_sha256=hashlib.sha256(Path(spec.knowledge).read_bytes()).hexdigest(),
    )


def read_curve(path: Path) -> tuple[CurvePoint, ...]:
    """Read the columns step, train_loss and eval_loss of the adapter's metrics.csv; no curve where there is no file."""
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            CurvePoint(int(row["step"]), _number(row.get("train_loss")), _number(row.get("eval_loss")))
            for row in csv.DictReader(file)
        ]
    return tuple(rows)


def _number(text: str | None) -> float | None:
    return float(text) if text else None
