"""Asking other services, within the deadline the contract gives each question."""

from collections.abc import AsyncGenerator
from typing import TypeVar

from contracts.base import Question
from contracts.catalogue import QUESTIONS
from libs.bus import Bus

A = TypeVar("A")

_DEADLINES = {asked.kind: asked.deadline for asked in QUESTIONS}


async def ask(bus: Bus, question: Question, answer: type[A]) -> A:
    """Return the answer; raises what the other service refused with, or ``Busy`` when none came in time."""
    return await bus.ask(question, answer, timeout=_DEADLINES[type(question)])


def stream(bus: Bus, question: Question, piece: type[A]) -> AsyncGenerator[A]:
    """Yield an answer that comes in pieces; raises as ``ask`` does, also between two of them."""
    return bus.stream(question, piece, silence=_DEADLINES[type(question)])
