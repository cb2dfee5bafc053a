"""Which failures of a reaction are over by themselves, and which are the fact's or the program's own."""

import asyncpg
import pytest

from libs.bus.consume import passes


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("two gateways"),
        asyncpg.SerializationError("two gateways"),
        asyncpg.AdminShutdownError("PostgreSQL is stopped"),
        asyncpg.CannotConnectNowError("PostgreSQL starts"),
        asyncpg.TooManyConnectionsError("PostgreSQL is full"),
        asyncpg.ConnectionDoesNotExistError("PostgreSQL was killed"),
        asyncpg.InternalClientError("PostgreSQL was killed"),
        asyncpg.InterfaceError("the pool is closing"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_over_by_itself_never_sets_a_fact_aside(error: Exception) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DataError("value out of int64 range"),
        asyncpg.UniqueViolationError("there already"),
        asyncpg.UndefinedColumnError("no such column"),
        KeyError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_fail_for_ever_is_set_aside(error: Exception) -> None:
    assert not passes(error)
