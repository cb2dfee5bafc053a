"""What the trainer reacts to, in the order of a run's life."""

from typing import Any

from contracts.base import new_id
from contracts.jobs import JobCancelled, JobDispatched, JobPaused, JobQueued, JobStopping, ModelDeleted
from contracts.machines import Device, ListMachines, Machines
from contracts.runs import DispatchDeclined, LeaseGranted, RunCancelled, RunPaused
from libs.bus import Router
from libs.db import Database, Transaction
from libs.db.database import now
from libs.waking import Wake
from services.trainer import (
    queries,
    queries_checkpoints,
    queries_devices,
    queries_dispatches,
    queries_leases,
    queries_machines,
)
from services.trainer.bills import bill
from services.trainer.domain import run_states
from services.trainer.domain.saving import expected_cost, interval
from services.trainer.presence import Presence
from services.trainer.settings import TrainerSettings

router = Router("trainer")


@router.on(JobQueued, JobPaused)
async def count_waiting(job: JobQueued | JobPaused, tx: Transaction) -> None:
    """A job waits for a device, or for a person: a pool of machines may grow for the one, and not for the other."""
    await queries_machines.note_job(tx, job)


@router.on(JobDispatched, across_tenants=True)
async def lease_device(job: JobDispatched, tx: Transaction, settings: TrainerSettings, wake: Wake) -> None:
    """A job was given an offered device: lease it, or say that it is no longer free.

    The run is new, or one that was paused and goes on from its newest checkpoint.
    """
    await queries_dispatches.hold_job(tx, job.job_id)
    await queries_machines.note_job(tx, job)
    device_bytes = await queries_devices.take_offer(tx, job.device_id, job.offer_id)
    granted = None
    if not await queries_dispatches.called_off(tx, job.offer_id) and device_bytes is not None:
        between, share = settings.mean_seconds_between_losses, settings.saving_share
        every = interval(job.estimate, between, expected_cost(job.recipe), share)
        await queries_dispatches.add_run(tx, job, every, min(job.estimate.memory_bytes, device_bytes))
        if await queries_dispatches.take_up(tx, job, now()):
            granted = await queries_leases.grant(tx, job.run_id, job.device_id, now())
    if granted is None:
        await queries_dispatches.forget_run(tx, job.run_id)
        await tx.tell(
            DispatchDeclined(tenant=job.tenant, at=now(), run_id=job.run_id, job_id=job.job_id, device_id=job.device_id)
        )
        tx.afterwards(wake.set)
        return
    await begin_attempt(tx, job.tenant, job.run_id, job.job_id, job.device_id, granted["fence"], granted["attempt"])
    tx.afterwards(wake.set)


@router.on(JobCancelled)
async def stop_run(job: JobCancelled, tx: Transaction, wake: Wake) -> None:
    """A job is not wanted any more: end its attempt, or the run at once when it holds no device."""
    await queries_dispatches.hold_job(tx, job.job_id)
    await queries_machines.note_job(tx, job)
    run = await queries.run_of_job(tx, job.job_id)
    if run is None and job.offer_id:
        await queries_dispatches.call_off(tx, job.tenant, job.job_id, job.offer_id)
    if run is None or run["state"] in run_states.FINAL:
        return
    happening: run_states.Happening = "stop_asked"
    state = run_states.after(run["state"], happening)
    if state is None:
        return
    await queries.ask_stop(tx, run["run_id"], state)
    if state == "cancelled":
        spent = await bill(tx, run["run_id"])
        await tx.tell(RunCancelled(tenant=job.tenant, at=now(), run_id=run["run_id"], job_id=job.job_id, **spent))
    tx.afterwards(wake.set)


@router.on(JobStopping)
async def let_go(order: JobStopping, tx: Transaction, wake: Wake) -> None:
    """A run has to let its device go: end its attempt after a save, or set the run aside at once when it holds none."""
    await queries_dispatches.hold_job(tx, order.job_id)
    run = await queries.run_of_job(tx, order.job_id)
    if run is None or run["offer_id"] != order.offer_id:
        return await queries_dispatches.call_off(tx, order.tenant, order.job_id, order.offer_id)
    state = run_states.after(run["state"], "pause_asked")
    if state is None:
        return None
    await queries.ask_pause(tx, run["run_id"], state, order.why)
    if state == "paused":
        await set_aside(tx, run, order.why, reached=0)
    tx.afterwards(wake.set)
    return None


@router.on(ModelDeleted)
async def let_checkpoints_go(fact: ModelDeleted, tx: Transaction, wake: Wake) -> None:
    """Somebody deleted what a run made: what it was made from step by step goes too."""
    await queries_checkpoints.set_unwanted(tx, fact.job_id)
    tx.afterwards(wake.set)


@router.answers(ListMachines, slow=True)
async def list_machines(asked: ListMachines, db: Database, presence: Presence) -> Machines:
    """Somebody wants to see the machines. They are everybody's; of the jobs on them only the asker's are named."""
    silent = presence.silent_for()
    async with db.across_tenants() as tx:
        rows = await queries_devices.machines(tx, asked.tenant, list(silent))
        coming = await queries_devices.coming(tx)
    devices = [{**row, "jobs": tuple(row["jobs"]), "heard_ago": silent.get(row["runner"])} for row in rows]
    return Machines(devices=tuple(Device(**each) for each in devices), coming=coming)


async def set_aside(tx: Transaction, run: Any, why: str, *, reached: int) -> None:
    """A run holds no device any more: tell where it goes on, and what of the ``reached`` steps it has to repeat."""
    saved = await queries_checkpoints.resumable(tx, run["run_id"])
    step = saved[0].step if saved else 0
    lost = max(0, reached - step)
    await queries.set_aside(tx, run["run_id"], now(), step=step, lost_steps=lost, interrupted=why == "preempt")
    await tx.tell(
        RunPaused(
            tenant=run["tenant"],
            at=now(),
            run_id=run["run_id"],
            job_id=run["job_id"],
            step=step,
            lost_steps=lost,
            why=why,
            **await bill(tx, run["run_id"]),
        )
    )


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
