"""Calls a customer's URL without being led inside: a name is resolved once, judged, and that address is connected to.

No redirect is followed, no proxy asked and no connection kept; the answer's status counts, and a few of its words.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx
from msgspec import Struct

from contracts.webhooks import Attempt
from libs.addresses import why_inner
from services.notifier.domain.notice import plain

SECONDS = 15.0
CONNECT_SECONDS = 5.0
MOST_BYTES = 4096
SHOWN = 200

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Called(Struct, frozen=True):
    """A call as it went; ``after`` is for how many seconds the other side asked to be left alone."""

    attempt: Attempt
    after: float = 0.0


class Inner(Exception):
    """The name leads to an address that is not called: why."""


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a name, the one to try first first."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Caller:
    """Makes calls. Tests give it a resolver, certificates to trust and a shorter patience."""

    def __init__(
        self,
        *,
        private_allowed: bool = False,
        resolve: Resolve = resolved,
        trusted: str | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._private_allowed = private_allowed
        self._resolve = resolve
        self._tls = ssl.create_default_context(cafile=trusted) if trusted else httpx.create_ssl_context()
        self._seconds = seconds

    async def post(self, url: str, body: str, headers: dict[str, str]) -> Called:
        """Post and say how it went; nothing that the other side does raises."""
        at, began = datetime.now(UTC), time.monotonic()
        status, said, after = 0, "", 0.0
        try:
            async with asyncio.timeout(self._seconds):
                status, said, after = await self._post(httpx.URL(url), body, headers)
        except TimeoutError:
            said = f"No whole answer came within {self._seconds:g} s."
        except socket.gaierror:
            said = f"The name {plain(httpx.URL(url).host)} leads to no address."
        except Inner as error:
            said = str(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            said = f"The connection failed ({_cause(error)})."
        milliseconds = round((time.monotonic() - began) * 1000)
        return Called(Attempt(at=at, status_code=status, milliseconds=milliseconds, said=said), after)

    async def _post(self, url: httpx.URL, body: str, headers: dict[str, str]) -> tuple[int, str, float]:
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._resolve(url.host, port)
        self._refuse_inner(url.host, addresses)
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, url, body, headers)
            except httpx.ConnectError:
                continue
        return await self._post_to(addresses[-1], url, body, headers)

    def _refuse_inner(self, host: str, addresses: list[str]) -> None:
        for address in addresses:
            if why := why_inner(address, private_allowed=self._private_allowed):
                raise Inner(f"{plain(host)} leads to {address}, which is not called: {why}.")

    async def _post_to(
        self, address: str, url: httpx.URL, body: str, headers: dict[str, str]
    ) -> tuple[int, str, float]:
        """Post to this very address; the name stays in the Host header, in SNI and in the certificate's check."""
        timeout = httpx.Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds))
        async with httpx.AsyncClient(verify=self._tls, timeout=timeout, trust_env=False) as client:
            request = client.build_request(
                "POST",
                url.copy_with(host=address),
                content=body.encode(),
                headers=headers | {"host": url.netloc.decode("ascii"), "connection": "close"},
                extensions={"sni_hostname": url.host},
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                said = (
                    "" if answer.is_success else f"It answered {answer.status_code}. {await _beginning(answer)}".strip()
                )
                return answer.status_code, said, _retry_after(answer)
            finally:
                await answer.aclose()


async def _beginning(answer: httpx.Response) -> str:
    """Return the first words of a refusal, as they came over the wire: nothing is unpacked."""
    read = b""
    async for chunk in answer.aiter_raw():
        read += chunk
        if len(read) >= MOST_BYTES:
            break
    return plain(read[:MOST_BYTES].decode(errors="replace"))[:SHOWN]


def _retry_after(answer: httpx.Response) -> float:
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and len(asked) < 9 else 0.0


def _cause(error: BaseException) -> str:
    """Name an error: certificates say what is wrong with them, the rest by its kind."""
    text = str(error)
    return plain(text)[:SHOWN] if "CERTIFICATE" in text else type(error).__name__
