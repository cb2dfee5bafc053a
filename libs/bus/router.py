"""The table of contents of a service: which fact or question goes to which function.

A handler takes the fact and a transaction; further parameters are given by name from
``resources``, which the service's ``app.py`` fills. One fact is one transaction.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from contracts.base import Event, Question, type_of

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
G = TypeVar("G", bound=Callable[..., AsyncGenerator[Any]])


class Reaction(Struct, frozen=True):
    """A handler of one kind of fact. ``across_tenants``: its transaction sees every tenant's rows."""

    kind: type[Event]
    handler: Callable[..., Awaitable[Any]]
    across_tenants: bool
    needs: tuple[str, ...]


class Answer(Struct, frozen=True):
    """A handler of one kind of question. ``slow``: it takes the database and opens short transactions of its own.

    A ``streamed`` one is slow and an async generator: it yields its answer in pieces.
    """

    kind: type[Question]
    handler: Callable[..., Any]
    slow: bool
    needs: tuple[str, ...]
    streamed: bool = False


class Router:
    """Collects the handlers of one service."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.reactions: dict[str, Reaction] = {}
        self.answers_to: dict[str, Answer] = {}
        self.resources: dict[str, object] = {}

    def on(self, *kinds: type[Event], across_tenants: bool = False) -> Callable[[F], F]:
        """React to these facts, each in a transaction of the fact's tenant."""

        def register(handler: F) -> F:
            for kind in kinds:
                self._refuse_twice(type_of(kind), self.reactions)
                self.reactions[type_of(kind)] = Reaction(kind, handler, across_tenants, _needs(handler))
            return handler

        return register

    def answers(self, kind: type[Question], slow: bool = False) -> Callable[[F], F]:
        """Answer this question, in a transaction of the asker's tenant.

        An answer that takes seconds is ``slow``: it is given the database instead, so that it holds no connection
        while it works, and others are answered meanwhile.
        """

        def register(handler: F) -> F:
            self._refuse_twice(type_of(kind), self.answers_to)
            self.answers_to[type_of(kind)] = Answer(kind, handler, slow, _needs(handler))
            return handler

        return register

    def streams(self, kind: type[Question]) -> Callable[[G], G]:
        """Answer this question in pieces, as they are yielded; the handler is closed when nobody reads any more."""

        def register(handler: G) -> G:
            self._refuse_twice(type_of(kind), self.answers_to)
            self.answers_to[type_of(kind)] = Answer(kind, handler, True, _needs(handler), streamed=True)
            return handler

        return register

    def given(self, needs: tuple[str, ...]) -> dict[str, object]:
        """Return the resources a handler asked for by name."""
        return {name: self.resources[name] for name in needs}

    def _refuse_twice(self, tag: str, table: dict[str, Any]) -> None:
        if tag in table:
            raise ValueError(f"{self.service} has two handlers for {tag}")


def _needs(handler: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(handler).parameters)[2:]
