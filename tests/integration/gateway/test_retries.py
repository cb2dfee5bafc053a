"""After a failure: the fix is shown setting by setting, applied by one call, and the evidence can be fetched."""

import asyncio
from typing import Any

from contracts.jobs import JobFailed, JobSubmitted, Overrides, Remedy
from contracts.runs import RunFailed, RunInterrupted
from tests.integration.gateway.conftest import LINES, Gateway, Story, now

JOBS = "/v1/fine_tuning/jobs"
HALVE = Remedy(
    kind="change_settings",
    title="Train again with half the learning rate",
    sentence="Train again with half the learning rate.",
    overrides=Overrides(learning_rate=1e-4),
)
MEND = Remedy(kind="change_data", title="Mend the file and upload it again", sentence="Line 3 has no reply.")


async def failed(gateway: Gateway, remedy: Remedy = HALVE, reason: str = "diverged", **wish: Any) -> Story:
    """Submit a job and let it fail like this."""
    story = Story(await gateway.submit(**wish))
    await gateway.world.tell(story.queued(1))
    await gateway.world.tell(story.dispatched(2))
    await fail(gateway, story, remedy, reason)
    return story


async def fail(gateway: Gateway, story: Story, remedy: Remedy, reason: str = "diverged", version: int = 3) -> None:
    await gateway.world.tell(
        JobFailed(
            tenant="studio",
            at=now(),
            version=version,
            job_id=story.job_id,
            reason=reason,
            message="The loss became nan at step 12.",
            fix=remedy.sentence,
            remedy=remedy,
        )
    )
    await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["status"] == "failed")


