"""Programs in other languages: how they are run, and why a test that needs one is skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE_PACKAGES = HERE / "node_modules"
OLDEST_NODE = 20
GET_READY = "sh tests/clients/setup.sh gets it"


def node() -> str:
    """Return Node's path, or skip the test where it or the packages of its clients are missing."""
    found = shutil.which("node")
    if not found or _major(found) < OLDEST_NODE:
        pytest.skip(f"Node {OLDEST_NODE} or newer is not on this machine")
    if not NODE_PACKAGES.exists():
        pytest.skip(f"the packages of Node's clients are not installed: {GET_READY}")
    return found


def php(*needed: str) -> str:
    """Return PHP's path, or skip the test where it or a file that it needs from its include path is missing."""
    found = shutil.which("php")
    if not found:
        pytest.skip(f"PHP is not on this machine: {GET_READY}")
    for file in needed:
        code = f"exit(stream_resolve_include_path('{file}') ? 0 : 1);"
        if subprocess.run([found, "-r", code], timeout=60).returncode:
            pytest.skip(f"PHP has no {file}: {GET_READY}")
    return found


def _major(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return int(told.removeprefix("v").split(".")[0])
