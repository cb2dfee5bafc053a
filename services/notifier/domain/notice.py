"""What a notice says: what happened, the figures a person asks for first, and where to look.

Words that come from outside (model names, messages, headlines) are stripped of control characters
here; each channel's dress escapes them for its own markup.
"""

import unicodedata
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct

from contracts.budgets import BudgetThresholdReached
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSucceeded
from contracts.people import INVITATION, MemberInvited
from contracts.runs import RunRemarked
from contracts.trackers import TrackerRemarked

JobFact = JobSucceeded | JobFailed | JobCancelled | ReportReady | EvaluationFailed | RunRemarked
Fact = JobFact | BudgetThresholdReached | MemberInvited | TrackerRemarked

ABOUT: dict[type[JobFact], str] = {
    JobSucceeded: "finished",
    JobFailed: "failed",
    JobCancelled: "cancelled",
    ReportReady: "report",
    EvaluationFailed: "report",
    RunRemarked: "remark",
}
"""What a fact's notice is about: a job owes at most one notice about each, on each channel."""

REMARKS = {
    "time_limit": "Training ended early: its time is up",
    "loss_spike": "The loss of your training jumped",
    "not_converging": "Your model hardly learns",
    "evaluation_skipped": "A measurement was left out while training",
    "budget_50": "Half of your job's budget is spent",
    "budget_80": "Four fifths of your job's budget are spent",
    "budget_100": "Your job's budget is spent",
}
MONTH = {
    50: "Half of this month's budget is spent",
    80: "Four fifths of this month's budget are spent",
    100: "This month's budget is spent",
}
UNKNOWN_REMARK = "Something about your training"

VERDICTS = {
    "better": ("The report is ready: your model got better", "good"),
    "worse": ("The report is ready: your model got worse", "bad"),
    "mixed": ("The report is ready: your model learned, and forgot something", "plain"),
    "no_difference": ("The report is ready: no difference can be shown", "plain"),
}
UNKNOWN_VERDICT = ("The report is ready", "plain")


class Surroundings(Struct, frozen=True):
    """Where people reach this installation, and the currency its costs are in."""

    public_url: str
    currency: str

    def jobs(self) -> str:
        """Return the address of the list of jobs."""
        return f"{self.public_url.rstrip('/')}/v1/fine_tuning/jobs"

    def job(self, job_id: str) -> str:
        """Return the address of a job."""
        return f"{self.jobs()}/{job_id}"

    def budget(self) -> str:
        """Return the address of the organisation's budget."""
        return f"{self.public_url.rstrip('/')}/v1/budget"

    def accept(self, invitation: str) -> str:
        """Return the address of the page that uses an invitation; browsers send what follows ``#`` to nobody."""
        return f"{self.public_url.rstrip('/')}/invitation#{invitation}"

    def docs(self) -> str:
        """Return the address of the page that describes the API."""
        return f"{self.public_url.rstrip('/')}/docs"

    def report(self, job_id: str) -> str:
        """Return the address of a job's report."""
        return f"{self.job(job_id)}/report.html"


class Notice(Struct, frozen=True, kw_only=True):
    """A notice in plain words. ``mood`` is good, bad or plain; ``figures`` are (label, value) pairs.

    ``job_id`` says what it is about: a job, a month, or a member.
    """

    title: str
    lead: str
    mood: str
    job_id: str
    link: str
    link_label: str
    figures: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """Say it without any markup, for mail readers and terminals."""
        figures = "\n".join(f"  {label}: {value}" for label, value in self.figures)
        parts = (self.title, self.lead, figures, f"{self.link_label}: {self.link}")
        return "\n\n".join(part for part in parts if part)


def subject(fact: Fact) -> str:
    """Return what a fact is about: a job's id, a month, or a member's id."""
    match fact:
        case BudgetThresholdReached():
            return fact.month
        case MemberInvited():
            return fact.member_id
    return fact.job_id


def about(fact: Fact) -> str:
    """Return what a fact's notice is about; of remarks each kind counts for itself, and those on budgets are apart."""
    if isinstance(fact, MemberInvited):
        return f"{INVITATION}:{fact.version}"
    if isinstance(fact, BudgetThresholdReached):
        return f"budget:month_{fact.percent}"
    if isinstance(fact, TrackerRemarked):
        return f"{ABOUT[RunRemarked]}:tracker_{fact.code}"
    if not isinstance(fact, RunRemarked):
        return ABOUT[type(fact)]
    return f"{'budget' if fact.code.startswith('budget_') else ABOUT[RunRemarked]}:{fact.code}"


def notice_of(fact: Fact, here: Surroundings) -> Notice:
    """Put a fact into words."""
    words: dict[type[Fact], Callable[..., Notice]] = {
        JobSucceeded: _finished,
        JobFailed: _failed,
        JobCancelled: _cancelled,
        ReportReady: _reported,
        EvaluationFailed: _unreported,
        RunRemarked: _remarked,
        BudgetThresholdReached: _month_spent,
        MemberInvited: _invited,
        TrackerRemarked: _untracked,
    }
    return words[type(fact)](fact, here)


