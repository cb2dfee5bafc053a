"""One edge to a provider's HTTP API: a deadline for each request, typed answers, and refusals as the house's errors."""

import asyncio
from typing import Any, TypeVar

import httpx
import msgspec

from libs.errors import Busy, Conflict, NotFound, Rejected

A = TypeVar("A")

DEADLINE = 20.0
AGAIN = 5.0
LONGEST_WORDS = 300


class Edge:
    """Requests to one API. ``name`` stands in every message; ``deadline`` is of a whole request, in seconds."""

    def __init__(self, name: str, base_url: str, *, deadline: float = DEADLINE, verify: Any = True) -> None:
        self.name = name
        self.deadline = deadline
        self._client = httpx.AsyncClient(base_url=base_url, timeout=deadline, verify=verify, follow_redirects=False)

    async def ask(self, into: type[A], method: str, path: str, *, bearer: str, body: Any = None, **query: str) -> A:
        """Return the answer as ``into``.

        ``NotFound`` on 404, ``Conflict`` on 409, ``Rejected`` on what will be refused again; ``Busy`` when there is no
        answer in time or none that can be understood, on 5xx, and on 429 with the seconds its ``Retry-After`` names.
        """
        words = f"{self.name}, asked to {method} {path},"
        try:
            async with asyncio.timeout(self.deadline):
                answer = await self._client.request(
                    method, path, json=body, params=query, headers={"authorization": f"Bearer {bearer}"}
                )
        except (httpx.TransportError, TimeoutError) as error:
            raise Busy(f"{words} did not answer ({type(error).__name__}).", after=AGAIN) from error
        if not answer.is_success:
            raise _refusal(f"{words} answered {answer.status_code}: {answer.text[:LONGEST_WORDS].strip()}", answer)
        try:
            return msgspec.json.decode(answer.content or b"{}", type=into)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Busy(f"{words} answered what cannot be understood: {error}", after=AGAIN) from error


def _refusal(words: str, answer: httpx.Response) -> Exception:
    match answer.status_code:
        case httpx.codes.NOT_FOUND:
            return NotFound(words)
        case httpx.codes.CONFLICT:
            return Conflict(words)
        case httpx.codes.REQUEST_TIMEOUT | httpx.codes.TOO_MANY_REQUESTS:
            return Busy(words, after=_retry_after(answer))
        case _:
            return Busy(words, after=_retry_after(answer)) if answer.is_server_error else Rejected(words)


def _retry_after(answer: httpx.Response) -> float:
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else AGAIN
