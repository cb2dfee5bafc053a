"""What the evaluator reacts to: a finished run owes its proofs, and anybody may speak with a model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from contracts.chat import AskChat, ChatPiece
from contracts.evaluations import AskModel, ModelReplied
from contracts.runs import RunFinished
from libs.bus import Router
from libs.db import Database, Transaction
from libs.errors import NotFound
from services.evaluator import queries
from services.evaluator.asking import Asker, with_signs_of_life
from services.evaluator.domain.owed import evaluation_id, suites_owed

router = Router("evaluator")


@router.on(RunFinished)
async def owe_proofs(run: RunFinished, tx: Transaction, wake: asyncio.Event) -> None:
    """A trained adapter owes its proofs: decide which, and queue them."""
    await queries.add(tx, evaluation_id(run.run_id), run, suites_owed(run))
    tx.afterwards(wake.set)


@router.answers(AskModel, slow=True)
async def reply(question: AskModel, database: Database, asker: Asker) -> ModelReplied:
    """Answer one prompt with both models of a finished job."""
    return await asker.ask(await _run_of(database, question), question.prompt, question.max_tokens)


@router.streams(AskChat)
async def speak(question: AskChat, database: Database, asker: Asker) -> AsyncGenerator[ChatPiece]:
    """Continue a conversation, with a base model or with what a finished job made of it."""
    run = await _run_of(database, question) if question.job_id else None
    async with aclosing(with_signs_of_life(asker.chat(question, run))) as pieces:
        async for piece in pieces:
            yield piece


async def _run_of(database: Database, question: AskModel | AskChat) -> RunFinished:
    async with database.transaction(question.tenant) as tx:
        run = await queries.run_of_job(tx, question.tenant, question.job_id)
    if run is None:
        raise NotFound(
            f"No finished job {question.job_id} is known here. Check the id, or wait until its training has ended."
        )
    return run
