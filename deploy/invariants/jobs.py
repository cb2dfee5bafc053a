"""Jobs: known wherever they must be, ended once, proven once, paid exactly, and their people told."""

from collections.abc import Iterator
from decimal import Decimal

from contracts.base import Event
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSubmitted, JobSucceeded
from contracts.notices import NoticeDelivered, NoticeFailed
from contracts.runs import RunFinished
from deploy.invariants.looking import Look
from deploy.invariants.offences import Offence, grouped
from services.notifier.domain.notice import ABOUT

ENDS: dict[str, type[Event]] = {"succeeded": JobSucceeded, "failed": JobFailed, "cancelled": JobCancelled}


def accepted(look: Look) -> Iterator[Offence]:
    """An accepted job stands in the gateway and in the scheduler, and its wish was told."""
    asked = {fact.job_id for fact in look.of(JobSubmitted)}
    shown = {row["job_id"] for row in look.rows["gateway.job"]}
    known = {row["job_id"] for row in look.rows["scheduler.job"]}
    places = {"row in gateway": shown, "JobSubmitted": asked, "row in scheduler": known}
    for job in sorted(shown | asked):
        if missing := [what for what, there in places.items() if job not in there]:
            yield Offence(job, f"has no {', no '.join(missing)}")


def ended_once(look: Look) -> Iterator[Offence]:
    """A job at its end told it exactly once, people see that end, and its run ended the same way."""
    told = grouped(look.of(JobSucceeded, JobFailed, JobCancelled), lambda fact: fact.job_id)
    shown = {row["job_id"]: row["status"] for row in look.rows["gateway.job"]}
    runs = {row["run_id"]: row["state"] for row in look.rows["trainer.run"]}
    for row in look.rows["scheduler.job"]:
        job, state = row["job_id"], row["state"]
        ends = [type(fact) for fact in told.pop(job, ())]
        if ends != ([ENDS[state]] if state in ENDS else []):
            yield Offence(job, f"is {state} and told {' and '.join(kind.__name__ for kind in ends) or 'no end'}")
        seen = shown.get(job, state)
        if state != seen and (state in ENDS or seen in ENDS):
            yield Offence(job, f"is {state}, and people see {seen}")
        ran = runs.get(row["run_id"])
        if (ran in ENDS or state == "succeeded") and ran != state and not (state == "cancelled" and ran in ENDS):
            yield Offence(job, f"is {state}, its run {row['run_id']} is {ran or 'unknown'}")
    for job, facts in told.items():
        yield Offence(job, f"told {' and '.join(type(fact).__name__ for fact in facts)} and has no row in scheduler")


def proven_once(look: Look) -> Iterator[Offence]:
    """A finished run has one evaluation, and one that ended told one report or one failure."""
    evaluations = grouped(look.rows["evaluator.evaluation"], lambda row: row["run_id"])
    for fact in look.of(RunFinished):
        if len(rows := evaluations.get(fact.run_id, ())) != 1:
            yield Offence(fact.run_id, f"has {len(rows)} evaluations")
    told = grouped(look.of(ReportReady, EvaluationFailed), lambda fact: fact.evaluation_id)
    kinds: dict[str, type[Event]] = {"done": ReportReady, "failed": EvaluationFailed}
    for row in look.rows["evaluator.evaluation"]:
        ends = [type(fact) for fact in told.get(row["id"], ())]
        if ends != ([kinds[row["state"]]] if row["state"] in kinds else []):
            yield Offence(row["id"], f"is {row['state']} and told {len(ends)} ends")


def noticed(look: Look) -> Iterator[Offence]:
    """Each end and each report left one record on a channel for each recipient; one that is settled was told once."""
    records = grouped(look.rows["notifier.notice"], lambda row: (row["job_id"], row["about"]))
    for fact in look.of(JobSucceeded, JobFailed, JobCancelled, ReportReady, EvaluationFailed):
        if not records.get((fact.job_id, about := ABOUT[type(fact)])):
            yield Offence(fact.job_id, f"nobody is told that it is {about}")
    for (job, about), rows in records.items():
        channels = [f"{row['channel']} {row['recipient']}".strip() for row in rows]
        if len(channels) != len(set(channels)):
            yield Offence(job, f"has {len(channels)} records about {about} on {', '.join(sorted(set(channels)))}")
    told = grouped(look.of(NoticeDelivered, NoticeFailed), lambda fact: fact.notice_id)
    kinds: dict[str, type[Event]] = {"delivered": NoticeDelivered, "failed": NoticeFailed}
    for row in look.rows["notifier.notice"]:
        ends = [type(fact) for fact in told.get(row["notice_id"], ())]
        if ends != ([kinds[row["state"]]] if row["state"] in kinds else []):
            yield Offence(row["notice_id"], f"of {row['job_id']} is {row['state']} and told {len(ends)} times")


def paid(look: Look) -> Iterator[Offence]:
    """What a job cost is its run's rent and other device time × the rate, to the millionth; people see the same."""
    finished = {fact.run_id: fact for fact in look.of(RunFinished)}
    shown = {row["job_id"]: row["cost"] for row in look.rows["gateway.job"]}
    for fact in look.of(JobSucceeded):
        run = finished.get(fact.run_id)
        if run is None:
            yield Offence(fact.job_id, f"was paid for the run {fact.run_id}, which never finished")
            continue
        owed = charge(run.device_seconds - run.rented_seconds, fact.device_rate) + _micro(run.rent)
        if (fact.device_rate or run.rent) and _micro(fact.cost) != owed:
            yield Offence(fact.job_id, f"cost {fact.cost:.6f}, its device time comes to {owed / 10**6:.6f}")
        seen = shown.get(fact.job_id)
        if seen is not None and _micro(seen) != _micro(fact.cost):
            yield Offence(fact.job_id, f"cost {fact.cost:.6f}, and people see {seen:.6f}")


def booked(look: Look) -> Iterator[Offence]:
    """What an organisation's months hold is what its jobs were charged, to the millionth."""
    jobs = grouped(look.rows["scheduler.job"], lambda row: row["tenant"])
    months = grouped(look.rows["scheduler.spending"], lambda row: row["tenant"])
    for tenant in sorted(jobs.keys() | months.keys()):
        charged = sum(row["charged"] for row in jobs.get(tenant, ()))
        amount = sum(row["amount"] for row in months.get(tenant, ()))
        if charged != amount:
            yield Offence(tenant, f"its jobs cost {charged / 10**6:.6f}, its months hold {amount / 10**6:.6f}")


def charge(seconds: float, per_hour: float) -> int:
    """Return millionths of the currency for this device time, worked out apart from the scheduler's own arithmetic."""
    hours = Decimal(_micro(seconds)) / Decimal(3_600_000_000)
    return int((hours * Decimal(_micro(per_hour))).to_integral_value())


def _micro(value: float) -> int:
    return round(value * 1_000_000)