async def retry(gateway: Gateway, story: Story, **body: Any) -> dict[str, Any]:
    answer = await gateway.http.post(f"{JOBS}/{story.job_id}/retry", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_failure_shows_openais_error_and_a_typed_fix(gateway: Gateway) -> None:
    job = await gateway.job((await failed(gateway)).job_id)
    assert (job["error"]["code"], job["error"]["param"]) == ("diverged", "learning_rate_multiplier")
    assert job["error"]["message"].endswith("Train again with half the learning rate.")
    assert job["woodshed"]["fix"] == {
        "kind": "change_settings",
        "title": HALVE.title,
        "sentence": HALVE.sentence,
        "settings": {"learning_rate": 1e-4},
    }


async def test_a_retry_is_shown_before_it_is_submitted_and_is_what_was_shown(gateway: Gateway) -> None:
    story = await failed(gateway, hyperparameters={"n_epochs": 3}, suffix="coach", seed=9, metadata={"team": "a"})
    shown = (await gateway.http.get(f"{JOBS}/{story.job_id}/retry")).json()
    assert (shown["possible"], shown["retried_as"]) == (True, None)
    assert shown["changes"] == [{"field": "learning_rate", "old": 2e-4, "new": 1e-4, "why": HALVE.sentence}]
    again = await retry(gateway, story)
    told = (await gateway.world.told(JobSubmitted, count=2))[1]
    assert (told.job_id, told.retry_of) == (again["id"], story.job_id)
    assert told.overrides == Overrides(epochs=3, learning_rate=1e-4)
    assert (told.seed, told.suffix, told.dataset_id) == (9, "coach", story.dataset_id)
    assert (again["woodshed"]["retry_of"], again["metadata"]) == (story.job_id, {"team": "a"})
    assert (await gateway.job(story.job_id))["woodshed"]["retried_as"] == again["id"]
    listed = await gateway.until(f"{JOBS}/{again['id']}/events", lambda found: found["data"], 30)
    assert story.job_id in listed["data"][-1]["message"]


async def test_a_second_click_is_the_same_job_while_it_lives(gateway: Gateway) -> None:
    story = await failed(gateway)
    clicks = await asyncio.gather(*(gateway.http.post(f"{JOBS}/{story.job_id}/retry") for _ in range(8)))
    [made] = {answer.json()["id"] for answer in clicks}
    forced = await retry(gateway, story, force=True)
    assert forced["id"] != made
    await fail(gateway, Story(forced), HALVE, version=1)
    after = await retry(gateway, story)
    assert after["id"] not in (made, forced["id"])
    told = await gateway.world.told(JobSubmitted, count=4)
    assert [each.job_id for each in told[1:]] == [made, forced["id"], after["id"]]


async def test_a_person_may_change_more_or_leave_the_fix_out(gateway: Gateway) -> None:
    story = await failed(gateway)
    await retry(gateway, story, rank=4, max_length=512)
    await retry(gateway, story, as_it_was=True, force=True)
    told = await gateway.world.told(JobSubmitted, count=3)
    assert told[1].overrides == Overrides(learning_rate=1e-4, rank=4, max_length=512)
    assert told[2].overrides == Overrides()


async def test_refused_data_is_retried_with_a_mended_file_only(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await fail(gateway, story, MEND, "no_examples", version=1)
    shown = (await gateway.http.get(f"{JOBS}/{story.job_id}/retry")).json()
    assert not shown["possible"]
    assert "Line 3 has no reply." in shown["hindrance"]
    refused = await gateway.http.post(f"{JOBS}/{story.job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (400, "data_must_change")
    mended = await gateway.upload(LINES + LINES[:100], "mended.jsonl")
    again = await retry(gateway, story, training_file=mended["id"])
    assert again["training_file"] == mended["id"]
    assert again["woodshed"]["dataset"] != story.dataset_id


async def test_a_job_that_lives_or_succeeded_is_not_retried(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    path = f"{JOBS}/{story.job_id}"
    for _ in range(2):
        answer = await gateway.http.post(f"{path}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_retry")
        assert not (await gateway.http.get(f"{path}/retry")).json()["possible"]
        await gateway.world.tell(story.succeeded(1))
        await gateway.until(path, lambda job: job["status"] == "succeeded")


async def test_the_log_holds_the_story_and_the_evidence_of_every_attempt(gateway: Gateway) -> None:
    story = await failed(gateway)
    ids = {"tenant": "studio", "run_id": story.run_id, "job_id": story.job_id}
    lost = RunInterrupted(
        **ids, at=now(), version=5, fence=1, cause="lost_worker", evidence="killed by SIGKILL", step=4, lost_steps=2
    )
    ended = RunFailed(
        **ids, at=now(), version=6, reason="diverged", evidence="exit code 1\nDiverged: nan", message="m", fix="f",
        device_seconds=1.0,
    )  # fmt: skip
    for fact in (lost, ended):
        identity = await gateway.world.tell(fact)
        await gateway.world.tell(fact, identity=f"{identity}-again")
    path = f"{JOBS}/{story.job_id}"
    await gateway.until(f"{path}/events", lambda events: len(events["data"]) == 6)
    answer = await gateway.http.get(f"{path}/log")
    assert answer.headers["content-type"].startswith("text/plain")
    assert f'filename="{story.job_id}.log"' in answer.headers["content-disposition"]
    assert answer.text.count("killed by SIGKILL") == 1
    assert answer.text.count("    | Diverged: nan") == 1
    assert "interrupted (lost_worker), 2 steps to repeat" in answer.text
    assert "Accepted" in answer.text.splitlines()[5]


async def test_a_retry_needs_the_dataset_and_not_its_file(gateway: Gateway) -> None:
    story = await failed(gateway)
    file = (await gateway.job(story.job_id))["training_file"]
    await gateway.world.tell(story.dataset_ready())
    await gateway.until(f"/v1/datasets/{story.dataset_id}", lambda dataset: dataset["state"] == "ready")
    assert (await gateway.http.delete(f"/v1/files/{file}")).status_code == 200
    again = await retry(gateway, story)
    assert again["woodshed"]["dataset"] == story.dataset_id
