"""Thousands of odd requests at every route of a running platform: ``python -m tests.fuzz [--examples 30] [--seed 1]``.

Schemathesis makes them from our own OpenAPI document, in an environment of its own, and checks every answer: no server
error, a documented status, the documented shape and type, refusals of what the document forbids, keys that are needed.
Not checked is that everything the document allows is accepted (that a password repeats itself, say, no schema can tell)
and everything else refused (0 passes for false, and "3" for 3).
Left out are live streams, which never end, and what would take the key away that the requests are made with.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from deploy.up import platform_up
from libs.embedded.home import Home

SCHEMATHESIS = "schemathesis==4.32.5"
ENVIRONMENT = Path(__file__).parents[2] / ".woodshed" / "fuzz"
LEFT_OUT = "stream|/keys|/sessions|/members"
UNCHECKED = "positive_data_acceptance,negative_data_rejection"
UNLIMITED = {"WOODSHED_GATEWAY_KEY_CALLS": "10000000", "WOODSHED_GATEWAY_TENANT_CALLS": "10000000"}


def program() -> Path:
    """Install schemathesis where it touches nothing else, once; return its program."""
    found = ENVIRONMENT / "bin" / "schemathesis"
    if not found.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "--quiet", SCHEMATHESIS], check=True)
    return found


async def fuzz(examples: int, seed: int) -> int:
    """Start a platform that trains nothing and send requests; return schemathesis's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        async with platform_up(Home(Path(folder) / "home"), 0, without={"runner"}, told=UNLIMITED) as running:
            command = [
                program(), "run", f"{running.url}/openapi.json", "--header", f"Authorization: Bearer {running.key}",
                "--max-examples", str(examples), "--seed", str(seed), "--exclude-path-regex", LEFT_OUT,
                "--exclude-checks", UNCHECKED, "--suppress-health-check", "all",
            ]  # fmt: skip
            process = await asyncio.create_subprocess_exec(*map(str, command), cwd=folder)
            return await process.wait()


def main() -> int:
    """Fuzz; the exit code is 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=30, help="for each route")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    return asyncio.run(fuzz(chosen.examples, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
