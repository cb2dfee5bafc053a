"""When a tracker is told again, when that ends, and what a person is told of its troubles."""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from services.notifier.domain.retry import Backoff

EVERY = 2.0
LONGEST_LOOK = 60.0
SIGN_OF_LIFE = timedelta(seconds=30)
"""A run that is silent for some minutes counts as crashed there."""

PATIENCE = timedelta(days=3)
"""For how long a tracker that takes nothing is tried after the job has ended."""

BACKOFF = Backoff(first=5.0, longest=600.0)
GROWING = 12
"""Tries after which waits grow no more."""

NAME = "Weights & Biases"


class Remark(Struct, frozen=True, kw_only=True):
    """What a person is told, once for each job: ``code`` is refused, unreachable or lost."""

    code: str
    level: Literal["info", "warn"]
    message: str


def look(waited: timedelta) -> float:
    """Return in how many seconds to look whether a job that shows nothing yet began: sooner if it is young."""
    return min(LONGEST_LOOK, max(EVERY, waited.total_seconds() / 20))


def wait(tries: int, asked: float, backoff: Backoff = BACKOFF) -> float:
    """Return the seconds to wait after this many failures in a row, at least those ``asked`` for."""
    waits = backoff.wait(min(tries, GROWING))
    assert waits is not None
    return max(asked, waits)


def is_over(failing_since: datetime | None, at: datetime, ended: str) -> bool:
    """Say whether to give up: the job ended, and for three days nothing was taken."""
    return bool(ended) and failing_since is not None and at - failing_since > PATIENCE


def refused(why: str) -> Remark:
    """The tracker answers, and does not take it."""
    return Remark(
        code="refused",
        level="warn",
        message=f"{NAME} does not take this job's figures: {why}. The job goes on as it would without, and its figures "
        "are kept: they are sent as soon as they are taken, for three days after the job's end.",
    )


def unreachable(why: str) -> Remark:
    """The tracker does not answer."""
    return Remark(
        code="unreachable",
        level="info",
        message=f"{NAME} does not take this job's figures now: {why}. The job goes on as it would without; they are "
        "sent when it answers again.",
    )


def lost(why: str) -> Remark:
    """The tracker was not told all, and will not be."""
    return Remark(
        code="lost",
        level="warn",
        message=f"{NAME} took none of this job's figures for three days ({why}), so its run there is not whole. They "
        "are all in the job's metrics and in its result file.",
    )
