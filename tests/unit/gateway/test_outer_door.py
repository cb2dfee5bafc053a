"""The outer door, before a stand-in of the broker: TLS before any word, and nobody of the inside gets through."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from libs.embedded.home import free_port
from libs.errors import Rejected
from libs.testing.certificates import certified
from services.gateway import outer_door
from services.gateway.outer_door import OuterDoor
from services.gateway.settings import Settings

PEPPER = "a pepper of at least thirty-two characters"
INFO = b'INFO {"server_id":"N","version":"2.15.1","headers":true,"max_payload":1000,"host":"127.0.0.1","port":4222}\r\n'


class Broker:
    """Greets whoever comes and answers pings; ``heard`` is every line that reached it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.left = asyncio.Event()

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        with suppress(ConnectionError):
            while line := await reader.readline():
                self.heard.append(line)
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        self.left.set()
        writer.close()


@asynccontextmanager
async def door(folder: Path, **changes: Any) -> AsyncIterator[tuple[Broker, int]]:
    """Open a door before a broker; yields the broker and the door's port."""
    certified(folder, "localhost")
    broker, port = Broker(), free_port()
    behind = await asyncio.start_server(broker.visit, "127.0.0.1", 0)
    settings = Settings(
        key_pepper=PEPPER,
        nats_url=f"nats://127.0.0.1:{behind.sockets[0].getsockname()[1]}",
        events_listen=f"127.0.0.1:{port}",
        events_certificate=str(folder / "cert.pem"),
        events_key=str(folder / "key.pem"),
        **changes,
    )
    opened = asyncio.create_task(OuterDoor(settings).run())
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
    try:
        yield broker, port
    finally:
        opened.cancel()
        with suppress(asyncio.CancelledError):
            await opened
        behind.close()


async def enter(port: int, tls: ssl.SSLContext, user: str) -> Client:
    nc = Client()
    await nc.connect(
        f"tls://localhost:{port}", user=user, password="secret", tls=tls, tls_handshake_first=True,
        allow_reconnect=False, connect_timeout=20, error_cb=_nothing,
    )  # fmt: skip
    return nc


async def _nothing(error: Exception) -> None:
    pass


async def test_tls_comes_before_any_word_and_event_credentials_alone_get_through(tmp_path: Path) -> None:
    async with asyncio.timeout(60), door(tmp_path) as (broker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'CONNECT {"user": "events-0"}\r\nPING\r\n')
        assert b"INFO" not in await reader.read()
        writer.close()
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            await enter(port, ssl.create_default_context(), "events-0")
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        with pytest.raises(NatsError, match="Authorization"):
            await enter(port, trusting, "scheduler")
        assert broker.heard == []
        nc = await enter(port, trusting, "events-0")
        assert [line.split(b" ")[0].strip() for line in broker.heard] == [b"CONNECT", b"PING"]
        assert b'"tls_required"' not in broker.heard[0]
        await nc.publish("missed.studio.events-0", b"{}")
        await nc.flush()
        assert b"PUB missed.studio.events-0" in b"".join(broker.heard)
        broker.left.clear()
        broker.heard.clear()
        await nc._send_command(b'CONNECT {"user": "scheduler", "pass": "secret"}\r\n', priority=True)
        await nc._flush_pending()
        await broker.left.wait()
        assert not any(line.startswith(b"CONNECT") for line in broker.heard)


async def test_whoever_is_in_is_hung_up_on_when_the_door_closes(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with door(tmp_path) as (_, port):
            nc = await enter(port, ssl.create_default_context(cafile=tmp_path / "cert.pem"), "events-0")
        while nc.is_connected:
            await asyncio.sleep(0.01)


async def test_who_says_nothing_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as hurried:
        hurried.setattr(outer_door, "HANDSHAKE", 0.2)
        async with asyncio.timeout(60), door(tmp_path) as (_, port):
            reader, _ = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b"", "no handshake"
    monkeypatch.setattr(outer_door, "KNOCKING", 0.2)
    async with asyncio.timeout(60), door(tmp_path) as (broker, port):
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        reader, _ = await asyncio.open_connection("localhost", port, ssl=trusting)
        with suppress(ConnectionError):
            await reader.read()
        assert broker.heard == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"events_certificate": "nowhere.pem"}, "events_certificate"), ({"events_listen": "nowhere"}, "events_listen")],
)
async def test_settings_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, str], field: str) -> None:
    certified(tmp_path, "localhost")
    given = {"events_listen": "127.0.0.1:0", "events_certificate": str(tmp_path / "cert.pem")}
    given |= {"events_key": str(tmp_path / "key.pem")}
    with pytest.raises(Rejected) as refused:
        await OuterDoor(Settings(key_pepper=PEPPER, **(given | changes))).run()
    assert (refused.value.code, refused.value.field) == ("bad_setting", field)
