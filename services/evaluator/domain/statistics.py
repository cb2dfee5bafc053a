"""From scores per example to figures with an interval: the arithmetic behind every verdict.

Both models answer the same examples, so differences are paired: a resample draws
examples and takes both models' scores of each. Intervals are 95 % *expanded percentile*
bootstrap intervals (Hesterberg 2015, "What teachers should know about the bootstrap",
section 5.3): the plain percentile interval is too narrow for the dozen conversations a
small data set holds out.
"""

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist

from msgspec import Struct

RESAMPLES = 2000
CONFIDENCE = 0.95
NORMAL = NormalDist()


class Likelihood(Struct, frozen=True):
    """One held-out example: summed negative log-likelihood in nats over its ``tokens`` loss positions."""

    id: str
    tokens: int
    base: float
    tuned: float


class Interval(Struct, frozen=True):
    """A figure and the range that contains its true value in 95 of 100 repetitions."""

    value: float
    low: float
    high: float


class Preference(Struct, frozen=True):
    """One held-out pair: negative log-likelihood in nats of its preferred and its rejected reply, by both models."""

    id: str
    base_preferred: float
    tuned_preferred: float
    base_rejected: float
    tuned_rejected: float

    @property
    def gain(self) -> float:
        """How many nats the preferred reply gained on the rejected one by training; 0 of a model against itself."""
        return (self.base_preferred - self.tuned_preferred) - (self.base_rejected - self.tuned_rejected)


def perplexity(total: float, tokens: int) -> float:
    """Return exp(mean negative log-likelihood per token); ``ValueError`` without tokens."""
    if tokens == 0:
        raise ValueError("perplexity of no tokens")
    return math.exp(min(total / tokens, 700.0))


def perplexities(examples: Sequence[Likelihood]) -> tuple[float, float]:
    """Return the perplexity of base and tuned over all examples together."""
    tokens = sum(each.tokens for each in examples)
    return (
        perplexity(sum(each.base for each in examples), tokens),
        perplexity(sum(each.tuned for each in examples), tokens),
    )


def perplexity_change(examples: Sequence[Likelihood]) -> float:
    """Return the relative improvement, 1 - tuned / base: 0.3 means 30 % lower perplexity."""
    tokens = sum(each.tokens for each in examples)
    gain = sum(each.tuned - each.base for each in examples) / tokens
    return -math.expm1(min(gain, 700.0))


def bootstrap(
    count: int, figure: Callable[[Sequence[int]], float | None], seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Resample ``count`` paired examples and return the figure of all of them with its interval.

    ``figure`` takes indices into the examples, and returns None where it is not defined;
    such resamples are drawn again, and after ten times as many draws ``ValueError`` says so.
    """
    value = figure(range(count))
    if value is None:
        raise ValueError("the figure is not defined for these examples")
    chooser = random.Random(seed)
    found: list[float] = []
    for _ in range(10 * resamples):
        drawn = figure(chooser.choices(range(count), k=count))
        if drawn is not None:
            found.append(drawn)
        if len(found) == resamples:
            break
    if len(found) < resamples:
        raise ValueError("the figure is not defined for most resamples of these examples")
    found.sort()
    tail = expanded_tail(count)
    return Interval(value, quantile(found, tail), quantile(found, 1 - tail))


def expanded_tail(count: int) -> float:
    """Return the share to cut off each side so that ``count`` examples give an honest 95 % interval."""
    if count < 2:
        return 0.0
    z = math.sqrt(count / (count - 1)) * student((1 - CONFIDENCE) / 2, count - 1)
    return NORMAL.cdf(-z)


def student(tail: float, freedom: int) -> float:
    """Return the t value that leaves ``tail`` above it (Abramowitz & Stegun 26.7.5), never below the normal's."""
    z = NORMAL.inv_cdf(1 - tail)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the ordered values lie, interpolated."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def improvement(examples: Sequence[Likelihood], seed: int, resamples: int = RESAMPLES) -> Interval:
    """Return the relative improvement of perplexity with its interval."""
    return bootstrap(
        len(examples), lambda drawn: perplexity_change([examples[index] for index in drawn]), seed, resamples
    )


def reward_accuracy(pairs: Sequence[Preference]) -> float:
    """Return the share of pairs in which the tuned model prefers the preferred reply more than the base does.

    A pair in which nothing moved counts half, so a model against itself has exactly 0.5.
    """
    return sum(0.5 if each.gain == 0 else float(each.gain > 0) for each in pairs) / len(pairs)


def leaning(pairs: Sequence[Preference], seed: int, resamples: int = RESAMPLES) -> Interval:
    """Return the reward accuracy over chance (0.5), minus 1, with its interval: 0.4 where 7 of 10 pairs gained.

    Where all pairs went the same way no resample differs; then the exact interval of a share stands (Clopper &
    Pearson 1934), which of a few pairs is as wide as it must be.
    """
    found = bootstrap(
        len(pairs), lambda drawn: 2 * reward_accuracy([pairs[index] for index in drawn]) - 1, seed, resamples
    )
    sure = 2 * ((1 - CONFIDENCE) / 2) ** (1 / len(pairs)) - 1
    if found.value == 1:
        return Interval(1.0, sure, 1.0)
    return Interval(-1.0, -1.0, -sure) if found.value == -1 else found


def retained(base: Sequence[bool], tuned: Sequence[bool], seed: int, resamples: int = RESAMPLES) -> Interval:
    """Return right answers of tuned over those of base (1.0: nothing forgotten) with its interval.

    ``ValueError`` when the base model has no right answer at all: there is nothing to retain.
    """

    def ratio(drawn: Sequence[int]) -> float | None:
        before = sum(base[index] for index in drawn)
        return sum(tuned[index] for index in drawn) / before if before else None

    return bootstrap(len(base), ratio, seed, resamples)


def near_chance(right: int, asked: int, chance: float) -> bool:
    """Whether ``right`` of ``asked`` could be guessing: within 1.645 standard errors above chance (one-sided 95 %)."""
    return right <= asked * chance + 1.645 * math.sqrt(asked * chance * (1 - chance))


def outliers(changes: Sequence[float]) -> list[int]:
    """Return which changes lie outside Tukey's fences (1.5 times the interquartile range beyond the quartiles)."""
    if len(changes) < 4:
        return []
    ordered = sorted(changes)
    first, third = quantile(ordered, 0.25), quantile(ordered, 0.75)
    reach = 1.5 * (third - first)
    return [index for index, each in enumerate(changes) if each < first - reach or each > third + reach]
