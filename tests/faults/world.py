"""A whole platform to do harm to: started as ``make up`` starts it, on a model that trains in seconds.

``World`` finds its processes, submits jobs through the HTTP API, and hears every fact and every look at a training by
reading the streams message by message, which goes on by itself after the broker was killed.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec
import nats
import nats.errors
import nats.js.errors
import psutil
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client

from contracts.base import Event
from contracts.catalogue import BY_TYPE
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted, LeaseGranted, RunInterrupted, RunProgressed, RunRecovered
from deploy.installation import ports
from deploy.provision import DATABASE, ROOT
from deploy.up import RUNNER_ENVIRONMENT, Running, platform_up
from libs.bus.permissions import ADMIN
from libs.embedded.home import Home
from libs.embedded.postgres import SUPERUSER
from libs.embedded.supervisor import Program
from libs.settings import HOME
from libs.testing.family import trainings
from libs.testing.models import tiny_model
from services.cli.access import Access
from services.cli.client import Api, Json
from tests.faults.proxy import Wire

E = TypeVar("E", bound=Event)

SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"
CONVERSATIONS = 30
SECOND = "runner-second"
AWAY = (nats.errors.Error, nats.js.errors.Error, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError)
"""What asking a server that was killed a moment ago ends in."""

WIRED = ("runner", SECOND, "trainer", "scheduler")
EAR_PAUSE = 0.1
PATIENCE = 90.0

TOLD = {
    "WOODSHED_TRAINER_MEAN_SECONDS_BETWEEN_LOSSES": "200",
    "WOODSHED_TRAINER_SAVING_SHARE": "1",
    "WOODSHED_TRAINER_RETRY_FIRST_SECONDS": "1",
    "WOODSHED_TRAINER_RETRY_LAST_SECONDS": "4",
    "WOODSHED_EVALUATOR_EXAMPLES": "2",
    "WOODSHED_EVALUATOR_REPLIES": "1",
    "WOODSHED_EVALUATOR_REPLY_TOKENS": "4",
}
"""Settings that make a training save every few steps, a wait after an outage and a proof short."""


class NotInTime(AssertionError):
    """What should have happened did not."""


class DidNotBite(Exception):
    """The fault hit nothing: the process was gone, the job over, nothing was waiting. It counts for nothing."""


class Told(Struct, frozen=True):
    """A message of a stream, in the order of its arrival there, and when it was ``heard`` here."""

    stream: str
    seq: int
    id: str
    event: Event
    heard: datetime


class World:
    """Everything of one installation, within reach of a fault."""

    def __init__(self, running: Running, api: Api, client: Client, wires: dict[str, Wire]) -> None:
        self.running = running
        self.supervisor = running.supervisor
        self.home = running.home
        self.api = api
        self.js = client.jetstream(timeout=3)
        self.wires = wires
        self.ports: dict[str, int] = json.loads((self.home.folder / "ports.json").read_text())
        self.told: list[Told] = []
        self._next = {"EVENTS": 1, "TELEMETRY": 1}
        self._heard: set[str] = set()
        self._training_file = ""

    @property
    def proves(self) -> bool:
        """Whether an evaluator runs, so that finished runs are measured."""
        return "evaluator" in self.supervisor.programs

    # What was told ---------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Read both streams for ever, whatever becomes of the broker."""
        while True:
            for stream in self._next:
                with contextlib.suppress(*AWAY):
                    await self._read(stream)
            await asyncio.sleep(EAR_PAUSE)

    async def _read(self, stream: str) -> None:
        last = (await self.js.stream_info(stream)).state.last_seq
        while self._next[stream] <= last:
            message = await self.js.get_msg(stream, self._next[stream])
            self._next[stream] += 1
            headers = message.headers or {}
            if known := BY_TYPE.get(headers.get("ce-type", "")):
                event = msgspec.json.decode(message.data or b"", type=known.kind)
            elif (
                stream == "TELEMETRY"
                and str(message.subject).endswith(".progressed")
                and ".run." in str(message.subject)
            ):
                event = msgspec.json.decode(message.data or b"", type=RunProgressed)
            else:
                continue
            if headers.get("ce-id", "") in self._heard:
                continue
            self._heard.add(headers.get("ce-id") or f"{stream}-{self._next[stream]}")
            self.told.append(Told(stream, self._next[stream] - 1, headers.get("ce-id", ""), event, datetime.now(UTC)))

    async def caught_up(self) -> None:
        """Wait until everything that is in the streams now has been read."""
        last = {stream: (await self.js.stream_info(stream)).state.last_seq for stream in self._next}
        await self.until(lambda: all(self._next[stream] > last[stream] for stream in last), "reading of the streams")

    def facts(self, job: str, kind: type[E]) -> list[E]:
        """Return what was told of a job, the first first."""
        return [
            each.event
            for each in self.told
            if isinstance(each.event, kind) and getattr(each.event, "job_id", "") == job
        ]

    def looks(self, job: str) -> list[RunProgressed]:
        """Return the looks at a job's training."""
        return self.facts(job, RunProgressed)

    def attempt(self, job: str) -> int:
        """Return the attempt that a job is in."""
        granted = self.facts(job, LeaseGranted)
        return granted[-1].attempt if granted else 0

    async def until(
        self, look: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str, seconds: float = PATIENCE
    ) -> Any:
        """Look again and again until there is something to see; ``NotInTime`` says what did not come."""
        deadline = time.monotonic() + seconds
        while True:
            found = None
            with contextlib.suppress(*AWAY):
                found = look()
                found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            if time.monotonic() > deadline:
                raise NotInTime(f"{what} did not happen within {seconds:g} s")
            await asyncio.sleep(0.02)

    # Jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, **wish: Any) -> str:
        """Submit a job of many short steps and return its id; ``wish`` changes what is asked for."""
        if not self._training_file:
            self._training_file = await self._upload()
        asked = {
            "model": SHIPPED_MODEL,
            "training_file": self._training_file,
            "preset": "quick",
            "suffix": "faults",
            "hyperparameters": {"n_epochs": 35, "batch_size": 1},
        }
        job: Json = await self.api.post("/v1/fine_tuning/jobs", asked | wish)
        return str(job["id"])

    async def _upload(self) -> str:
        path = self.home.folder / "few.jsonl"
        lines = SAMPLE.read_bytes().splitlines()[:CONVERSATIONS]
        path.write_bytes(b"\n".join(_first_exchange(line) for line in lines) + b"\n")
        return str((await self.api.upload(path, lambda _: None))["id"])

    async def job(self, job: str) -> Json:
        """Return a job as the API shows it."""
        return await self.api.get(f"/v1/fine_tuning/jobs/{job}")

    async def training(self, job: str, step: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until a job's present attempt has been seen to train, at ``step`` or later."""
        await self.until(
            lambda: any(each.attempt == self.attempt(job) and each.step >= step for each in self.looks(job)),
            f"step {step} of attempt {self.attempt(job)}",
            seconds,
        )

    async def checkpoint(self, job: str, seconds: float = PATIENCE) -> CheckpointCommitted:
        """Wait until the attempt that holds the device now has committed a checkpoint, and return the newest."""

        found: CheckpointCommitted = await self.until(lambda: self.saved(job), "a checkpoint", seconds)
        return found

    def saved(self, job: str) -> CheckpointCommitted | None:
        """Return the newest checkpoint of the attempt that holds the device now, if it has one."""
        if not (leases := self.facts(job, LeaseGranted)):
            return None
        fence = leases[-1].fence
        return next((each for each in reversed(self.facts(job, CheckpointCommitted)) if each.fence == fence), None)

    def recovered(self, job: str, fence: int) -> RunRecovered | None:
        """Return the recovery that followed the loss of a fence, once it was told."""
        return next((each for each in self.facts(job, RunRecovered) if each.fence > fence), None)

    async def settled(self, job: str) -> None:
        """Wait until no checkpoint is on its way to storage: for a training that stands still."""

        async def still() -> bool:
            count = len(self.facts(job, CheckpointCommitted))
            local = [each for name in self.runners() for each in self.checkpoints(name, "checkpoints/step-*")]
            await asyncio.sleep(0.5)
            return not local and count == len(self.facts(job, CheckpointCommitted))

        await self.until(still, "the end of uploads")

    def stored(self, uri: str) -> Path:
        """Return where an object lies in the folder that stands for object storage."""
        return self.home.folder / "storage" / uri

    def lost_steps(self, job: str) -> int:
        """Return the optimiser steps that interruptions of a job cost until now."""
        return sum(each.lost_steps for each in self.facts(job, RunInterrupted))

    def keep_logs(self, folder: Path) -> None:
        """Copy what the programs wrote to where it outlives the world."""
        shutil.copytree(self.supervisor.log_folder, folder, dirs_exist_ok=True)

    # Processes -------------------------------------------------------------------------------------------------

    def process(self, name: str) -> psutil.Process:
        """Return the process of a program, by the supervisor's name."""
        return psutil.Process(self.supervisor.running[name].pid)

    def child(self) -> psutil.Process | None:
        """Return the process that trains, if there is one."""
        for runner in self.runners():
            with contextlib.suppress(psutil.Error):
                for each in trainings(self.process(runner).pid):
                    return each
        return None

    def runners(self) -> list[str]:
        """Return the programs that have devices."""
        return [name for name in self.supervisor.running if name.startswith("runner")]

    def host_of(self, child: psutil.Process) -> str:
        """Return the runner whose child this is."""
        parents = {each.pid for each in child.parents()}
        return next(name for name in self.runners() if self.supervisor.running[name].pid in parents)

    def work_folder(self, runner: str) -> Path:
        """Return where a runner's attempts work."""
        return self.home.folder / "work" / runner

    def checkpoints(self, runner: str, *patterns: str) -> list[Path]:
        """Find what a runner's training keeps of its checkpoints in its work folder, which changes meanwhile."""
        found: list[Path] = []
        for pattern in patterns:
            with contextlib.suppress(FileNotFoundError):
                found += self.work_folder(runner).glob(f"runs/*/*/fence-*/{pattern}")
        return found

    def log_says(self, name: str, words: str) -> bool:
        """Whether a program's log has these words."""
        return words in self.supervisor.log_of(self.supervisor.programs[name]).read_text(errors="replace")

    async def back(self, name: str, former: int, seconds: float = PATIENCE) -> None:
        """Wait until a program that was killed runs again, in another process, and is ready."""

        async def ready() -> bool:
            process = self.supervisor.running[name]
            if process.pid == former or process.returncode is not None:
                return False
            program = self.supervisor.programs[name]
            return program.ready is None or await program.ready()

        await self.until(ready, f"{name} is back", seconds)

    async def replace(self, name: str, command: list[str] | None = None, **variables: str) -> None:
        """End a program gently and start it again by another command or with other settings."""
        program = self.supervisor.forsake(name)
        command = command or program.command
        process = self.supervisor.running[name]
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(program.stop_signal)
        await asyncio.wait_for(process.wait(), program.grace + 10)
        await self.supervisor.start(replace(program, command=command, env=program.env | variables))

    @contextlib.asynccontextmanager
    async def another(self, like: str, name: str, **variables: str) -> AsyncIterator[None]:
        """Run one more of a program while inside, under another name."""
        program = self.supervisor.programs[like]
        await self.supervisor.start(replace(program, name=name, env=program.env | variables, ready=None))
        try:
            yield
        finally:
            process = self.supervisor.running[name]
            self.supervisor.forsake(name)
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), program.grace + 10)
            del self.supervisor.running[name]

    async def second_runner(self) -> None:
        """Start another machine with a device: a runner of its own name, folder and process."""
        if SECOND in self.supervisor.running:
            return
        first = self.supervisor.programs["runner"]
        told = {
            "WOODSHED_RUNNER_RUNNER_NAME": "second",
            "WOODSHED_DATA_DIR": str(self.work_folder(SECOND)),
            "WOODSHED_HEALTH_PORT": "0",
            "WOODSHED_RUNNER_WARM_FREE_GB": "0",
            _over_wire("runner"): f"nats://127.0.0.1:{self.wires[SECOND].port}",
        }
        await self.supervisor.start(replace(first, name=SECOND, env=first.env | told, ready=self._online("second")))

    async def pretend(self) -> None:
        """Start a runner whose trainings only pretend, with what the platform would tell its own."""
        lines = (self.home.folder / RUNNER_ENVIRONMENT).read_text().splitlines()
        told = dict(line.split("=", 1) for line in lines)
        told[_over_wire("runner")] = f"nats://127.0.0.1:{self.wires['runner'].port}"
        command = [sys.executable, "-m", "tests.faults.pretend"]
        first = Program(name="runner", command=command, env=told, ready=self._online("first"), options={"cwd": ROOT})
        await self.supervisor.start(first)

    def _online(self, runner: str) -> Callable[[], Awaitable[bool]]:
        async def online() -> bool:
            found = await self.sql("SELECT count(*) FROM trainer.device WHERE runner = $1 AND online", runner)
            return bool(found[0]["count"])

        return online

    # The database, as its owner ----------------------------------------------------------------------------------

    async def sql(self, query: str, *given: Any) -> list[Any]:
        """Ask the database past every service, in a connection of its own."""
        connection = await self.database()
        try:
            return list(await connection.fetch(query, *given))
        finally:
            await connection.close()

    async def database(self) -> "asyncpg.Connection[Any]":
        """Connect as the superuser, whom row-level security does not hold back."""
        password = self.home.secrets()["postgres"]
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.ports["postgres"],
            user=SUPERUSER,
            password=password,
            database=DATABASE,
            timeout=5,
        )


