"""Another server of OpenAI's fine-tuning wire, read patiently: paged, and again when it is busy."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from services.cli.client import Advance, Json
from services.cli.errors import Problem, Refused, Unreachable, Unusable

T = TypeVar("T")

TRIES = 8
LONGEST_PAUSE = 60.0
PAGE = 100
BUSY = (408, 409, 425, 429)


class Source:
    """A connection to the server that is moved from; it is only ever read."""

    def __init__(
        self, url: str, key: str, transport: httpx.AsyncBaseTransport | None = None, pause: float = 1.0
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise Unusable(f"{url!r} is no address. Give one such as --from https://api.openai.com/v1.")
        self._pause = pause
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(30.0, read=150.0),
            transport=transport,
        )

    async def __aenter__(self) -> "Source":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def each(self, path: str) -> AsyncIterator[Json]:
        """Yield a list's objects, page by page."""
        after: str | None = None
        while True:
            params: dict[str, str | int] = {"limit": PAGE} | ({"after": after} if after else {})
            page = await self._json(path, params)
            found = page.get("data") or []
            for each in found:
                yield each
            if not page.get("has_more") or not found or found[-1].get("id") == after:
                return
            after = str(found[-1]["id"])

    async def fetch(self, file_id: str, size: int, target: Path, advance: Advance) -> str:
        """Download a file of ``size`` bytes and return its sha256; one that breaks off is begun again."""

        async def once() -> str:
            digest, got = hashlib.sha256(), 0
            try:
                async with self._http.stream("GET", f"/v1/files/{file_id}/content") as response:
                    await _check(response)
                    with target.open("wb") as file:
                        async for chunk in response.aiter_bytes():
                            file.write(chunk)
                            digest.update(chunk)
                            advance(len(chunk))
                            got += len(chunk)
                if got != size:
                    raise Later(Problem(status=200, detail=f"the other server sent {got} of its {size} bytes"), 0.0)
            except BaseException:
                advance(-got)
                raise
            return digest.hexdigest()

        return await patiently(once, self._pause)

    async def _json(self, path: str, params: dict[str, str | int]) -> Json:
        async def once() -> Json:
            response = await self._http.get(path, params=params)
            await _check(response)
            try:
                return msgspec.json.decode(response.content, type=Json)
            except msgspec.MsgspecError as error:
                raise Unusable(f"{self.url}{path} does not answer as OpenAI's wire does. Check --from.") from error

        return await patiently(once, self._pause)


class Later(Refused):
    """The server said: not now."""

    def __init__(self, problem: Problem, after: float) -> None:
        super().__init__(problem)
        self.after = after


async def patiently(act: Callable[[], Awaitable[T]], pause: float) -> T:
    """Do something that may be repeated until it works; raises what it said at the last of a few tries."""
    for attempt in range(TRIES):
        wait = min(pause * 2**attempt, LONGEST_PAUSE)
        try:
            return await act()
        except Later as error:
            last: Exception = error
            wait = min(max(wait, error.after), LONGEST_PAUSE)
        except httpx.TransportError as error:
            last = Unreachable(
                f"The connection broke ({str(error) or type(error).__name__}). Run the same again later."
            )
        except Refused as error:
            if error.problem.status not in BUSY and error.problem.status < 500:
                raise
            last = error
        except Unreachable as error:
            last = error
        if attempt < TRIES - 1:
            await asyncio.sleep(wait)
    raise last


async def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    said = _said(await response.aread())
    problem = Problem(status=response.status_code, detail=f"the other server answered {response.status_code}: {said}")
    if response.status_code in BUSY or response.status_code >= 500:
        raise Later(problem, _seconds(response.headers.get("retry-after", "")))
    raise Refused(problem)


def _said(body: bytes) -> str:
    try:
        said: Any = msgspec.json.decode(body)
        return str(said["error"]["message"])[:300]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return body[:300].decode(errors="replace").strip() or "nothing"


def _seconds(header: str) -> float:
    try:
        return max(float(header), 0.0)
    except ValueError:
        return 0.0
