"""Live pages: what belongs on one, what is merged, and who is dropped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.base import encode
from contracts.jobs import JobCancelAsked
from services.gateway import live
from services.gateway.live import About, Hub, Message, Page, Scope
from tests.unit.gateway.test_naming import NOON

JOB = Scope("studio", "ftjob-1", "ds-1")


def fact(sequence: int, job_id: str = "ftjob-1") -> Message:
    return Message(sequence, f"evt.studio.job.{job_id}.queued", About("job.queued.v1", "studio", job_id), b"{}")


def measured(step: int) -> Message:
    return Message(None, "tel.studio.run.r.progressed", About("run.progressed.v1", "studio", "ftjob-1"), b"%d" % step)


@pytest.mark.parametrize(
    ("about", "covered"),
    [
        (About("x", "studio", "ftjob-1"), True),
        (About("x", "studio", None, "ds-1"), True),
        (About("x", "studio", "ftjob-2", "ds-1"), False),
        (About("x", "studio", None, "ds-2"), False),
        (About("x", "studio"), False),
        (About("x", "rival", "ftjob-1"), False),
    ],
)
def test_a_job_page_covers_its_job_and_dataset_only(about: About, covered: bool) -> None:
    assert JOB.covers(about) is covered
    assert Scope("studio").covers(about) is (about.tenant == "studio")


async def test_facts_keep_their_order_and_measurements_are_merged() -> None:
    page = Page(JOB, 0, backlog=10)
    for message in (measured(1), fact(1), measured(2), fact(2), measured(3)):
        page.offer(message)
    shown = [message async for message in _until_silent(page)]
    assert [(each.sequence, each.body) for each in shown] == [(1, b"{}"), (2, b"{}"), (None, b"3")]


async def test_a_page_that_lags_behind_is_dropped() -> None:
    page = Page(JOB, 0, backlog=2)
    for sequence in range(3):
        page.offer(fact(sequence))
    assert page.dropped
    assert [message async for message in page.messages(silence=60)] == []


async def test_silence_is_filled_with_heartbeats() -> None:
    messages = Page(JOB, 0, backlog=2).messages(silence=0.001)
    assert [await anext(messages), await anext(messages)] == [None, None]


async def test_a_page_cancelled_in_the_moment_it_wakes_ends() -> None:
    page = Page(JOB, 0, backlog=2)
    waiting = asyncio.create_task(anext(page.messages(silence=60)))
    await asyncio.sleep(0)
    page.offer(fact(1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def _until_silent(page: Page):  # type: ignore[no-untyped-def]
    async for message in page.messages(silence=0.001):
        if message is None:
            return
        yield message


class Restarted:
    """A reader of EVENTS from a sequence on, which the broker lost: what it reads begins with the first again."""

    def __init__(self, *sequences: int) -> None:
        self._coming = list(sequences)

    async def consumer_info(self) -> Any:
        return SimpleNamespace(num_pending=len(self._coming), delivered=None)

    async def next_msg(self, timeout: float) -> Any:
        sequence = self._coming.pop(0)
        fact = JobCancelAsked(tenant="studio", at=NOON, version=sequence, job_id="ftjob-1")
        place = SimpleNamespace(num_pending=len(self._coming), sequence=SimpleNamespace(stream=sequence))
        return SimpleNamespace(subject="evt", headers={}, data=encode(fact), metadata=place)


async def test_a_page_that_comes_back_gets_nothing_again_when_its_reader_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def reading(*_: object, **__: object) -> AsyncIterator[Restarted]:
        yield Restarted(1, 2, 3, 4, 2, 3, 4, 5)

    monkeypatch.setattr(live, "reading", reading)
    hub = Hub(SimpleNamespace(), backlog=10)  # type: ignore[arg-type]
    hub.seen = 5
    hub.ready.set()
    page = hub.follow(JOB, 60, after=2)
    async with asyncio.timeout(60):
        assert [each.sequence async for each in _first(page, 3) if each] == [3, 4, 5]


async def _first(messages: AsyncIterator[Message | None], count: int) -> AsyncIterator[Message | None]:
    for _ in range(count):
        yield await anext(messages)
