"""What one embedded installation keeps in its folder: lock, ports, logs, the owner's key, and where PostgreSQL lies.

Serves :mod:`deploy.up`. Everything here may be done again at any moment: a start that was killed half-way
leaves nothing that the next start cannot use or clean away.
"""

import fcntl
import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from libs.embedded.home import Home, free_port, listening
from libs.embedded.postgres import as_unprivileged
from libs.errors import Rejected

MARK = "WOODSHED_INSTALLATION"
"""Every process of an installation carries its folder under this name in its environment."""

LISTENERS = ("nats", "postgres", "gateway", "dataset", "scheduler", "trainer", "runner", "evaluator", "notifier")
LOG_BYTES = 10_000_000
PATIENCE = 5.0


class Lock:
    """Held by the one program that runs an installation; the kernel frees it when that program dies."""

    def __init__(self, home: Home) -> None:
        self._path = home.folder / "lock"
        self._folder = home.folder

    def __enter__(self) -> None:
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, 20).decode() or "?"
            os.close(self._handle)
            raise Rejected(
                f"Woodshed runs already on {self._folder} (process {holder}). "
                f"Use that one, stop it with `make down`, or give this one a folder of its own with --home.",
                code="already_running",
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def holder(home: Home) -> int | None:
    """Return the process that runs this installation; ``None`` when nobody does."""
    path = home.folder / "lock"
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0) or None
    return None


def ports(home: Home) -> dict[str, int]:
    """Return a port for everything that listens beside the API: those of last time, unless another program took one."""
    path = home.folder / "ports.json"
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    chosen: dict[str, int] = {}
    for name in LISTENERS:
        port = known.get(name, 0)
        while not port or listening(port) or port in chosen.values():
            port = free_port()
        chosen[name] = port
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(chosen))
    partial.replace(path)
    return chosen


def processes(home: Home) -> list[psutil.Process]:
    """Find every process this installation started, however deep; PostgreSQL's are found by its own record."""
    found = [each for each in psutil.process_iter() if _mark_of(each) == str(home.folder) and each.pid != os.getpid()]
    server = _postmaster(postgres_folder(home))
    return found + [each for each in ([server, *server.children()] if server else []) if each not in found]


def clean_up(home: Home) -> int:
    """End what an earlier run left behind when it was killed; return how many processes that were."""
    left = processes(home)
    server = _postmaster(postgres_folder(home))
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT if process == server else signal.SIGKILL)
    _, alive = psutil.wait_procs(left, PATIENCE)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, PATIENCE)
    return len(left)


def trim_logs(home: Home) -> None:
    """Put logs that grew large aside, one generation of them."""
    for log in (home.folder / "logs").glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.old"))


def postgres_folder(home: Home) -> Path:
    """Return where the database's files lie: in the installation's folder, if the user PostgreSQL runs as gets there.

    As root it runs as another user, whom a closed folder such as root's home keeps out; its files
    then lie below ``/var/lib/woodshed``, and ``postgres.folder`` says where.
    """
    record = home.folder / "postgres.folder"
    if record.exists():
        return Path(record.read_text())
    if _may_enter(home.folder):
        return home.folder / "postgres"
    shelter = Path("/var/lib/woodshed")
    shelter.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{home.folder.name.lstrip('.')}-", dir=shelter))
    folder.chmod(0o755)
    record.write_text(str(folder / "postgres"))
    return folder / "postgres"


def _may_enter(folder: Path) -> bool:
    user = as_unprivileged()
    return not user or subprocess.run(["test", "-x", folder], cwd="/", **user).returncode == 0


def _mark_of(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        return str(process.environ().get(MARK))
    return None


def _postmaster(folder: Path) -> psutil.Process | None:
    """Return the PostgreSQL that runs on ``folder``, told by its ``postmaster.pid``."""
    with suppress(psutil.Error, OSError, ValueError, IndexError):
        process = psutil.Process(int((folder / "postmaster.pid").read_text().splitlines()[0]))
        return process if str(folder) in process.cmdline() else None
    return None
