"""The HTTP API as a few awaitable calls: requests, uploads, downloads that resume, and live events that resume.

Every failure becomes one of :mod:`services.cli.errors`.
"""

import asyncio
import hashlib
import io
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from services.cli.access import Access
from services.cli.errors import Refused, Unreachable, refusal

Json = dict[str, Any]
Advance = Callable[[int], None]

SILENCE = 45.0
PATIENCE = 300.0
TRIES = 3


class LiveEvent(Struct, frozen=True):
    """One event of a live stream. ``id`` is empty for measurements, which are never sent again."""

    id: str
    type: str
    data: bytes


class _Broken(Struct):
    """A bit of a told answer, as far as it says what broke it off."""

    error: object = None


class Api:
    """A connection to one Woodshed."""

    def __init__(self, access: Access, transport: httpx.AsyncBaseTransport | None = None, pause: float = 1.0) -> None:
        self.access = access
        self._pause = pause
        self._http = httpx.AsyncClient(
            base_url=access.url,
            headers={"Authorization": f"Bearer {access.key}"},
            timeout=httpx.Timeout(30.0, read=150.0),
            trust_env=not access.on_this_machine,
            transport=transport,
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **params: str | int) -> Json:
        """Read something; tried again when the connection breaks, since reading changes nothing."""
        return await self._repeated("GET", path, params=params)

    async def post(self, path: str, body: object = None, *, idempotency_key: str = "") -> Json:
        """Ask for something. One key goes with all tries, so that a broken connection makes no second one."""
        content = b"" if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return await self._repeated("POST", path, content=content, headers=headers)

    async def patch(self, path: str, body: object) -> Json:
        """Change something; sent once."""
        headers = {"Content-Type": "application/json"}
        return await self._json("PATCH", path, content=msgspec.json.encode(body), headers=headers)

    async def put(self, path: str, body: object) -> Json:
        """Set something; sent once."""
        headers = {"Content-Type": "application/json"}
        return await self._json("PUT", path, content=msgspec.json.encode(body), headers=headers)

    async def delete(self, path: str) -> Json:
        """Remove something."""
        return await self._json("DELETE", path)

    async def upload(self, path: Path, advance: Advance) -> Json:
        """Send a file; ``advance`` hears how many bytes went out."""
        with _Heard(path, advance) as file:
            form = {"file": (path.name, file)}
            return await self._json("POST", "/v1/files", data={"purpose": "fine-tune"}, files=form)

    async def send_part(self, path: str, piece: bytes) -> Json:
        """Send a part of an upload; one that is sent twice is two, of which only those named at the end count."""
        return await self._json("POST", path, files={"data": piece})

    async def download(self, path: str, target: Path, sha256: str, arrived: Advance) -> None:
        """Fetch a file to ``target``; one that broke off goes on where it stopped, and the whole is checked.

        ``arrived`` hears how many bytes lie here by now.
        """
        partial = target.with_name(target.name + ".partial")
        for attempt in range(TRIES):
            try:
                await self._fetch(path, partial, sha256, arrived)
                break
            except httpx.TransportError as error:
                if attempt == TRIES - 1:
                    raise self._unreachable(error) from error
        if sha256 and _sha256(partial) != sha256:
            partial.unlink()
            raise Unreachable(f"{target.name} arrived damaged and was thrown away. Run the same command again.")
        partial.replace(target)

    async def fetch(self, path: str, target: Path) -> None:
        """Fetch a small file whole; its entity tag, where it has one, is its sha256."""
        head = await self._send("GET", path)
        target.write_bytes(head.content)

    async def text(self, path: str) -> str:
        """Read a small text."""
        return (await self._send("GET", path)).text

    async def live(self, path: str, said: Callable[[str], None]) -> AsyncGenerator[LiveEvent]:
        """Yield a stream's events; when it breaks, ``said`` is told and it goes on after the last one with an id."""
        last, broken_since = "", 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async for event in self._events(path, last):
                    broken_since, last = 0.0, event.id or last
                    yield event
                reason = "the server ended it"
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            except Refused as error:
                if error.problem.status < 500:
                    raise
                reason = error.problem.detail
            if not broken_since:
                said(f"The live connection broke ({reason}); trying again. The job itself goes on.")
            broken_since = broken_since or clock()
            if clock() - broken_since > PATIENCE:
                raise Unreachable(f"{self.access.url} did not come back within {PATIENCE / 60:g} minutes.{self._how()}")
            await asyncio.sleep(self._pause)

    async def told(self, path: str, body: object) -> AsyncGenerator[bytes]:
        """Ask for what is told bit by bit, and yield each; never asked twice. A bit that says what broke is raised."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        content, timeout = msgspec.json.encode(body), httpx.Timeout(30.0, read=600.0)
        try:
            async with self._http.stream("POST", path, content=content, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    raise refusal(response.status_code, await response.aread())
                async for event in parse(response.aiter_lines()):
                    if event.data == b"[DONE]":
                        return
                    if msgspec.json.decode(event.data, type=_Broken).error:
                        raise refusal(503, event.data)
                    yield event.data
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    async def _events(self, path: str, last: str) -> AsyncIterator[LiveEvent]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = httpx.Timeout(30.0, read=SILENCE)
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                raise refusal(response.status_code, await response.aread())
            async for event in parse(response.aiter_lines()):
                yield event

    async def _fetch(self, path: str, partial: Path, sha256: str, arrived: Advance) -> None:
        have = partial.stat().st_size if partial.exists() and sha256 else 0
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{sha256}"'} if have else {}
        async with self._http.stream("GET", path, headers=headers) as response:
            if response.status_code == 416:
                return
            if not response.is_success:
                raise refusal(response.status_code, await response.aread())
            with partial.open("ab" if response.status_code == 206 else "wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    arrived(file.tell())

    async def _repeated(self, method: str, path: str, **given: Any) -> Json:
        for attempt in range(TRIES):
            try:
                return await self._json(method, path, **given)
            except Unreachable:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(self._pause / 4 * 2**attempt)
        raise AssertionError("unreachable")

    async def _json(self, method: str, path: str, **given: Any) -> Json:
        response = await self._send(method, path, **given)
        try:
            answer: Json = msgspec.json.decode(response.content, type=Json)
        except msgspec.MsgspecError as error:
            raise refusal(response.status_code, response.content) from error
        return answer

    async def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **given)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise refusal(response.status_code, response.content)
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        said = str(error) or type(error).__name__
        return Unreachable(f"Nobody answers at {self.access.url} ({said}).{self._how()}")

    def _how(self) -> str:
        if self.access.on_this_machine:
            return " Start Woodshed with `make up`, or name another one with --url or WOODSHED_URL."
        return " Check the address (--url or WOODSHED_URL) and the network."


class _Heard(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(path)
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._advance(len(data))
        return data


async def parse(lines: AsyncIterator[str]) -> AsyncIterator[LiveEvent]:
    """Read Server-Sent Events from their lines (WHATWG HTML, section 9.2.6); comments and retry hints say nothing."""
    identity, kind, data = "", "message", list[str]()
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield LiveEvent(identity, kind, "\n".join(data).encode())
            identity, kind, data = "", "message", []
        elif name == "id":
            identity = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
