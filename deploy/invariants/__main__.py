"""For operators: ``python -m deploy.invariants [--home DIR] [--patience 10] [--quick] [--json] [--sweep]``.

Prints one line for each invariant and ends with 0 when all hold, 1 when one is broken, 2 when it could not look. In
containers the addresses come from the environment: ``WOODSHED_AUDITOR_DATABASE_URL``, ``WOODSHED_NATS_URL``,
``WOODSHED_SECRETS`` and ``WOODSHED_STORAGE_URL``.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

import asyncpg
import msgspec
import nats.errors

from deploy.invariants.checking import PATIENCE, Finding, check
from deploy.invariants.looking import Installation, eyes
from deploy.invariants.stored import LEFTOVER_SECONDS, leftovers, look_at_objects
from deploy.provision import DATABASE
from libs.bus.permissions import AUDITOR
from libs.embedded.home import Home
from libs.embedded.postgres import Cluster
from libs.errors import NotFound, WoodshedError

SHOWN = 5


def of_home(home: Home) -> Installation:
    """Return where an embedded installation that is up is reached; ``NotFound`` when none was ever started there."""
    record = home.folder / "ports.json"
    if not record.exists():
        raise NotFound(f"Nothing was started on {home.folder} yet. Say where with --home, or start it: make up")
    ports, secrets = json.loads(record.read_text()), home.secrets()
    address = Cluster.address(f"woodshed_{AUDITOR}", secrets[AUDITOR], ports["postgres"], DATABASE)
    return Installation(
        database_url=address,
        nats_url=f"nats://127.0.0.1:{ports['nats']}",
        nats_password=secrets[AUDITOR],
        storage_url=home.storage_url,
    )


def of_environment(environ: dict[str, str], secrets: dict[str, str]) -> Installation:
    """Return where an installation in containers is reached."""
    return Installation(
        database_url=environ["WOODSHED_AUDITOR_DATABASE_URL"],
        nats_url=environ["WOODSHED_NATS_URL"],
        nats_password=secrets[AUDITOR],
        storage_url=environ["WOODSHED_STORAGE_URL"],
    )


async def sweep(installation: Installation, older_than: float = LEFTOVER_SECONDS) -> list[str]:
    """Delete the objects that nobody names and that are this old, in seconds; return their keys."""
    async with eyes(installation) as seeing:
        look = await seeing.look()
        await look_at_objects(seeing, look, quick=True)
        keys = leftovers(look, older_than)
        for key in keys:
            await seeing.storage.delete(key)
    return keys


def table(findings: list[Finding]) -> str:
    """Say one line for each invariant, and below a broken one its first offenders and how to mend it."""
    lines = []
    for finding in findings:
        verdict = "held" if finding.held else "BROKEN"
        lines.append(f"{verdict:<7}{finding.promise:<4}{finding.invariant}")
        lines += [f"           {each.who}: {each.what}" for each in finding.offences[:SHOWN]]
        if len(finding.offences) > SHOWN:
            lines.append(f"           and {len(finding.offences) - SHOWN} more")
        if finding.offences:
            lines.append(f"           → {finding.mend}")
        lines += [f"           (listed) {each.who}: {each.what}" for each in finding.noted[:SHOWN]]
        if len(finding.noted) > SHOWN:
            lines.append(f"           (and {len(finding.noted) - SHOWN} more are listed by --json)")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, look, and say what was found."""
    parser = argparse.ArgumentParser(description="Look whether everything that must be true of an installation is.")
    parser.add_argument("--home", type=Path, help="its folder (default: WOODSHED_HOME, else .woodshed)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds something amiss must stand to count")
    parser.add_argument("--quick", action="store_true", help="do not read every stored byte")
    parser.add_argument("--json", action="store_true", help="say everything as JSON")
    parser.add_argument(
        "--sweep", action="store_true", help="first delete objects without a row that are two hours old"
    )
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(_run(given)))
    except (WoodshedError, OSError, asyncpg.PostgresError, nats.errors.Error) as error:
        print(f"Could not look: {error or type(error).__name__}. Is the installation up?", file=sys.stderr)
        sys.exit(2)


async def _run(given: argparse.Namespace) -> int:
    if given.home is None and "WOODSHED_AUDITOR_DATABASE_URL" in os.environ:
        secrets = json.loads(Path(os.environ["WOODSHED_SECRETS"]).read_text())
        installation = of_environment(dict(os.environ), secrets)
    else:
        installation = of_home(Home(given.home.resolve()) if given.home else Home.default())
    if given.sweep:
        print(f"Swept {len(await sweep(installation))} objects.", file=sys.stderr)
    findings = await check(installation, patience=given.patience, quick=given.quick)
    print(msgspec.json.encode(findings).decode() if given.json else table(findings))
    return 0 if all(finding.held for finding in findings) else 1


if __name__ == "__main__":
    main()
