"""An attempt is over without a result: its device is free, and the run goes on elsewhere, waits, ends or fails.

What is to be done is decided in ``domain/recovery``; here it is written and told.
"""

from datetime import timedelta
from typing import Any

import msgspec

from contracts.recipes import Recipe
from contracts.runs import RunCancelled, RunFailed, RunInterrupted
from libs.db import Transaction
from libs.db.database import now
from services.trainer import queries, queries_checkpoints, queries_leases
from services.trainer.bills import bill
from services.trainer.domain.failures import Failure
from services.trainer.domain.recovery import PREEMPTED, Backoff, GoOn, History, after_loss, is_hopeless
from services.trainer.domain.remedies import with_settings
from services.trainer.facts import of_run
from services.trainer.handlers import set_aside
from services.trainer.line import Broken, Halted
from services.trainer.training.hardware import tokens_for


async def lose(
    tx: Transaction, fence: int, kind: str, evidence: str, what: Broken | Halted | None, backoff: Backoff
) -> None:
    """An attempt is over without a result: free its device, then go on or give up."""
    run = await queries_leases.holder(tx, fence)
    if run is None:
        return None
    await queries_leases.end_lease(tx, fence, now(), "lost")
    if kind == "lost_worker" and run["leaving"]:
        kind = PREEMPTED
    reached = max(run["step"], what.step if what else 0)
    if run["state"] == "stopping" or (run["state"] == "pausing" and not is_hopeless(kind)):
        return await stopped(tx, run, reached)
    losses: dict[str, int] = msgspec.json.decode(run["losses"])
    history = History(
        losses=losses,
        barren=run["barren"],
        micro_tokens=run["micro_tokens"] or tokens_for(run["torch_device"]),
        run_id=run["run_id"],
    )
    message = what.message if isinstance(what, Broken) else ""
    verdict = after_loss(kind, evidence, message, history, backoff)
    if isinstance(verdict, Failure):
        return await _failed(tx, run, kind, verdict)
    await _interrupted(tx, run, verdict, losses, evidence, reached)
    return None


async def stopped(tx: Transaction, run: Any, reached: int = 0) -> None:
    """The device is free as was asked: the run is over, or waits."""
    if run["state"] == "pausing":
        await set_aside(tx, run, run["stop_why"], reached=reached)
    else:
        await cancelled(tx, run)


async def cancelled(tx: Transaction, run: Any) -> None:
    """The run is over because nobody wants it any more."""
    await queries.set_state(tx, run["run_id"], "cancelled")
    await tx.tell(of_run(RunCancelled, run, **await bill(tx, run["run_id"])))


async def _interrupted(
    tx: Transaction, run: Any, verdict: GoOn, losses: dict[str, int], evidence: str, reached: int
) -> None:
    losses[verdict.cause] = losses.get(verdict.cause, 0) + 1
    saved = await queries_checkpoints.resumable(tx, run["run_id"])
    resume = saved[0].step if saved else 0
    lost_steps = max(0, reached - resume)
    at = now()
    await queries.lose(
        tx,
        run["run_id"],
        "recovering",
        barren=int(verdict.barren),
        micro_tokens=verdict.micro_tokens if verdict.cause == "out_of_memory" else run["micro_tokens"],
        losses=msgspec.json.encode(losses).decode(),
        at=at,
        not_before=at + timedelta(seconds=verdict.wait) if verdict.wait else None,
        step=resume,
    )
    await queries.add_lost(tx, run["run_id"], steps=lost_steps)
    await tx.tell(
        of_run(
            RunInterrupted,
            run,
            fence=run["fence"],
            cause=verdict.cause,
            evidence=evidence,
            step=resume,
            lost_steps=lost_steps,
            wait_seconds=verdict.wait,
        )
    )


async def _failed(tx: Transaction, run: Any, kind: str, failure: Failure) -> None:
    await queries.set_state(tx, run["run_id"], "failed")
    recipe = msgspec.json.decode(run["recipe"], type=Recipe)
    await tx.tell(
        of_run(
            RunFailed,
            run,
            reason=failure.reason,
            evidence=failure.evidence,
            message=failure.message,
            fix=failure.fix,
            remedy=with_settings(kind, failure.remedy, recipe),
            **await bill(tx, run["run_id"]),
        )
    )
