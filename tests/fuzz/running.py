"""Runs schemathesis on a gateway that listens, and judges what was seen: faults, and operations that never worked."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.fuzz.rules import LEFT_OUT
from tests.fuzz.things import Api, Ids, made

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Verdict(Struct, kw_only=True):
    """What a run found: whether schemathesis failed, what it said, and how often each operation gave which status."""

    failed: bool
    report: str
    seen: dict[str, dict[str, int]]

    @property
    def never(self) -> set[str]:
        """The operations that answered no request with success."""
        return {name for name, counts in self.seen.items() if not any(status.startswith("2") for status in counts)}


async def fuzz(
    folder: Path, url: str, key: str, hook: str, job: Ids, options: list[str], *, config: str = "", shown: bool = False
) -> Verdict:
    """Make things on the platform at ``url`` and send requests about them, with what schemathesis offers in options.

    ``job`` has the ids of what a finished job left, and of a failed one; webhooks are sent to ``hook``. ``config`` is a
    file beside this one.
    """
    api = Api(url, key, hook)
    described = await asyncio.to_thread(_described, api)
    ids = await asyncio.to_thread(made, api, job)
    given = {"url": url, "key": key, "hook": hook, "ids": ids}
    (folder / "things.json").write_text(json.dumps(given))
    command = [
        sys.executable, "-m", "schemathesis.cli", *(("--config-file", str(HERE / config)) if config else ()),
        "run", f"{url}/openapi.json",
        "--header", f"Authorization: Bearer {key}", "--exclude-path-regex", LEFT_OUT, "--no-color",
        "--suppress-health-check", "all", "--request-timeout", "120", "--workers", "1", "--warnings", "off", *options,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=_environment(folder), stdout=None if shown else asyncio.subprocess.PIPE
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    told = folder / "seen.json"
    seen = {name: {} for name in described} | (json.loads(told.read_text()) if told.exists() else {})
    return Verdict(failed=process.returncode != 0, report=(said or b"").decode(), seen=seen)


def table(verdict: Verdict) -> str:
    """Show how many operations worked, and what was answered of the others."""
    worked = len(verdict.seen) - len(verdict.never)
    lines = [f"{worked} of {len(verdict.seen)} operations answered with success as well as with refusals. Never:"]
    lines += [f"  {name}: {verdict.seen[name]}" for name in sorted(verdict.never)]
    return "\n".join(lines)


def _described(api: Api) -> list[str]:
    """Name the operations there are, less those that are left out."""
    paths = api.call("GET", "/openapi.json")["paths"]
    return [
        each["operationId"] for path, them in paths.items() for each in them.values() if not re.search(LEFT_OUT, path)
    ]


def _environment(folder: Path) -> dict[str, Any]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "WOODSHED_FUZZ": str(folder),
    }
