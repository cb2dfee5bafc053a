"""What the evaluator reacts to: a finished run owes its proofs, and anybody may speak with a model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from contracts.chat import AskChat, ChatPiece
from contracts.evaluations import AskModel, ModelReplied
from contracts.runs import RunFinished
from libs.bus import Router
from libs.db import Database, Transaction
from services.evaluator import queries, releasing
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
    """Answer one prompt with both models of a finished job, once it is known to be served as trained."""
    model = await releasing.released(database, question.tenant, question.job_id, patience=8.0)
    return await asker.ask(model, question.prompt, question.max_tokens)


@router.streams(AskChat)
async def speak(question: AskChat, database: Database, asker: Asker) -> AsyncGenerator[ChatPiece]:
    """Continue a conversation, with a base model or with what a finished job made of it."""
    async with aclosing(with_signs_of_life(_spoken(question, database, asker))) as pieces:
        async for piece in pieces:
            yield piece


async def _spoken(question: AskChat, database: Database, asker: Asker) -> AsyncGenerator[ChatPiece]:
    model = await releasing.released(database, question.tenant, question.job_id) if question.job_id else None
    async with aclosing(asker.chat(question, model)) as pieces:
        async for piece in pieces:
            yield piece
