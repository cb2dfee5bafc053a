"""What must hold after every fault: the invariants of the installation, which operators may look at too."""

from deploy.invariants import check
from deploy.invariants.__main__ import of_home
from tests.faults.world import World

UNREST = """
    SELECT (SELECT count(*) FROM trainer.run WHERE state NOT IN ('succeeded', 'failed', 'cancelled'))
         + (SELECT count(*) FROM trainer.lease WHERE ended_at IS NULL)
         + (SELECT count(*) FROM evaluator.evaluation WHERE state NOT IN ('done', 'failed')) AS count
"""
PROOFS = ("one proof per run", "one record per notice")
"""What nobody keeps where no evaluator runs."""


async def at_rest(world: World, seconds: float = 180) -> None:
    """Wait until nothing trains and nothing is measured."""

    async def still() -> bool:
        return not (await world.sql(UNREST))[0]["count"]

    await world.until(still, "rest", seconds)


async def broken(world: World, *, quick: bool = False) -> list[str]:
    """Return every invariant that is broken, in words; ``quick`` does not read every stored byte."""
    findings = await check(of_home(world.home), quick=quick)
    judged = [each for each in findings if world.proves or each.invariant not in PROOFS]
    return [f"{each.invariant}: {said.who}: {said.what}" for each in judged for said in each.offences]
