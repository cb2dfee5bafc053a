"""TLS for programs outside that subscribe to events: a door of its own, behind which the broker stays as it is.

The broker has one listener, for the platform's own programs too, and many clients speak TLS only where a server's first
words, in the clear, demand it: who sits between could leave that out and read the password. Here TLS comes before any
word. Event credentials alone get through; whether they hold the broker asks the gateway, as for everybody.
"""

import asyncio
import contextlib
import ssl
from urllib.parse import urlsplit

import structlog

from libs.bus.issuing import MOST_BYTES
from libs.errors import Rejected
from services.gateway.domain.greeting import REFUSAL, demanding_tls, of_an_outsider, payload_after
from services.gateway.settings import Settings

log = structlog.get_logger()

MOST_OPEN = 2000
HANDSHAKE, KNOCKING = 5.0, 5.0
"""Seconds to shake hands in, and to say who one is."""
FAREWELL = 1.0
NO_PASSWORD = ""
"""A key that wants one is refused; without this word OpenSSL would ask for it at the terminal and wait."""
RENEWED = 60.0
CHUNK = 65_536
BROKEN = (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError)

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class OuterDoor:
    """Opens where the settings say, nowhere if they say nothing; ``Rejected`` where they do not fit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._visits: set[asyncio.Task[None]] = set()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        broker = urlsplit(settings.nats_url.split(",")[0])
        self._broker = broker.hostname or "127.0.0.1", broker.port or 4222
        if settings.events_listen:
            self._read_certificate()

    async def run(self) -> None:
        """Let people in until cancelled."""
        if not self._settings.events_listen:
            return
        host, _, port = self._settings.events_listen.rpartition(":")
        try:
            door = await asyncio.start_server(
                self._knock, host.strip("[]"), int(port), ssl=self._tls, ssl_handshake_timeout=HANDSHAKE, limit=CHUNK
            )
        except (OSError, ValueError, OverflowError) as error:
            raise Rejected(
                f"WOODSHED_GATEWAY_EVENTS_LISTEN={self._settings.events_listen} cannot be listened on ({error}). "
                "Give an address of this machine and a free port, such as 0.0.0.0:4223.",
                code="bad_setting", field="events_listen",
            ) from error  # fmt: skip
        try:
            await self._renew()
        finally:
            door.close()
            for visit in self._visits:
                visit.cancel()
            await asyncio.gather(*self._visits, return_exceptions=True)

    async def _renew(self) -> None:
        """Show a renewed certificate within a minute; one that cannot be read changes nothing."""
        while True:
            await asyncio.sleep(RENEWED)
            try:
                self._read_certificate()
            except Rejected as error:
                log.warning("the certificate of events was not renewed", error=error.message)

    def _read_certificate(self) -> None:
        try:
            self._tls.load_cert_chain(
                self._settings.events_certificate, self._settings.events_key or None, password=NO_PASSWORD
            )
        except (OSError, ValueError) as error:
            raise Rejected(
                f"WOODSHED_GATEWAY_EVENTS_LISTEN is set, and no certificate could be read ({error}). "
                "Name the PEM files in WOODSHED_GATEWAY_EVENTS_CERTIFICATE and WOODSHED_GATEWAY_EVENTS_KEY.",
                code="bad_setting", field="events_certificate",
            ) from error  # fmt: skip

    def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has shaken hands: hear them, unless too many are here."""
        if len(self._visits) >= MOST_OPEN:
            writer.close()
            return
        visit = asyncio.create_task(self._visit((reader, writer)))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _visit(self, outside: Line) -> None:
        """Carry one program's words and the broker's until either is gone; what either does wrong ends only this."""
        try:
            await self._between(outside)
        except BROKEN as error:
            log.info("a program outside is gone", error=type(error).__name__)
        finally:
            await _hang_up(outside)

    async def _between(self, outside: Line) -> None:
        broker = await asyncio.open_connection(*self._broker)
        try:
            async with asyncio.timeout(KNOCKING):
                outside[1].write(demanding_tls(await broker[0].readline()))
                hello = of_an_outsider(await outside[0].readuntil(b"\r\n"))
            if hello is None:
                outside[1].write(REFUSAL)
                await outside[1].drain()
            else:
                broker[1].write(hello)
                await _carry(outside, broker)
        finally:
            broker[1].close()


async def _carry(outside: Line, broker: Line) -> None:
    """Pass everything on in both directions until one ends."""
    ways = [asyncio.create_task(each) for each in (_say(outside[0], broker[1]), _hear(broker[0], outside[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what a program says, line by line: nobody presents themselves a second time as somebody else."""
    with contextlib.suppress(*BROKEN):
        while True:
            line = await reader.readuntil(b"\n")
            if (size := payload_after(line)) is not None and size > MOST_BYTES:
                return
            writer.write(line)
            if size is not None:
                writer.write(await reader.readexactly(size + 2))
            await writer.drain()


async def _hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*BROKEN):
        while said := await reader.read(CHUNK):
            writer.write(said)
            await writer.drain()


async def _hang_up(line: Line) -> None:
    """Send what is still to be sent, and wait for nobody's farewell long."""
    line[1].close()
    try:
        async with asyncio.timeout(FAREWELL):
            await line[1].wait_closed()
    except BROKEN:
        line[1].transport.abort()
