"""The sentences of a report: what the figures mean to somebody who needs no statistics, and how sure they are."""

from collections.abc import Sequence

from services.evaluator.domain.verdicts import PERPLEXITY, PREFERENCE, RETENTION, Score, light, overall, percent

TITLES = {PREFERENCE: "Preferring what you prefer", PERPLEXITY: "Predicting your words", RETENTION: "General knowledge"}


def headline(scores: Sequence[Score]) -> str:
    """Say the result in one sentence."""
    by_suite = {score.suite: score for score in scores}
    knowledge = _knowledge(by_suite.get(RETENTION))
    if PREFERENCE in by_suite:
        return _leaning(by_suite[PREFERENCE], overall(scores), knowledge)
    change = by_suite[PERPLEXITY].change.value
    match overall(scores):
        case "better" | "mixed":
            return f"On replies it never saw, the tuned model is {percent(change)} better{knowledge}."
        case "worse":
            return f"On replies it never saw, the tuned model is {percent(-change)} worse: do not use it."
    return f"Training made no difference that these held-out conversations can prove{knowledge}."


def _leaning(score: Score, verdict: str, knowledge: str) -> str:
    match verdict:
        case "better" | "mixed":
            return (
                f"In {percent(score.tuned)} of pairs it never saw, the tuned model leans further towards the reply you "
                f"prefer than the base{knowledge}."
            )
        case "worse":
            return (
                f"In only {percent(score.tuned)} of pairs it never saw, the tuned model leans further towards the "
                "reply you prefer: do not use it."
            )
    return f"Training made no difference that these held-out pairs can prove{knowledge}."


def learned(scores: Sequence[Score]) -> Score:
    """Return the suite that says whether it learned what it was taught."""
    return next(each for each in scores if each.suite in (PREFERENCE, PERPLEXITY))


def _knowledge(retention: Score | None) -> str:
    if retention is None or (not retention.surely and retention.note and retention.verdict == "kept"):
        return ""
    if retention.verdict == "worse":
        return ", but " + ("it lost" if retention.surely else "it may have lost") + " general knowledge"
    return ", and kept its general knowledge"


def sureness(scores: Sequence[Score]) -> str:
    """Say how sure the result is, and what limits it."""
    score = learned(scores)
    what, figure, low, high = _repeated(score)
    spread = (
        f"Measured on {score.items} {what} kept out of training. If this were repeated with other {what} "
        f"like them, the {figure} would lie between {low} and {high} in 95 of 100 cases."
    )
    if not score.surely and not score.note:
        nothing = "one half, which is chance" if score.suite == PREFERENCE else "zero"
        spread += f" That range includes {nothing}, so nothing is claimed."
    return " ".join([spread, *(each.note for each in scores if each.note)])


def _repeated(score: Score) -> tuple[str, str, str, str]:
    low, high = score.change.low, score.change.high
    if score.suite == PREFERENCE:
        return "pairs", "share", percent(score.base * (1 + low)), percent(score.base * (1 + high))
    return "conversations", "change", signed(low), signed(high)


def advice(scores: Sequence[Score]) -> str:
    """Say what to do next."""
    match overall(scores):
        case "better":
            return "Read the pairs on the next pages. If you like the replies on the right, the model is ready to try."
        case "mixed":
            return "Read the pairs first. Then train again with a gentler preset, or mix in general conversations."
        case "worse":
            return "Keep using the base model. Look at the loss curve: training may have run too long or too fast."
    what = "pairs" if learned(scores).suite == PREFERENCE else "conversations"
    return f"Train longer or bring more {what}. A dozen held-out ones show only large changes."


def meaning(score: Score) -> str:
    """Say in a sentence what one suite's change means."""
    if score.suite == RETENTION:
        asked = score.items
        return (
            f"Of {asked} questions on taxes, retirement, investing and insurance the base model answers "
            f"{round(score.base * asked)} right, the tuned one {round(score.tuned * asked)}. Guessing gives 25 %."
        )
    if score.suite == PREFERENCE:
        return (
            f"Training moved the tuned model towards the preferred reply in {score.tuned * score.items:g} of "
            f"{score.items} pairs it never saw. A model that learned nothing moves in neither direction: half."
        )
    return f"Perplexity went from {score.base:.1f} to {score.tuned:.1f}. {_wavering(score.change.value)}"


def _wavering(change: float) -> str:
    if abs(change) < 0.0005:
        return "The number of words either model wavers between in replies it never saw did not change."
    than = "fewer" if change > 0 else "more"
    return f"In replies it never saw, the tuned model wavers between {than} words at each step."


def figure(score: Score) -> str:
    """Return a suite's big figure: the change of perplexity, the share of knowledge kept, or of pairs won."""
    if score.suite == RETENTION:
        return percent(1 + score.change.value)
    if score.suite == PREFERENCE:
        return percent(score.tuned)
    return signed(score.change.value)


def label(score: Score) -> str:
    """Return what a big figure is, in two or three words."""
    if score.suite == RETENTION:
        return "of its knowledge kept"
    if score.suite == PREFERENCE:
        return "of pairs lean your way"
    return {"better": "better at your words", "worse": "worse at your words"}.get(score.verdict, "no proven change")


def lamp(score: Score) -> tuple[str, str]:
    """Return a suite's title and its traffic light."""
    return TITLES[score.suite], light(score)


def signed(share: float) -> str:
    """Write a change with its sign, with a true minus: ``+31 %``, ``−4.2 %``."""
    return percent(0.0) if abs(share) < 0.0005 else ("+" if share > 0 else "−") + percent(abs(share))


def lasted(seconds: float) -> str:
    """Write a duration for people: ``48 s``, ``11 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
