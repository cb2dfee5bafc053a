"""Programs outside hear their organisation's facts on a real NATS server, those they missed too, and nothing else."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from contracts.jobs import JobQueued
from libs.embedded.home import free_port
from libs.testing.certificates import certified
from libs.testing.platform import World
from tests.integration.gateway.conftest import Gateway, Story, listening

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/how-to/subscribe-to-events.md").read_text()
PATH = "/v1/event_credentials"
PROGRAMS = {
    "python": ([sys.executable, "-u", "-c"], "import nats"),
    "js": (["node", "-e"], "require.resolve('@nats-io/transport-node')"),
}
"""How to run each program of the page, and what works only where its client is installed."""


async def made(gateway: Gateway, name: str = "billing", **more: Any) -> dict[str, Any]:
    response = await gateway.http.post(PATH, json={"name": name} | more)
    assert response.status_code == 201, response.text
    return dict(response.json())


class Outsider:
    """A program with credentials, and everything the server said to it."""

    def __init__(self, credentials: dict[str, Any], patience: int = 20) -> None:
        self.credentials = credentials
        self.patience = patience
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.refused: asyncio.Queue[str] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.nc = Client()

    async def _refuse(self, error: Exception) -> None:
        self.refused.put_nowait(str(error))

    async def _go(self) -> None:
        self.gone.set()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Outsider"]:
        await self.nc.connect(
            self.credentials["servers"],
            user=self.credentials["user"],
            password=self.credentials["password"],
            inbox_prefix=self.credentials["inbox_prefix"],
            connect_timeout=self.patience,
            allow_reconnect=False,
            error_cb=self._refuse,
            disconnected_cb=self._go,
            closed_cb=self._go,
        )
        try:
            yield self
        finally:
            await self.nc.close()

    async def missed(self, **question: Any) -> dict[str, Any]:
        reply = await self.nc.request(self.credentials["missed"], json.dumps(question).encode(), timeout=60)
        return dict(json.loads(reply.data))

    async def next(self) -> Any:
        async with asyncio.timeout(60):
            return await self.heard.get()

    async def is_refused(self, words: str) -> None:
        """Wait until the server has said no, with these words."""
        async with asyncio.timeout(60):
            while words.lower() not in (await self.refused.get()).lower():
                pass


async def test_a_program_hears_its_own_organisation_live_and_what_it_missed(gateway: Gateway) -> None:
    outsider, story = Outsider(await made(gateway)), Story({"id": "ftjob-1", "woodshed": {"dataset": "ds-1"}})
    theirs = Story({"id": "ftjob-9", "woodshed": {"dataset": "ds-9"}}, tenant="rival")
    async with outsider.connected() as here:
        start = (await here.missed())["last"]
        await here.nc.subscribe(here.credentials["subject"], cb=here.heard.put)
        await here.nc.flush()
        await gateway.world.tell(theirs.queued())
        told = await gateway.world.tell(story.queued())
        live = await here.next()
        assert (live.subject, live.headers["ce-id"]) == ("evt.studio.job.ftjob-1.queued", told)
    await gateway.world.tell(theirs.dispatched())
    await gateway.world.tell(story.dispatched())
    again = Outsider(outsider.credentials)
    async with again.connected() as here:
        found = await here.missed(after=start, wait=20)
        while len(found["facts"]) < 2:
            more = await here.missed(after=found["last"], wait=20)
            found = more | {"facts": found["facts"] + more["facts"]}
        assert [each["type"] for each in found["facts"]] == ["job.queued.v1", "job.dispatched.v1"]
        assert found["facts"][0]["id"] == told
        assert all(each["data"]["tenant"] == "studio" for each in found["facts"])
        one = await here.missed(after=start, limit=1)
        assert ([each["id"] for each in one["facts"]], one["more"]) == ([told], True)
        waiting = asyncio.create_task(here.missed(after=found["last"], wait=20))
        await gateway.world.tell(story.succeeded())
        assert [each["type"] for each in (await waiting)["facts"]] == ["job.succeeded.v1"]
        assert (await here.missed(after=-1))["code"] == "bad_question"
    assert outsider.heard.empty()
    [shown] = (await gateway.http.get(PATH)).json()["data"]
    assert shown["connected_at"]
    assert outsider.credentials["password"] not in str(shown)


async def test_credentials_reach_nothing_but_their_own(gateway: Gateway) -> None:
    outsider, other = Outsider(await made(gateway)), await made(gateway, "another")
    js = gateway.world.js
    before = (await js.stream_info("EVENTS")).state.last_seq
    user = outsider.credentials["user"]
    async with outsider.connected() as here:
        for subject in (
            ">",
            "evt.>",
            "evt.rival.>",
            "tel.studio.>",
            "_INBOX.>",
            f"{other['inbox_prefix']}.>",
            "$SYS.>",
        ):
            await here.nc.subscribe(subject)
            await here.is_refused(f'subscription to "{subject}"')
        for subject in (
            "evt.studio.job.ftjob-1.queued",
            "dead.gateway.x",
            "trainer.control.hello",
            other["missed"],
            "$JS.API.STREAM.INFO.EVENTS",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.STREAM.DELETE.EVENTS",
            "$JS.API.CONSUMER.CREATE.EVENTS",
            "$JS.API.CONSUMER.DELETE.EVENTS.gateway",
            "$JS.API.CONSUMER.MSG.NEXT.EVENTS.gateway",
            "$JS.ACK.EVENTS.gateway.1.1.1.1.0",
            "$SYS.REQ.USER.AUTH",
            "$SYS.REQ.SERVER.PING.CONNZ",
        ):
            await here.nc.publish(subject, b"{}")
            await here.is_refused(f'publish to "{subject}"')
        for elsewhere in ("evt.rival.job.ftjob-1.queued", f"{other['inbox_prefix']}.x", "evt.studio.job.x.queued"):
            await here.nc.publish(here.credentials["missed"], b"{}", reply=elsewhere)
        assert (await here.missed())["last"] == before, "an answer was led into the stream"
    wrong = outsider.credentials | {"password": other["password"]}
    for credentials in (
        wrong,
        wrong | {"user": "scheduler"},
        wrong | {"user": "nobody"},
        wrong | {"user": user.upper()},
    ):
        with pytest.raises(NatsError, match="Authorization"):
            async with Outsider(credentials).connected():
                pass


async def test_revoked_credentials_let_nobody_in_and_show_out_who_is(gateway: Gateway) -> None:
    outsider, stays = Outsider(await made(gateway)), Outsider(await made(gateway, "stays", expires_in=3600))
    async with stays.connected():
        async with outsider.connected():
            revoked = (await gateway.http.delete(f"{PATH}/{outsider.credentials['user']}")).json()
            assert revoked["revoked_at"]
            async with asyncio.timeout(60):
                await outsider.gone.wait()
        with pytest.raises(NatsError, match="Authorization"):
            async with Outsider(outsider.credentials).connected():
                pass
        assert stays.nc.is_connected
        assert not stays.gone.is_set()
    brief = await made(gateway, "brief", expires_in=1)
    async with asyncio.timeout(60):
        while True:
            try:
                async with Outsider(brief).connected() as late:
                    await late.gone.wait()
            except NatsError:
                break
    entries = (await gateway.http.get("/v1/audit")).json()["data"]
    assert [each["action"] for each in entries if each["about"] == outsider.credentials["user"]] == [
        "event_credential.revoked",
        "event_credential.made",
    ]


async def test_credentials_end_with_their_key_and_with_their_member(gateway: Gateway) -> None:
    member = (await gateway.http.post("/v1/members", json={"name": "Eve", "role": "engineer"})).json()["id"]
    wish = {"name": "for a while", "member": member, "expires_in": 3600}
    key = (await gateway.http.post("/v1/keys", json=wish)).json()["key"]
    async with httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}) as eve:
        longer = await eve.post(PATH, json={"name": "longer", "expires_in": 7200})
        assert (longer.status_code, longer.json()["code"]) == (403, "key_too_long")
        credentials = (await eve.post(PATH, json={"name": "hers"})).json()
    assert credentials["credential"]["expires_at"] - credentials["credential"]["created_at"] <= 3600
    async with Outsider(credentials).connected() as hers:
        assert (await gateway.http.delete(f"/v1/members/{member}")).status_code == 200
        async with asyncio.timeout(60):
            await hers.gone.wait()
    with pytest.raises(NatsError, match="Authorization"):
        async with Outsider(credentials).connected():
            pass


async def test_the_platform_comes_in_and_works_while_nobody_answers_for_outsiders(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path) as gateway:
        credentials = await made(gateway)
    scheduler = await world.platform("scheduler")
    assert scheduler.bus.connected
    await world.tell(Story({"id": "ftjob-1", "woodshed": {"dataset": "ds-1"}}).queued())
    assert len(await world.told(JobQueued)) == 1
    with pytest.raises((NatsError, TimeoutError)):
        async with Outsider(credentials, patience=2).connected():
            pass


def runs(command: list[str]) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True, check=False).returncode


@asynccontextmanager
async def with_outer_door(world: World, folder: Path) -> AsyncIterator[Gateway]:
    """Run a gateway that lets programs in over TLS, with a certificate that ``folder/cert.pem`` vouches for."""
    certified(folder, "localhost")
    async with listening(
        world,
        folder,
        events_listen=f"127.0.0.1:{(port := free_port())}",
        events_certificate=str(folder / "cert.pem"),
        events_key=str(folder / "key.pem"),
        events_url=f"tls://localhost:{port}",
    ) as gateway:
        yield gateway


@pytest.mark.parametrize("language", PROGRAMS)
async def test_a_program_of_the_page_prints_every_fact_over_tls_and_goes_on_where_it_stopped(
    language: str, world: World, tmp_path: Path
) -> None:
    command, needs = PROGRAMS[language]
    if not runs([*command, needs]):
        pytest.skip(f"{command[0]} with its NATS client is not on this machine")
    [shown] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    async with with_outer_door(world, tmp_path) as gateway:
        await prints_every_fact(gateway, [*command, shown], tmp_path)


async def prints_every_fact(gateway: Gateway, command: list[str], folder: Path) -> None:
    """Run a program, kill it, and run it again where it stopped."""
    credentials = await made(gateway, "a page's program")
    names = {"NATS_URL": "servers", "NATS_USER": "user", "NATS_PASSWORD": "password", "NATS_INBOX": "inbox_prefix"}
    told = {name: credentials[key] for name, key in (names | {"MISSED": "missed", "EVENTS": "subject"}).items()}
    told["NATS_CA"] = str(folder / "cert.pem")
    story = Story({"id": "ftjob-1", "woodshed": {"dataset": "ds-1"}})
    for facts in ([story.queued(), story.dispatched()], [story.succeeded()]):
        if isinstance(facts[0], JobQueued):
            (folder / "place").write_text("0")
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=os.environ | told, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            assert process.stdout
            for fact in facts:
                await gateway.world.tell(fact)
                await _says(process, str(type(fact).__struct_config__.tag))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _says(process: asyncio.subprocess.Process, word: str) -> None:
    """Read what a program prints until a word comes."""
    assert process.stdout
    async with asyncio.timeout(60):
        while word not in (line := (await process.stdout.readline()).decode()):
            assert line, "it ended: " + (await process.communicate())[1].decode()