@contextlib.asynccontextmanager
async def world_up(say: Callable[[str], None] = lambda _: None, *, pretend: bool = False) -> AsyncIterator[World]:
    """Have a platform in a folder of its own; runner, control and scheduler reach the broker over a wire each.

    ``pretend``: trainings only pretend (:mod:`tests.faults.pretend`) and nothing is measured.
    """
    folder = Path(tempfile.mkdtemp(prefix="woodshed-faults-"))
    folder.chmod(0o755)
    home = Home(folder / "home")
    try:
        if not pretend:
            await asyncio.to_thread(tiny_model, HOME / "models" / SHIPPED_MODEL, home.models / SHIPPED_MODEL)
        broker = ports(home)["nats"]
        async with contextlib.AsyncExitStack() as stack:
            wires = {name: await stack.enter_async_context(Wire(broker)) for name in WIRED}
            reached = {_over_wire(name): f"nats://127.0.0.1:{wires[name].port}" for name in WIRED if name != SECOND}
            without = ("runner", "evaluator") if pretend else ()
            running = await stack.enter_async_context(platform_up(home, 0, say, without=without, told=TOLD | reached))
            client = await nats.connect(
                f"nats://127.0.0.1:{broker}",
                user=ADMIN, password=home.secrets()[ADMIN], max_reconnect_attempts=-1, reconnect_time_wait=0.2,
                error_cb=_unmoved,
            )  # fmt: skip
            stack.push_async_callback(_close, client)
            api = await stack.enter_async_context(Api(Access(running.url, running.key), pause=0.2))
            world = World(running, api, client, wires)
            ear = asyncio.create_task(world.listen())
            stack.callback(ear.cancel)
            if pretend:
                await world.pretend()
            yield world
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _unmoved(error: Exception) -> None:
    """Let the broker be away: that is what this is about."""


async def _close(client: Client) -> None:
    with contextlib.suppress(*AWAY):
        await client.close()


def _over_wire(name: str) -> str:
    return f"WOODSHED_{name.upper()}_NATS_URL"


def _first_exchange(line: bytes) -> bytes:
    messages = msgspec.json.decode(line)["messages"]
    replied = next(number for number, each in enumerate(messages) if each["role"] == "assistant")
    return msgspec.json.encode({"messages": messages[: replied + 1]})


def kill_group(process: psutil.Process, sign: int = signal.SIGKILL) -> None:
    """Signal a process and everything in its group."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        os.killpg(process.pid, sign)