def plain(text: str) -> str:
    """Return text from outside on one line, without control or direction-changing characters."""
    kept = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    return " ".join(kept.split())


def spoken(seconds: float) -> str:
    """Say a duration as a person would: ``40 s``, ``11 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _finished(fact: JobSucceeded, here: Surroundings) -> Notice:
    figures = [
        ("Model", plain(fact.model)),
        ("Training time", spoken(fact.seconds)),
        ("Learned from", f"{fact.trained_tokens:,} tokens"),
        ("Cost", f"{fact.cost:.2f} {here.currency}" if fact.cost >= 0.01 else f"under 0.01 {here.currency}"),
    ]
    if fact.interruptions:
        lost = f"{fact.lost_steps:,} step{'' if fact.lost_steps == 1 else 's'} lost"
        figures.append(("Interruptions survived", f"{fact.interruptions}, {lost}"))
    return Notice(
        title="Your model is ready",
        lead="Training finished and the model is in storage. It is now compared with the base model; "
        "the report follows.",
        mood="good",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
        figures=tuple(figures),
    )


def _failed(fact: JobFailed, here: Surroundings) -> Notice:
    return Notice(
        title="Training did not succeed",
        lead=plain(fact.message),
        mood="bad",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
        figures=(("What to do", plain(fact.fix)), ("Reason", plain(fact.reason)), ("Try again with", _command(fact))),
    )


def _command(fact: JobFailed) -> str:
    mended = " --file MENDED" if fact.remedy and fact.remedy.kind == "change_data" else ""
    return f"woodshed retry {fact.job_id}{mended}"


def _remarked(fact: RunRemarked, here: Surroundings) -> Notice:
    return Notice(
        title=REMARKS.get(fact.code, UNKNOWN_REMARK),
        lead=plain(fact.message),
        mood="plain",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
        figures=(("Step", f"{fact.step:,}"),),
    )


def _untracked(fact: TrackerRemarked, here: Surroundings) -> Notice:
    return Notice(
        title="Your tracker does not show all of your job",
        lead=plain(fact.message),
        mood="plain",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
    )


def _month_spent(fact: BudgetThresholdReached, here: Surroundings) -> Notice:
    over = fact.percent >= 100
    lead = (
        "What is left pays for no training: no job is accepted, and those that wait go on when the month is over or an "
        "owner raises the budget. What has a device finishes within what was set aside for it."
        if over
        else "Jobs go on as before. When it is spent, no further one is accepted until the month is over or an owner "
        "raises the budget."
    )
    return Notice(
        title=MONTH.get(fact.percent, f"{fact.percent} % of this month's budget are spent"),
        lead=lead,
        mood="bad" if over else "plain",
        job_id=fact.month,
        link=here.budget(),
        link_label="See the budget",
        figures=(
            ("Spent", f"{fact.spent:.2f} of {fact.limit:.2f} {here.currency}"),
            ("Raise it with", "woodshed budget set AMOUNT"),
        ),
    )


def _invited(fact: MemberInvited, here: Surroundings) -> Notice:
    return Notice(
        title="You are invited",
        lead="Somebody made you a member of their organisation on Woodshed. With this letter you set a password, once; "
        "then you sign in with this address. Pass it on to nobody. If you do not know what this is about, do nothing.",
        mood="plain",
        job_id=fact.member_id,
        link=here.docs(),
        link_label="What can be done there",
    )


def with_invitation(notice: Notice, invitation: str, until: datetime, here: Surroundings) -> Notice:
    """Return the letter as it is sent and nowhere kept: the invitation, and how it is used."""
    figures = (
        ("Invitation", invitation),
        ("Holds until", f"{until:%d %B %Y, %H:%M} UTC"),
        ("Or, in a terminal", f"woodshed accept {here.public_url.rstrip('/')}"),
    )
    return msgspec.structs.replace(
        notice, figures=figures, link=here.accept(invitation), link_label="Set your password"
    )


def _cancelled(fact: JobCancelled, here: Surroundings) -> Notice:
    return Notice(
        title="Training was cancelled",
        lead="The job ended because a person asked for it. There is no model; your data is as it was.",
        mood="plain",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
    )


def _reported(fact: ReportReady, here: Surroundings) -> Notice:
    title, mood = VERDICTS.get(fact.verdict, UNKNOWN_VERDICT)
    return Notice(
        title=title,
        lead=plain(fact.headline),
        mood=mood,
        job_id=fact.job_id,
        link=here.report(fact.job_id),
        link_label="Read the report",
    )


def _unreported(fact: EvaluationFailed, here: Surroundings) -> Notice:
    return Notice(
        title="The report could not be made",
        lead=f"{plain(fact.message)} The trained model itself is untouched.",
        mood="bad",
        job_id=fact.job_id,
        link=here.job(fact.job_id),
        link_label="See the job",
        figures=(("Reason", plain(fact.reason)),),
    )
