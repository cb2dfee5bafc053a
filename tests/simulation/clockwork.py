"""Virtual time: what happens next, to whom, and who is down, frozen or cut off meanwhile.

Times are microseconds. An event of an actor that crashed since is lost; one of a frozen actor waits until it wakes.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

SECOND = 1_000_000


class Actor:
    """A process: it can crash (and forget everything), freeze (and notice nothing), and be cut off from the broker."""

    def __init__(self, world: "Clockwork", name: str) -> None:
        self.world = world
        self.name = name
        self.up = True
        self.epoch = 0
        self.frozen_until = 0
        self.cut_off_until = 0
        self.clock_step = 0

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached from here."""
        now = self.world.now
        return self.up and now >= self.cut_off_until and now >= self.world.broker_back_at

    def at(self, delay: int, what: Callable[..., None], *args: Any) -> None:
        """Do something later, unless this actor crashes before."""
        self.world.later(delay, self, what, *args)

    def wall(self) -> int:
        """Read this machine's clock, which somebody may have set back or ahead."""
        return self.world.now + self.clock_step

    def crash(self, back_after: int) -> None:
        """End at once, and start anew after a while."""
        if not self.up:
            return
        self.world.note(self, "crashes")
        self.up = False
        self.epoch += 1
        self.world.later(back_after, None, self._back)

    def _back(self) -> None:
        self.up = True
        self.frozen_until = 0
        self.world.note(self, "starts anew")
        self.start()

    def start(self) -> None:
        """Begin to work with empty hands."""


class Clockwork:
    """The heap of what is to happen, and the dice."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0
        self.broker_back_at = 0
        self.database_back_at = 0
        self.counts: Counter[str] = Counter()
        self.lines: list[str] | None = [] if trace else None
        self._heap: list[tuple[int, int, Actor | None, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def later(self, delay: int, actor: Actor | None, what: Callable[..., None], *args: Any) -> None:
        """Put something on the heap."""
        self._number += 1
        epoch = actor.epoch if actor else 0
        heapq.heappush(self._heap, (self.now + delay, self._number, actor, epoch, what, args))

    def between(self, low: int, high: int) -> int:
        """Throw a die."""
        return low + int(self.rng.random() * (high - low))

    def happens(self, probability: float) -> bool:
        """Throw a loaded coin."""
        return probability > 0.0 and self.rng.random() < probability

    def run(self, until: int, done: Callable[[], bool]) -> bool:
        """Let time pass until ``done``, which is asked now and then. ``False``: the time was up first."""
        heap, pop = self._heap, heapq.heappop
        asked = 0
        while heap:
            time, _, actor, epoch, what, args = pop(heap)
            if time > until:
                return done()
            self.now = time
            if actor is not None:
                if actor.epoch != epoch:
                    continue
                if actor.frozen_until > time:
                    self.later(actor.frozen_until - time, actor, what, *args)
                    continue
            what(*args)
            if time - asked > SECOND:
                asked = time
                if done():
                    return True
        return done()

    def note(self, actor: Actor | str, what: str) -> None:
        """Write a line of the trace, if there is one."""
        if self.lines is not None:
            name = actor if isinstance(actor, str) else actor.name
            self.lines.append(f"{self.now / SECOND:9.3f}  {name:<12} {what}")
