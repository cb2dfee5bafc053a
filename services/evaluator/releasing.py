"""The gate before chats: a model must be served as it was trained, and who asks before that is known waits a little."""

import asyncio

import structlog

from contracts.evaluations import ServingCompared
from libs.db import Database
from libs.db.database import now
from libs.errors import Busy, Conflict, NotFound
from services.evaluator import queries
from services.evaluator.domain.serving import REMEDY, Compared, objection
from services.evaluator.queries import Held, Made, Released

log = structlog.get_logger()

PATIENCE = 60.0
"""Seconds a question waits for the comparison: a model is asked as soon as its training ends, and measured soon."""
LOOK = 0.5


async def decide(db: Database, held: Held, found: Compared) -> None:
    """Release a model or withhold it, once; what later attempts find changes nothing."""
    message = objection(found)
    async with db.transaction(held.tenant) as tx:
        if not await queries.set_served(tx, held, "differs" if message else "same", found.engine):
            return
        await tx.tell(
            ServingCompared(
                tenant=held.tenant,
                at=now(),
                evaluation_id=held.id,
                job_id=held.run.job_id,
                same=found.same,
                engine=found.engine,
                prompts=found.prompts,
                tokens=found.tokens,
                differing=found.differing,
                difference=found.difference,
                tolerance=found.tolerance,
                message=message,
                remedy=REMEDY if message else None,
            )
        )
    tell = log.warning if message else log.info
    tell("serving compared", same=found.same, engine=found.engine, difference=found.difference)


async def released(db: Database, tenant: str, job_id: str, patience: float = PATIENCE) -> Released:
    """Return a model that is served as it was trained.

    ``NotFound`` without one, ``Conflict`` when it is withheld, ``Busy`` when it is not known soon enough.
    """
    try:
        async with asyncio.timeout(patience):
            while (model := _judged(await _made(db, tenant, job_id))) is None:
                await asyncio.sleep(LOOK)
            return model
    except TimeoutError:
        raise Busy(
            "The model waits for the evaluator, which makes sure that it is served as it was trained. Ask again later.",
            after=15.0,
        ) from None


async def _made(db: Database, tenant: str, job_id: str) -> Made:
    async with db.transaction(tenant) as tx:
        made = await queries.run_of_job(tx, tenant, job_id)
    if made is None:
        raise NotFound(f"No finished job {job_id} is known here. Check the id, or wait until its training has ended.")
    return made


def _judged(made: Made) -> Released | None:
    """Return a released model, and none as long as nothing is known."""
    if made.served == "differs":
        raise Conflict(
            "The chat engine does not answer as this model did where it was trained, so it is not served.",
            code="served_differs",
            fix=REMEDY.sentence,
        )
    if made.served:
        return made.model
    if made.failure and made.failure.reason == "not_found":
        raise NotFound(made.failure.message)
    if made.failure:
        raise Conflict(
            f"Nobody could make sure that this model is served as it was trained, so it is not served: "
            f"{made.failure.message}",
            code="not_compared",
            fix="Its adapter can be downloaded. Mend what the message names and train again.",
        )
    return None
