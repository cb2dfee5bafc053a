"""What figures mean: the verdict of each suite, of the whole, and how sure anybody may be.

A claim needs its whole interval on one side. Where the data cannot carry a claim, too
few conversations or a base model that guesses, the verdict says less and the note says why.
"""

from collections.abc import Sequence

from msgspec import Struct

from services.evaluator.domain.statistics import (
    Interval,
    Likelihood,
    Preference,
    improvement,
    leaning,
    near_chance,
    perplexities,
    retained,
    reward_accuracy,
)

PERPLEXITY = "perplexity"
PREFERENCE = "preference"
RETENTION = "retention"
REPLIES = "replies"

ENOUGH_EXAMPLES = 5
"""Below this many conversations no interval is worth its name, and nothing is claimed."""

CHANCE = 0.5
"""The share of pairs in which a model prefers one reply more than itself does, ties counted half."""

KEPT = 0.95
"""The tuned model must keep this share of the base model's right answers."""

GREEN, AMBER, RED = "green", "amber", "red"


class Answer(Struct, frozen=True):
    """One knowledge question: which choice each model found likeliest, and which is right."""

    id: str
    topic: str
    right: int
    base: int
    tuned: int


class Score(Struct, frozen=True, kw_only=True):
    """One suite's figures and verdict.

    ``base`` and ``tuned`` are perplexities, shares of right answers, or shares of pairs that lean towards the preferred
    reply (the base, held against itself, has half). ``change`` is the relative improvement with its 95 % interval.
    ``surely`` is whether that interval alone
    carries the verdict; ``note`` says in a sentence what limits it.
    """

    suite: str
    base: float
    tuned: float
    change: Interval
    verdict: str
    items: int
    surely: bool
    note: str = ""


def judge_perplexity(examples: Sequence[Likelihood], seed: int) -> Score:
    """Better or worse only if the whole interval says so; ``no_difference`` otherwise."""
    base, tuned = perplexities(examples)
    return _claimed(PERPLEXITY, base, tuned, improvement(examples, seed), len(examples), "conversation")


def judge_preference(pairs: Sequence[Preference], seed: int) -> Score:
    """Better or worse only if the whole interval of the reward accuracy lies on one side of chance."""
    return _claimed(PREFERENCE, CHANCE, reward_accuracy(pairs), leaning(pairs, seed), len(pairs), "pair")


def _claimed(suite: str, base: float, tuned: float, change: Interval, items: int, what: str) -> Score:
    verdict, surely, note = "no_difference", False, ""
    if items < ENOUGH_EXAMPLES:
        few = f"only {items} held-out {what}{'s' if items > 1 else ''}"
        note = f"There {'were' if items > 1 else 'was'} {few}, too few to claim anything: bring more data."
    elif change.low > 0:
        verdict, surely = "better", True
    elif change.high < 0:
        verdict, surely = "worse", True
    return Score(
        suite=suite, base=base, tuned=tuned, change=change, verdict=verdict, items=items, surely=surely, note=note
    )


def judge_retention(answers: Sequence[Answer], choices: int, seed: int) -> Score:
    """``kept`` if the tuned model has at least 95 % of the base model's right answers, else ``worse``."""
    base = [each.base == each.right for each in answers]
    tuned = [each.tuned == each.right for each in answers]
    if not any(base):
        return _nothing_to_retain(tuned)
    ratio = retained(base, tuned, seed)
    guesses = near_chance(sum(base), len(base), 1 / choices)
    verdict = "kept" if ratio.value >= KEPT else "worse"
    return Score(
        suite=RETENTION,
        base=sum(base) / len(base),
        tuned=sum(tuned) / len(tuned),
        change=Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1),
        verdict=verdict,
        items=len(answers),
        surely=not guesses and (ratio.low >= KEPT if verdict == "kept" else ratio.high < KEPT),
        note=_retention_note(ratio, sum(base), len(base), 1 / choices),
    )


def _nothing_to_retain(tuned: Sequence[bool]) -> Score:
    return Score(
        suite=RETENTION,
        base=0.0,
        tuned=sum(tuned) / len(tuned),
        change=Interval(0.0, 0.0, 0.0),
        verdict="kept",
        items=len(tuned),
        surely=False,
        note="The base model answered no question right: there was nothing to forget.",
    )


def _retention_note(ratio: Interval, right: int, asked: int, chance: float) -> str:
    if near_chance(right, asked, chance):
        return (
            f"The base model answered {right} of {asked} right and guessing gives about {asked * chance:.0f}: "
            "it hardly knows these topics, so this says little about forgetting."
        )
    known = (
        f"As far as {asked} questions can tell, between {percent(ratio.low)} and {percent(ratio.high)} of its "
        "knowledge was kept: "
    )
    if ratio.low < KEPT <= ratio.value:
        return known + "some forgetting cannot be ruled out."
    if ratio.value < KEPT <= ratio.high:
        return known + "the loss may be chance."
    return ""


def overall(scores: Sequence[Score]) -> str:
    """Return better, worse, no_difference, or mixed: it learned what it was to but answers fewer questions right."""
    verdicts = {score.suite: score.verdict for score in scores}
    learned = verdicts.get(PREFERENCE) or verdicts.get(PERPLEXITY, "no_difference")
    return "mixed" if learned == "better" and verdicts.get(RETENTION) == "worse" else learned


def light(score: Score) -> str:
    """Return the traffic light of one suite."""
    if score.verdict == "worse":
        return RED if score.surely else AMBER
    if score.verdict in ("better", "kept"):
        return GREEN if not score.note else AMBER
    return AMBER


def overall_light(scores: Sequence[Score]) -> str:
    """Return red for a worse model, green for a better one that kept what it knew, else amber."""
    verdict = overall(scores)
    if verdict == "worse":
        return RED
    sure_loss = any(light(score) == RED for score in scores)
    return RED if sure_loss else GREEN if verdict == "better" else AMBER


def percent(share: float) -> str:
    """Write a share for people: 0.314 as ``31 %``, below a tenth with one digit; the space does not break."""
    return f"{share * 100:.1f}\u00a0%" if abs(share) < 0.1 else f"{share * 100:.0f}\u00a0%"
