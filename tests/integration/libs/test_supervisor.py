"""The supervisor starts again what dies, and leaves nothing behind however it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from libs.embedded.home import free_port, listening
from libs.embedded.supervisor import AUTOGROUP, LONG_WORK, Program, Supervisor

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
WITH_CHILD = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)",
]


def shares_by_session() -> bool:
    return AUTOGROUP.exists() and "nice" in AUTOGROUP.read_text()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def pid_of(supervisor: Supervisor, name: str) -> int:
    return supervisor.running[name].pid


async def test_what_dies_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    await supervisor.start(Program(name="sleeper", command=SLEEPER))
    first = pid_of(supervisor, "sleeper")
    os.kill(first, signal.SIGKILL)
    await until(lambda: pid_of(supervisor, "sleeper") != first)
    assert alive(pid_of(supervisor, "sleeper"))
    assert supervisor.restarts == {"sleeper": 1}
    await supervisor.stop()
    assert not alive(pid_of(supervisor, "sleeper"))


async def test_what_dies_again_and_again_is_started_with_growing_patience(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    command = ["sh", "-c", "date +%s.%N; exit 1"]
    await supervisor.start(Program(name="failing", command=command))
    await until(lambda: supervisor.restarts.get("failing", 0) >= 4)
    await supervisor.stop()
    times = [float(line) for line in (tmp_path / "failing.log").read_text().split()]
    waited = [later - earlier for earlier, later in pairwise(times[:4])]
    assert all(between > 0.95 * pause for between, pause in zip(waited, (0.2, 0.4, 0.8), strict=True)), waited


async def test_one_that_is_not_ready_in_time_shows_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    supervisor = Supervisor(tmp_path)
    command = ["sh", "-c", "echo no such database; sleep 600"]
    program = Program(name="lost", command=command, ready=never)
    with pytest.raises(TimeoutError, match=r"(?s)lost was not ready .*no such database"):
        await supervisor.start(program, timeout=0.5)
    await supervisor.stop()
    assert not alive(pid_of(supervisor, "lost"))


async def test_the_next_starts_only_when_the_one_before_is_ready(tmp_path: Path) -> None:
    supervisor, port = Supervisor(tmp_path), free_port()
    serve = f"import time, socket; time.sleep(0.3); s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"

    async def answers() -> bool:
        return listening(port)

    await supervisor.start(Program(name="server", command=[sys.executable, "-c", serve], ready=answers))
    assert listening(port)
    await supervisor.stop()
    assert not listening(port)


async def test_stop_takes_down_the_last_started_first_and_the_stubborn_by_force(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], 'a').write(sys.argv[2] + ' '), sys.exit()))\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    for name in ("first", "second"):
        program = Program(name=name, command=[sys.executable, "-c", script, str(tmp_path / "order"), name])
        await supervisor.start(program)
        await until(lambda name=name: "up" in (tmp_path / f"{name}.log").read_text())
    await supervisor.start(Program(name="stubborn", command=STUBBORN, grace=0.2))
    await until(lambda: "up" in (tmp_path / "stubborn.log").read_text())
    await supervisor.stop()
    assert (tmp_path / "order").read_text() == "second first "
    assert not any(alive(process.pid) for process in supervisor.running.values())


async def test_stop_takes_the_children_of_a_program_too(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    await supervisor.start(Program(name="parent", command=WITH_CHILD))
    log = tmp_path / "parent.log"
    await until(lambda: log.read_text().endswith("\n"))
    child = int(log.read_text())
    assert alive(child)
    await supervisor.stop()
    await until(lambda: not alive(child))


WHOLE = """
import asyncio, json, sys
from pathlib import Path
from libs.embedded import nats
from libs.embedded.home import free_port, listening
from libs.embedded.postgres import Cluster, as_unprivileged
from libs.embedded.supervisor import AUTOGROUP, LONG_WORK, Program, Supervisor
from libs.testing.servers import PASSWORDS

async def main():
    folder = Path(sys.argv[1])
    cluster = Cluster(folder / "postgres", free_port(), "secret")
    cluster.initialise()
    port = free_port()
    supervisor = Supervisor(folder / "logs")
    async def database(): return listening(cluster.port)
    async def broker(): return listening(port)
    await supervisor.start(Program(name="postgres", command=cluster.command(), ready=database,
                                   options={"cwd": "/", **as_unprivileged()}))
    await supervisor.start(Program(name="nats", command=nats.configure(folder / "nats", port, PASSWORDS), ready=broker))
    await supervisor.start(Program(name="sleeper", command=[sys.executable, "-c", "import time; time.sleep(600)"]))
    print(json.dumps({"pids": [each.pid for each in supervisor.running.values()], "ports": [cluster.port, port]}),
          flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL may enter as another user."""
    with tempfile.TemporaryDirectory(prefix="woodshed-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_killed_supervisor_leaves_no_server_behind(open_folder: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WHOLE, str(open_folder)],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}, text=True,
    )  # fmt: skip
    assert process.stdout
    started = json.loads(process.stdout.readline())
    assert all(alive(pid) for pid in started["pids"])
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in started["pids"]) or any(map(listening, started["ports"])):
        assert time.monotonic() < deadline, "something outlived its supervisor"
        time.sleep(0.02)


@pytest.mark.skipif(not shares_by_session(), reason="this kernel does not share processors out by session")
@pytest.mark.parametrize("alone", [True, False])
def test_long_work_steps_aside_in_a_session_of_its_own_and_leaves_anothers_as_it_is(alone: bool) -> None:
    told = (
        "import os; from libs.embedded.supervisor import AUTOGROUP, step_aside; "
        "step_aside(); print(os.nice(0), AUTOGROUP.read_text())"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, start_new_session=alone
    )
    own, _, session = done.stdout.strip().partition(" ")
    assert int(own) == os.nice(0) + LONG_WORK
    assert session.endswith(f"nice {LONG_WORK}") if alone else session == AUTOGROUP.read_text().strip()
