"""What a report does that can be true and whose fence holds: rows and facts, in the transaction it was checked in.

A repeated report finds its effect done and changes nothing.
"""

from typing import Any

import msgspec

from contracts.recipes import Recipe
from contracts.runs import (
    CheckpointCommitted,
    RunFinished,
    RunRecovered,
    RunRemarked,
    RunStageReached,
    RunStarted,
)
from libs.db import Transaction
from libs.db.database import now
from services.trainer import queries, queries_checkpoints, queries_leases, queries_machines
from services.trainer.domain import budget, run_states
from services.trainer.domain.classifying import classified
from services.trainer.domain.failures import evidence_of
from services.trainer.domain.recovery import PREEMPTED, Backoff
from services.trainer.facts import of_run
from services.trainer.line import Broken, Done, Halted, Quarantined, Reached, Remark, Report, Uploaded
from services.trainer.losses import cancelled, lose, stopped

LONGEST_REMARK = 500


async def apply(tx: Transaction, run: Any, said: Report, backoff: Backoff, rate: float) -> None:
    """Take what a runner said of the attempt that ``run`` is now, its row locked."""
    match said.what:
        case Reached():
            await _reached(tx, run, said.what)
        case Uploaded():
            await _uploaded(tx, run, said.what)
        case Quarantined():
            await queries_checkpoints.quarantine(tx, run["run_id"], said.what)
        case Remark():
            await _remarked(tx, run, said.what)
        case Done():
            await _done(tx, run, said.what, rate)
        case Halted():
            await _halted(tx, run, said.what, backoff)
        case Broken():
            await _broke(tx, said.fence, said.what, backoff)


async def _reached(tx: Transaction, run: Any, what: Reached) -> None:
    state = run_states.after(run["state"], "child_up")
    if state:
        await queries.set_state(tx, run["run_id"], state)
    if not run["told_started"]:
        await tx.tell(of_run(RunStarted, run, device_id=run["device_id"], fence=run["fence"]))
        await queries.set_started(tx, run["run_id"])
    await tx.tell(of_run(RunStageReached, run, stage=what.stage))
    if what.stage == "training" and run["interrupted_at"]:
        seconds = max(0.0, (now() - run["interrupted_at"]).total_seconds())
        lost = await queries.add_lost(tx, run["run_id"], seconds=0.0 if run["stop_why"] == "pause" else seconds)
        await tx.tell(
            of_run(
                RunRecovered,
                run,
                fence=run["fence"],
                step=what.step,
                seconds=seconds,
                interruptions=run["interruptions"],
                lost_steps=lost["lost_steps"],
                lost_seconds=lost["lost_seconds"],
            )
        )
        await queries.set_recovered(tx, run["run_id"])


async def _uploaded(tx: Transaction, run: Any, what: Uploaded) -> None:
    if not await queries_checkpoints.add(tx, run["run_id"], run["fence"], what, now()):
        return
    await queries.set_fruitful(tx, run["run_id"], what.step)
    await tx.tell(
        of_run(
            CheckpointCommitted,
            run,
            fence=run["fence"],
            step=what.step,
            uri=what.uri,
            size=what.size,
            sha256=what.sha256,
        )
    )


async def tell_spending(tx: Transaction, run: Any, cost: float, step: int, total: int) -> None:
    """Tell how much of a run's budget is spent, each threshold once."""
    for code in budget.reached(run["budget"], cost):
        message = budget.sentence(run["budget"], cost, step, total)
        await _remarked(tx, run, Remark(step=step, code=code, level="warn", message=message))


async def _remarked(tx: Transaction, run: Any, what: Remark) -> None:
    once = 0 if what.code in budget.CODES else what.step
    if await queries.add_remark(tx, run, what.code, once):
        message = what.message[:LONGEST_REMARK]
        await tx.tell(of_run(RunRemarked, run, step=what.step, code=what.code, level=what.level, message=message))


async def _done(tx: Transaction, run: Any, what: Done, rate: float) -> None:
    state = run_states.after(run["state"], "adapter_stored")
    await queries_leases.end_lease(tx, run["fence"], now(), "done")
    if state != "succeeded":
        return await cancelled(tx, run)
    await queries.set_state(tx, run["run_id"], state)
    cost = await queries_machines.cost(tx, run["run_id"], now(), rate)
    await tell_spending(tx, run, cost, what.steps, run["steps"])
    recipe = msgspec.json.decode(run["recipe"], type=Recipe)
    rented_seconds, rent = await queries_machines.rented(tx, run["run_id"], now())
    await tx.tell(
        of_run(
            RunFinished,
            run,
            fence=run["fence"],
            base_model=recipe.base_model,
            dataset_id=run["dataset_id"],
            dataset_digest=run["dataset_digest"],
            dataset_uri=run["dataset_uri"],
            adapter_uri=what.adapter_uri,
            sha256=what.sha256,
            size=what.size,
            steps=what.steps,
            tokens=what.tokens,
            trained_tokens=what.trained_tokens,
            device_seconds=await queries_leases.device_seconds(tx, run["run_id"], now()),
            train_seconds=what.train_seconds,
            memory_bytes=what.memory_bytes,
            train_loss=what.train_loss,
            eval_loss=what.eval_loss,
            interruptions=run["interruptions"],
            pauses=run["pauses"],
            lost_steps=run["lost_steps"],
            lost_seconds=run["lost_seconds"],
            rented_seconds=rented_seconds,
            rent=rent,
            seed=recipe.seed,
            objective=recipe.objective,
            quantization=recipe.quantization,
        )
    )
    return None


async def _halted(tx: Transaction, run: Any, what: Halted, backoff: Backoff) -> None:
    """It stopped when asked. If nobody here asked, the machine is going away: go on elsewhere."""
    if run["state"] not in ("stopping", "pausing"):
        evidence = f"the machine asked its processes to end; {evidence_of(what.exit_code, what.stderr)}"
        return await lose(tx, run["fence"], PREEMPTED, evidence, what, backoff)
    await queries_leases.end_lease(tx, run["fence"], now(), "stopped")
    await stopped(tx, run)
    return None


async def _broke(tx: Transaction, fence: int, what: Broken, backoff: Backoff) -> None:
    """Find out what it was; the child's own sentence is kept only where it named the kind itself.

    What was killed because its machine leaves needs no finding out.
    """
    killed = what.killed_for_memory
    kind = what.kind
    if kind != PREEMPTED:
        kind = classified(kind, what.exit_code, what.stderr, what.message, killed_for_memory=killed)
    evidence = evidence_of(what.exit_code, f"{what.stderr}\n{what.message}", killed_for_memory=killed)
    kept = what if kind == what.kind else msgspec.structs.replace(what, message="")
    await lose(tx, fence, kind, evidence, kept, backoff)
