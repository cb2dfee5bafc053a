"""What the trainer reacts to, in the order of a run's life."""

import asyncio

from contracts.base import new_id
from contracts.jobs import JobCancelled, JobDispatched, JobQueued
from contracts.runs import DispatchDeclined, LeaseGranted, RunCancelled
from libs.bus import Router
from libs.db import Transaction
from libs.db.database import now
from services.trainer import queries, queries_machines
from services.trainer.domain import run_states
from services.trainer.domain.saving import interval
from services.trainer.settings import TrainerSettings

router = Router("trainer")


@router.on(JobQueued)
async def count_waiting(job: JobQueued, tx: Transaction) -> None:
    """A job waits for a device: a pool of machines may grow for it."""
    await queries_machines.note_job(tx, job)


@router.on(JobDispatched, across_tenants=True)
async def lease_device(job: JobDispatched, tx: Transaction, settings: TrainerSettings, wake: asyncio.Event) -> None:
    """A job was given an offered device: lease it, or say that it is no longer free."""
    await queries_machines.note_job(tx, job)
    runner = await queries.take_offer(tx, job.device_id, job.offer_id)
    granted = None
    if runner and await queries.add_run(tx, job, interval(job.estimate, settings.mean_seconds_between_losses)):
        granted = await queries.grant(tx, job.run_id, job.device_id, runner, now())
    if granted is None:
        await tx.tell(
            DispatchDeclined(
                tenant=job.tenant, at=now(), run_id=job.run_id, job_id=job.job_id, device_id=job.device_id
            )
        )
        return
    await begin_attempt(tx, job.tenant, job.run_id, job.job_id, job.device_id, granted["fence"], granted["attempt"])
    wake.set()


@router.on(JobCancelled)
async def stop_run(job: JobCancelled, tx: Transaction, wake: asyncio.Event) -> None:
    """A job is not wanted any more: end its attempt, or the run at once when it holds no device."""
    await queries_machines.note_job(tx, job)
    run = await queries.run_of_job(tx, job.job_id)
    if run is None or run["state"] in run_states.FINAL:
        return
    happening: run_states.Happening = "stop_asked"
    state = run_states.after(run["state"], happening)
    if state is None:
        return
    await queries.ask_stop(tx, run["run_id"], state)
    if state == "cancelled":
        spent = await queries.device_seconds(tx, run["run_id"], now())
        await tx.tell(
            RunCancelled(
                tenant=job.tenant, at=now(), run_id=run["run_id"], job_id=job.job_id, device_seconds=spent
            )
        )
    wake.set()


async def begin_attempt(
    tx: Transaction, tenant: str, run_id: str, job_id: str, device_id: str, fence: int, attempt: int
) -> None:
    """Note the new attempt and tell who holds the device now."""
    await queries.begin_attempt(tx, run_id, attempt)
    await tx.tell(
        LeaseGranted(
            tenant=tenant, at=now(), run_id=run_id, job_id=job_id, device_id=device_id, attempt=attempt, fence=fence
        )
    )


def new_offer() -> str:
    """Name a new offer."""
    return new_id("offer")
