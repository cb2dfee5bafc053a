"""How facts and reports travel here: at least once, in any order, late, and not at all while the broker is down.

Facts go from an outbox to the durables of their readers, which redeliver until acknowledged; a relay that dies between
publishing and forgetting publishes again. Reports and orders on the private line are simply lost now and then.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from contracts.base import Event
from contracts.catalogue import FACTS
from tests.simulation.clockwork import SECOND, Actor, Clockwork
from tests.simulation.store import Schema

ACK_WAIT = 5 * SECOND
ANSWER_WAIT = 4 * SECOND
READERS = {fact.kind: tuple(name for name in fact.readers if name in ("scheduler", "trainer")) for fact in FACTS}


class Trouble:
    """How likely each small misfortune is in this world."""

    def __init__(self, world: Clockwork) -> None:
        likely = (0.0, 0.0, 0.05, 0.25)
        self.lost, self.twice, self.unacknowledged, self.crash_after_commit, self.crash_of_relay = (
            world.rng.choice(likely) for _ in range(5)
        )
        self.slowest = world.rng.choice((SECOND // 20, SECOND // 2, 8 * SECOND))

    def cease(self) -> None:
        """Let everything go well from now on."""
        self.lost = self.twice = self.unacknowledged = self.crash_after_commit = self.crash_of_relay = 0.0
        self.slowest = SECOND // 20


class Service(Actor):
    """One process of a service: reactions to facts, each one transaction with its claim."""

    schema: Schema
    reactions: ClassVar[Mapping[type[Event], Callable[[Any, Any], None]]]


class Bus:
    """Carries facts between services."""

    def __init__(self, world: Clockwork, trouble: Trouble) -> None:
        self.world = world
        self.trouble = trouble
        self.processes: dict[str, list[Service]] = {}
        self.under_way = 0
        self._relaying: set[str] = set()

    def relay(self, schema: Schema) -> None:
        """Publish what a transaction left in the outbox, soon."""
        if schema.outbox and schema.name not in self._relaying:
            self._relaying.add(schema.name)
            self.world.later(self.world.between(1000, 50_000), None, self._publish, schema)

    def _publish(self, schema: Schema) -> None:
        world = self.world
        self._relaying.discard(schema.name)
        away = max(world.broker_back_at, world.database_back_at) > world.now
        if away or not any(process.up for process in self.processes[schema.name]):
            self._relaying.add(schema.name)
            world.later(SECOND, None, self._publish, schema)
            return
        for event_id, fact in schema.outbox:
            self._offer(event_id, fact)
        if world.happens(self.trouble.crash_of_relay):
            world.counts["published twice"] += 1
            self.relay(schema)
            return
        schema.outbox.clear()

    def _offer(self, event_id: str, fact: Event) -> None:
        for reader in READERS[type(fact)]:
            if type(fact) not in self.processes[reader][0].reactions:
                continue
            self.under_way += 1
            self.world.later(self._delay(), None, self._deliver, reader, event_id, fact)
            if self.world.happens(self.trouble.twice):
                self.under_way += 1
                self.world.later(self._delay(), None, self._deliver, reader, event_id, fact)

    def _delay(self) -> int:
        return self.world.between(500, self.trouble.slowest)

    def _deliver(self, reader: str, event_id: str, fact: Event) -> None:
        world, trouble = self.world, self.trouble
        process = world.rng.choice(self.processes[reader])
        away = world.database_back_at > world.now or not process.connected or process.frozen_until > world.now
        if away or world.happens(trouble.lost):
            return self._again(reader, event_id, fact)
        if process.schema.claim(event_id):
            process.reactions[type(fact)](process, fact)
            self.relay(process.schema)
        else:
            world.counts["repeated facts"] += 1
        if world.happens(trouble.crash_after_commit):
            world.counts["crashes after commit"] += 1
            process.crash(world.between(SECOND // 10, 5 * SECOND))
            return self._again(reader, event_id, fact)
        if world.happens(trouble.unacknowledged):
            return self._again(reader, event_id, fact)
        self.under_way -= 1
        return None

    def _again(self, reader: str, event_id: str, fact: Event) -> None:
        self.world.later(ACK_WAIT, None, self._deliver, reader, event_id, fact)


class Line:
    """The private line between runners and controls: a request is answered, or after a while it is not."""

    def __init__(self, world: Clockwork, trouble: Trouble) -> None:
        self.world = world
        self.trouble = trouble

    def ask(
        self,
        asker: Actor,
        answerer: Actor,
        question: Callable[..., Any],
        args: tuple[Any, ...],
        then: Callable[..., None],
    ) -> None:
        """Ask; ``then`` gets the answer, or ``None`` when none came in time."""
        if not asker.connected or self.world.happens(self.trouble.lost):
            asker.at(ANSWER_WAIT, then, None)
            return
        delay = self.world.between(300, self.trouble.slowest)
        self.world.later(delay, None, self._arrive, asker, asker.epoch, answerer, question, args, then)

    def _arrive(
        self, asker: Actor, epoch: int, answerer: Actor, question: Callable[..., Any], args: tuple[Any, ...],
        then: Callable[..., None],
    ) -> None:  # fmt: skip
        answer = None
        if answerer.connected and answerer.frozen_until <= self.world.now:
            answer = question(*args)
            if answer is not None and self.world.happens(self.trouble.crash_after_commit):
                answerer.crash(self.world.between(SECOND // 10, 5 * SECOND))
                answer = None
        if asker.epoch != epoch:
            return
        if answer is None or not asker.connected or self.world.happens(self.trouble.lost):
            asker.at(ANSWER_WAIT, then, None)
        else:
            asker.at(self.world.between(300, 5000), then, answer)
