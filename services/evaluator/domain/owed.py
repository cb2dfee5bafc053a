"""Which proofs a finished run owes, and what an evaluation is called."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from contracts.runs import RunFinished
from services.evaluator.domain.verdicts import PERPLEXITY, PREFERENCE, REPLIES, RETENTION

EVERY = (PERPLEXITY, RETENTION, REPLIES)


def evaluation_id(run_id: str) -> str:
    """Return the one evaluation of a run: the same fact heard twice names the same evaluation."""
    return f"eval-{hashlib.sha256(run_id.encode()).hexdigest()[:24]}"


def suites_owed(run: RunFinished) -> tuple[str, ...]:
    """Every language model owes three suites, one whose training diverged most of all; one taught with pairs, four."""
    return (PREFERENCE, *EVERY) if run.objective == "dpo" else EVERY


def held_out(sizes: dict[str, int]) -> str:
    """Return the split to measure on: test, else validation; empty when nothing was held out."""
    return next((split for split in ("test", "validation") if sizes.get(split)), "")


def chosen(count: int, most: int, seed: int) -> Sequence[int]:
    """Return which of ``count`` examples to measure: all, or ``most`` of them drawn by the seed, in order."""
    return range(count) if count <= most else sorted(random.Random(seed).sample(range(count), most))


def opening(messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Return a conversation up to its first reply that is taught, and that reply as a person wrote it; empty without.

    In a pair only the last reply is taught: what was said before has weight 0.
    """
    first = next((at for at, each in enumerate(messages) if each["role"] == "assistant" and each.get("weight", 1)), 0)
    return list(messages[:first]), messages[first]["content"] if first else ""
