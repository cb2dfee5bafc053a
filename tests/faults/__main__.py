"""The long campaign: ``make faults``, or ``python -m tests.faults [--runs 200] [--seed 1] [--minutes 90] [--out DIR]``.

Kills every process of a real platform at random moments, weighted into saves, and does every other harm of the table;
writes ``runs.jsonl``, ``faults.json`` and ``faults.md`` into the folder. Called again with the same folder it goes on.
"""

import argparse
import contextlib
import re
import sys
import time
from pathlib import Path

import structlog

from deploy.up import until_told
from tests.faults import promises, table
from tests.faults.blows import KILLS, OTHERS
from tests.faults.campaign import Campaign, outcomes, plan, without_proofs
from tests.faults.stories import STORIES
from tests.faults.world import world_up


async def campaign(given: argparse.Namespace) -> int:
    """Work the plan off; 0 when every fault that bit came to its right end."""
    given.out.mkdir(parents=True, exist_ok=True)
    entries = plan(given.seed, given.runs, given.each)
    if given.only:
        entries = [each for each in entries if re.search(given.only, f"{each.fault.name} × {each.fault.process}")]
    if given.pretend:
        entries = without_proofs(entries)
    deadline = time.monotonic() + given.minutes * 60
    async with world_up(say, pretend=given.pretend) as world:
        try:
            await Campaign(world, entries, given.seed, given.out, say).work(deadline)
            left = await promises.broken(world)
        finally:
            if given.logs:
                world.keep_logs(given.out / "logs")
    found = outcomes(given.out)
    say(table.write(given.out, found, {"seed": given.seed, "runs": given.runs, "each": given.each}))
    for words in left:
        say(f"BROKEN: {words}")
    return 1 if left or any(each.wrong for each in found) else 0


def say(text: str) -> None:
    """Print at once, with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Break a running Woodshed, and see it mend itself.")
    parser.add_argument("--runs", type=int, default=200, help="random kills (default 200)")
    parser.add_argument("--each", type=int, default=3, help="times every other fault (default 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600, help="stop then; the same command goes on")
    parser.add_argument("--out", type=Path, default=Path(".woodshed/faults"), help="folder of the results")
    parser.add_argument("--only", default="", help="only faults whose line in --list this regular expression finds")
    parser.add_argument("--logs", action="store_true", help="keep the services' logs beside the results")
    parser.add_argument("--pretend", action="store_true", help="trainings only pretend: quick, to work on the suite")
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    given = parser.parse_args()
    if given.list:
        for fault in (*KILLS, *OTHERS, *STORIES):
            print(f"{fault.name} × {fault.process}")
        return
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(until_told(campaign(given)))


if __name__ == "__main__":
    main()
