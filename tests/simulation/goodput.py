"""How much of a machine's time becomes training when it is taken away again and again.

    python -m tests.simulation.goodput [--step 1.8] [--save 0.1] [--restart 20] [--silence 15] [--every 1800]

Goodput is step time that entered the adapter ÷ time passed, while a machine is there. The parts are arguments, so
that measured ones can be put in. A loss without notice costs the silence until it is noticed, a restart, and the steps
since the last checkpoint; one with notice a save and a restart. How often to save is the trainer's own decision.
"""

import argparse
import random
from typing import NamedTuple

from contracts.jobs import Estimate
from services.trainer.domain.saving import interval

HOURS = 500
STEPS = 100_000


class Parts(NamedTuple):
    """Seconds of a step, of the training time one save costs, from order to first new step, and until noticed."""

    step: float = 1.8
    save: float = 0.1
    restart: float = 20.0
    silence: float = 15.0


def every_steps(parts: Parts, between: float) -> int:
    """Return how many steps the trainer lets pass between checkpoints where losses come this often."""
    seconds = STEPS * parts.step
    told = Estimate(
        seconds=seconds, seconds_low=seconds, seconds_high=seconds, cost=0.0, currency="EUR", memory_bytes=1,
        steps=STEPS, tokens=1,
    )  # fmt: skip
    return interval(told, between, parts.save)


def goodput(parts: Parts, between: float, *, notice: bool, regular: bool = True, seed: int = 0) -> float:
    """Live 500 hours of losses ``between`` seconds apart (on average, unless ``regular``) and return the share."""
    rng = random.Random(seed)
    every = every_steps(parts, between)
    passed = useful = 0.0
    while passed < HOURS * 3600:
        here = between if regular else rng.expovariate(1 / between)
        away = parts.restart + (0.0 if notice else parts.silence)
        passed += here
        useful += _trained(max(0.0, here - away), parts, every, notice=notice)
    return useful / passed


def _trained(seconds: float, parts: Parts, every: int, *, notice: bool) -> float:
    """Return the step time that is safe when an attempt of this length ends."""
    rounds, rest = divmod(seconds, every * parts.step + parts.save)
    kept = rounds * every * parts.step
    if notice:
        kept += max(0.0, (rest - parts.save) // parts.step) * parts.step
    return kept


def main() -> None:
    """Read the parts and print the four figures."""
    parser = argparse.ArgumentParser(description="Simulate goodput under losses from measured parts.")
    for name, value in Parts()._asdict().items():
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--every", type=float, default=1800.0, help="seconds between losses")
    given = vars(parser.parse_args())
    every = given.pop("every")
    parts = Parts(**given)
    print(f"{parts}, a loss every {every:g} s, a checkpoint every {every_steps(parts, every)} steps")
    for notice in (True, False):
        shares = [f"{goodput(parts, every, notice=notice, regular=regular):.2%}" for regular in (True, False)]
        print(f"{'with' if notice else 'without'} notice: {shares[0]} at regular times, {shares[1]} at random ones")


if __name__ == "__main__":
    main()
