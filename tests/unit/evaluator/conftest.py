"""A report's ingredients, made up with a seed: enough to build, print and attack reports without a model."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.runs import RunFinished
from services.evaluator.domain.statistics import Likelihood
from services.evaluator.domain.verdicts import Answer
from services.evaluator.report.build import ReportSpec
from services.evaluator.scoring import knowledge
from services.evaluator.scoring.shapes import Machine, Measured, Pair, ScoringSpec, Turn

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)


@pytest.fixture
def run() -> RunFinished:
    return RunFinished(
        tenant="acme",
        at=NOW,
        run_id="run-01",
        job_id="job-01",
        fence=1,
        base_model="SmolLM2-135M-Instruct",
        dataset_id="ds-01",
        dataset_digest="d" * 64,
        dataset_uri="acme/datasets/d",
        adapter_uri="acme/runs/run-01/adapter",
        sha256="a" * 64,
        size=9_800_000,
        steps=42,
        tokens=251_000,
        trained_tokens=98_400,
        device_seconds=201.0,
        train_seconds=164.0,
        memory_bytes=2_300_000_000,
        train_loss=2.214,
        interruptions=0,
        seed=42,
        eval_loss=2.31,
    )


@pytest.fixture
def measured() -> Measured:
    """Twelve conversations some 25 % better, one that stands apart; 38 against 37 of 100 right."""
    chance = random.Random(7)
    likelihoods = []
    for index in range(12):
        tokens = chance.randint(240, 420)
        base = tokens * chance.uniform(2.8, 3.1)
        gain = 0.02 if index == 11 else chance.uniform(0.22, 0.36)
        likelihoods.append(Likelihood(f"ex-{index:04d}", tokens, base, base - tokens * gain))
    answers = []
    for index, asked in enumerate(knowledge.load()):
        wrong = (asked.answer + 1) % 4
        base_right, tuned_right = index % 8 in (0, 3, 6), index % 8 in (0, 3, 6) and index != 19
        answers.append(
            Answer(
                asked.id,
                asked.topic,
                asked.answer,
                asked.answer if base_right else wrong,
                asked.answer if tuned_right else wrong,
            )
        )
    opening = (Turn("user", "Saw my statement today. Down 31 grand since spring. I want out before it's all gone."),)
    pair = Pair(
        "ex-0001",
        opening,
        "That's a frightening number to open over breakfast, and wanting the exit makes sense.",
        "I'm sorry to hear that you're feeling down. It's important to take care of yourself and to seek help if you "
        "need it. Here are some steps you can take:\n\n1. Talk to a financial advisor.\n2. Review your budget.",
        "That's a hard number to see, and it's good you said it out loud. Before we move anything, what was the "
        "balance when you started? The share matters more than the dollars.",
    )
    return Measured(
        machine=Machine(
            device="cpu",
            precision="bfloat16",
            threads=2,
            base_revision="b" * 64,
            versions={"python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        ),
        likelihoods=tuple(likelihoods),
        answers=tuple(answers),
        pairs=(pair,) * 10,
        held_out=12,
        seconds={"load": 3.1, "perplexity": 21.0, "retention": 24.0, "replies": 19.0},
    )


@pytest.fixture
def spec(tmp_path: Path, run: RunFinished) -> ReportSpec:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    curve = [f"{step},{3.2 - 0.02 * step},{3.1 - 0.018 * step if step % 10 == 0 else ''}" for step in range(1, 43)]
    (adapter / "metrics.csv").write_text("\n".join(["step,train_loss,eval_loss", *curve]))
    scoring = ScoringSpec(
        base="base",
        adapter=str(adapter),
        split="test.parquet",
        split_name="test",
        knowledge=str(knowledge.SUITE),
        result="result.json",
        suites=("perplexity", "retention", "replies"),
        seed=42,
        cache="",
        threads=2,
    )
    return ReportSpec(
        evaluation_id="eval-" + "0" * 24, made_at=NOW, run=run, scoring=scoring, out=str(tmp_path / "out")
    )
