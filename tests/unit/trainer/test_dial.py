"""How long a runner trusts that its leases are its own, in virtual time: nobody waits, no machine's clock counts."""

import asyncio
import itertools
import selectors
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from services.trainer.line import HELLO, Answered, Heard, Held
from services.trainer.runner.attempts import CUT_OFF_GRACE
from services.trainer.runner.dial import Dial
from services.trainer.settings import RunnerSettings, TrainerSettings

SELF_STOP = RunnerSettings().self_stop_seconds
LEASE = TrainerSettings().lease_seconds
ANSWER = 0.01
NEVER = 3600.0
MOMENTS = [6.0 + step / 8 for step in range(17)] + [6.011, 6.015, 8.015]
"""When a standstill begins: anywhere between two beats (they leave at 6.01 and 8.01), and before one's answer."""

Hearing = Callable[[float], float]
"""When the platform hears what was said at a moment."""


class Hurried(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to what comes next; from ``asleep`` on it does nothing for so many ``seconds``, once."""

    def __init__(self, asleep: float = NEVER, seconds: float = 0.0) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self.now = 0.0
        self.asleep = asleep
        self.seconds = seconds
        self.look = selector.select
        selector.select = self.jump  # type: ignore[method-assign]

    def time(self) -> float:
        return self.now

    def jump(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing would ever happen again"
        self.now += timeout
        if self.now >= self.asleep:
            self.now = max(self.now, self.asleep + self.seconds)
            self.asleep = NEVER
        return self.look(0)


class Platform:
    """Answers what it hears; the answer is read from a socket, some turns of the loop after it came."""

    def __init__(self, hears: Hearing) -> None:
        self.hears = hears
        self.heard: list[float] = []

    async def subscribe(self, subject: str, cb: Any) -> None:
        pass

    async def request(self, subject: str, body: bytes, timeout: float) -> Any:
        loop = asyncio.get_running_loop()
        at = self.hears(loop.time())
        if subject != HELLO:
            self.heard.append(at)
        async with asyncio.timeout(timeout):
            await asyncio.sleep(at + ANSWER - loop.time())
            for _ in range(3):
                await asyncio.sleep(0)
        return SimpleNamespace(data=msgspec.json.encode(Answered() if subject == HELLO else Heard()))


class Work:
    """What a runner holds, and when it was told to let go of it."""

    session = "session_1"
    closing = False

    def __init__(self) -> None:
        self.held = {1: "an attempt"}
        self.let_go_at: list[float] = []

    def holding(self) -> tuple[Held, ...]:
        return tuple(Held(run_id="run_1", fence=fence) for fence in self.held)

    def let_go(self) -> None:
        self.held = {}
        self.let_go_at.append(asyncio.get_running_loop().time())


def live(platform: Platform, loop: Hurried | None = None) -> list[float]:
    """Let a runner that holds an attempt live for a minute; return when it let go."""
    loop = loop or Hurried()
    work = Work()
    dial = Dial("r", (), RunnerSettings(), SimpleNamespace(nc=platform), work)  # type: ignore[arg-type]
    try:
        with pytest.raises(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(dial.run(), 60))
    finally:
        loop.close()
    return work.let_go_at


def standing_still(begins: float, seconds: float) -> Hearing:
    return lambda at: begins + seconds if begins <= at < begins + seconds else at


@pytest.mark.parametrize("begins", MOMENTS)
def test_a_platform_that_stands_still_for_seven_seconds_costs_no_training(begins: float) -> None:
    assert live(Platform(standing_still(begins, 7))) == []


@pytest.mark.parametrize("begins", MOMENTS)
def test_a_runner_that_stands_still_for_seven_seconds_loses_nothing(begins: float) -> None:
    assert live(Platform(lambda at: at), Hurried(begins, 7)) == []


@pytest.mark.parametrize("begins", MOMENTS)
def test_a_connection_lost_in_those_seconds_may_take_what_was_said_with_it(begins: float) -> None:
    """Nothing said while all stood still is ever heard; a second later the runner has dialled in again."""
    lost = standing_still(begins, 5)
    assert live(Platform(lambda at: at if lost(at) == at else NEVER)) == []


@pytest.mark.parametrize("silence", [7, 9, 10, 11, 13, 20, 40])
@pytest.mark.parametrize("begins", MOMENTS)
def test_children_have_ended_before_the_control_may_give_their_lease_away(begins: float, silence: float) -> None:
    platform = Platform(standing_still(begins, silence))
    let_go = live(platform)
    heard = sorted(platform.heard)
    for before, after in itertools.pairwise(heard):
        if after - before >= LEASE:
            assert any(at + CUT_OFF_GRACE < before + LEASE for at in let_go)
    assert len(let_go) <= 1


def test_an_answer_that_comes_late_counts_from_when_its_beat_was_sent() -> None:
    first, second = 0.01, 2.01
    platform = Platform(lambda at: at if at < second else 9.9 if at < second + 1 else NEVER)
    assert live(platform) == [pytest.approx(second + SELF_STOP)]
    assert first + SELF_STOP > 9.9, "else the first beat's time was up before the second was answered"
