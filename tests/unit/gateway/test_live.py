"""Live pages: what belongs on one, what is merged, and who is dropped."""

import asyncio

import pytest

from services.gateway.live import About, Message, Page, Scope

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
