"""Carries a request out once and gives its repetitions the same answer.

The key is taken in the request's own transaction: a repetition that comes while the first is
under way waits for it, and one whose first was rolled back is the first.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from libs.db import Transaction
from libs.errors import Rejected
from services.gateway.domain.repeats import Claim
from services.gateway.queries import once as queries

T = TypeVar("T", bound=msgspec.Struct)


async def once(tx: Transaction, claim: Claim | None, kind: type[T], carry_out: Callable[[], Awaitable[T]]) -> T:
    """Return the answer given before under this claim, or carry the request out and keep its answer."""
    if claim is None:
        return await carry_out()
    await queries.forget_old(tx)
    before = await _answered(tx, claim)
    if before is not None:
        return msgspec.json.decode(before, type=kind)
    answer = await carry_out()
    await queries.set_answer(tx, claim.key, msgspec.json.encode(answer))
    return answer


async def _answered(tx: Transaction, claim: Claim) -> bytes | None:
    if claim.anew:
        await queries.reclaim(tx, claim.key, claim.fingerprint)
        return None
    if await queries.claim(tx, claim.key, claim.fingerprint):
        return None
    given = await queries.given(tx, claim.key, claim.within)
    if given["fingerprint"] != claim.fingerprint:
        raise Rejected(
            "This Idempotency-Key was used for another request. Send a new key, or the same body again.",
            code="idempotency_key_reused",
            field="Idempotency-Key",
        )
    if given["fresh"] and given["answer"] is not None:
        answer: bytes = given["answer"]
        return answer
    await queries.reclaim(tx, claim.key, claim.fingerprint)
    return None
