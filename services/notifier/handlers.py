"""Everything the notifier reacts to: alerts on the way, the ends of a job, and the report that follows a good one.

A reaction only writes down what is owed, one record for each channel; delivery is the work of
``delivery.py``, because no network call belongs into a transaction.
"""

from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSucceeded
from contracts.runs import RunRemarked
from libs.bus import Router
from libs.db import Transaction
from services.notifier import queries
from services.notifier.domain.notice import Fact

router = Router("notifier")


@router.on(JobSucceeded, JobFailed, JobCancelled, ReportReady, EvaluationFailed)
async def owe_notices(fact: Fact, tx: Transaction, channels: tuple[str, ...]) -> None:
    """A job ended, or its report is there (or cannot be made): people are owed a word on every channel."""
    for channel in channels:
        await queries.owe(tx, fact, channel)


@router.on(RunRemarked)
async def owe_alert(fact: RunRemarked, tx: Transaction, channels: tuple[str, ...]) -> None:
    """Training goes on, and somebody should look: one notice for each kind of alert."""
    if fact.level == "warn":
        await owe_notices(fact, tx, channels)
