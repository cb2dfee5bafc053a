"""Pausing and resuming on OpenAI's wire, and what a person reads of it and of interruptions."""

import itertools
from typing import Any

import openai
import pytest

from contracts.base import Event
from contracts.jobs import JobCancelled, JobPauseAsked, JobPaused, JobResumeAsked, JobResumed, JobStopping
from contracts.runs import RunPaused, RunRecovered
from tests.integration.gateway.conftest import Gateway, Story, now

JOBS = "/v1/fine_tuning/jobs"


def about(story: Story, version: int) -> dict[str, Any]:
    return {"tenant": story.tenant, "at": now(), "version": version, "job_id": story.job_id}


def stopping(story: Story, version: int, why: str = "pause") -> Event:
    return JobStopping(**about(story, version), run_id=story.run_id, offer_id="offer-1", why=why)


async def shown(gateway: Gateway, story: Story, status: str, stage: str = "") -> dict[str, Any]:
    """Wait until a job has a status and a stage."""

    def seen(job: dict[str, Any]) -> bool:
        return (job["status"], job["woodshed"]["stage"]) == (status, stage or status)

    return dict(await gateway.until(f"{JOBS}/{story.job_id}", seen))


async def test_openai_client_pauses_and_resumes_as_often_as_it_likes(gateway: Gateway) -> None:
    job = await gateway.submit()
    jobs = gateway.openai.fine_tuning.jobs
    for _ in range(2):
        assert (await jobs.pause(job["id"])).id == job["id"]
        assert (await jobs.resume(job["id"])).object == "fine_tuning.job"
    paused = await gateway.world.told(JobPauseAsked, count=2)
    resumed = await gateway.world.told(JobResumeAsked, count=2)
    versions = [each.version for each in (paused[0], resumed[0], paused[1], resumed[1])]
    assert versions == sorted(versions), "the scheduler takes the wish of the largest version for the last"


async def test_openai_client_sees_the_status_paused(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(JobPaused(**about(story, 1)))
    await shown(gateway, story, "paused")
    job = await gateway.openai.fine_tuning.jobs.retrieve(story.job_id)
    assert job.status == "paused"  # type: ignore[comparison-overlap]
    assert (job.finished_at, job.estimated_finish) == (None, None)


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_a_job_that_has_ended_can_be_neither_paused_nor_resumed(gateway: Gateway, what: str) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(JobCancelled(**about(story, 1)))
    await shown(gateway, story, "cancelled")
    with pytest.raises(openai.ConflictError, match=f"was cancelled already; there is nothing left to {what}"):
        await getattr(gateway.openai.fine_tuning.jobs, what)(story.job_id)
    with pytest.raises(openai.NotFoundError):
        await getattr(gateway.openai.fine_tuning.jobs, what)("ftjob-none")


async def test_nobody_pauses_the_job_of_another_organisation(gateway: Gateway) -> None:
    job = await gateway.submit()
    async with await gateway.stranger() as stranger:
        assert (await stranger.post(f"{JOBS}/{job['id']}/pause")).status_code == 404
        assert (await stranger.post(f"{JOBS}/{job['id']}/resume")).status_code == 404
    assert await gateway.world.all_told(JobPauseAsked) == []


async def test_a_pause_and_what_follows_is_told_in_sentences(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    tell = gateway.world.tell
    await tell(story.queued(1))
    await tell(story.dispatched(2))
    await shown(gateway, story, "running", "starting")
    await gateway.openai.fine_tuning.jobs.pause(story.job_id)
    await tell(stopping(story, 3))
    await shown(gateway, story, "pausing")
    run = {"tenant": story.tenant, "at": now(), "run_id": story.run_id, "job_id": story.job_id}
    await tell(RunPaused(**run, version=5, step=24, lost_steps=0, why="pause", device_seconds=3.0))
    await tell(JobPaused(**about(story, 4)))
    assert (await shown(gateway, story, "paused"))["estimated_finish"] is None
    await gateway.openai.fine_tuning.jobs.resume(story.job_id)
    await tell(JobResumed(**about(story, 5), status="queued"))
    await shown(gateway, story, "queued")
    await tell(story.dispatched(6))
    await shown(gateway, story, "running", "starting")
    messages = [each.message async for each in gateway.openai.fine_tuning.jobs.list_events(story.job_id)]
    told = [each for each in reversed(messages) if not each.startswith(("Accepted", "Queued", "A device"))]
    assert told == [
        "Asked to pause",
        "Pausing: saving at the end of this step",
        "Stopped at step 24, nothing lost; the device is free",
        "Paused until it is resumed",
        "Asked to resume",
        "Resumed: it has its old place in the queue",
    ]


async def test_a_job_that_makes_way_stays_running_until_it_waits_again(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(story.dispatched(1))
    await gateway.world.tell(stopping(story, 2, "preempt"))
    await gateway.until(
        f"{JOBS}/{story.job_id}/events",
        lambda events: any("more urgent job" in line["message"] for line in events["data"]),
    )
    assert (await gateway.job(story.job_id))["status"] == "running"
    await gateway.world.tell(story.queued(3))
    await shown(gateway, story, "queued")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
async def test_in_any_order_the_newest_of_pausing_and_resuming_is_shown(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    story = Story(await gateway.submit())
    facts = [
        story.dispatched(1),
        stopping(story, 2),
        JobPaused(**about(story, 3)),
        JobResumed(**about(story, 4), status="queued"),
    ]
    for number in order:
        await gateway.world.tell(facts[number])
    await gateway.until(f"{JOBS}/{story.job_id}/events", lambda events: len(events["data"]) == 5)
    assert (await gateway.job(story.job_id))["status"] == "queued"


async def test_what_interruptions_cost_is_shown_and_told(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    run = {"tenant": story.tenant, "at": now(), "run_id": story.run_id, "job_id": story.job_id}
    await gateway.world.tell(story.dispatched())
    later = RunRecovered(
        **run, version=8, fence=3, step=24, seconds=2.0, interruptions=2, lost_steps=3, lost_seconds=6.5
    )
    earlier = RunRecovered(
        **run, version=4, fence=2, step=24, seconds=4.5, interruptions=1, lost_steps=3, lost_seconds=4.5
    )
    await gateway.world.tell(later)
    await gateway.world.tell(earlier)
    await gateway.until(f"{JOBS}/{story.job_id}/events", lambda events: len(events["data"]) == 4)
    details = (await gateway.job(story.job_id))["woodshed"]
    assert (details["interruptions"], details["lost_steps"], details["lost_seconds"]) == (2, 3, 6.5)
