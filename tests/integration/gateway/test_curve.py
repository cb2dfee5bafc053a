"""A long run's figures as they are drawn: thinned out, nothing high or low left out, up to the newest step."""

from contracts.base import encode, subject_of
from contracts.runs import RunProgressed
from services.gateway.queries.curve import STEPS
from tests.integration.gateway.conftest import Gateway, Story

LAST = 10 * STEPS + 20
SPIKE = 3 * STEPS + 100


async def _measured(gateway: Gateway, facts: list[RunProgressed]) -> None:
    for fact in facts:
        await gateway.world.js.publish_async(subject_of(fact), encode(fact), stream="TELEMETRY")
    await gateway.world.js.publish_async_completed()


async def test_a_long_curve_is_thinned_keeps_its_spikes_and_follows_a_run_that_went_back(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(story.dispatched())
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await _measured(gateway, [story.progressed(step, 3.0) for step in range(1, 101)])
    short = await gateway.until(f"{path}/curve", lambda curve: len(curve["points"]) == 100)
    assert short["points"][7] | {"learning_rate": 0, "grad_norm": 0} == {
        "step": 8, "train_loss": 3.0, "train_loss_min": 3.0, "train_loss_max": 3.0, "valid_loss": None,
        "learning_rate": 0, "grad_norm": 0,
    }  # fmt: skip

    await _measured(gateway, [story.progressed(step, 9.0 if step == SPIKE else 2.0) for step in range(101, LAST + 1)])
    long = await gateway.until(f"{path}/curve", lambda curve: curve["points"][-1]["step"] == LAST)
    *summed_up, _ = long["points"][: 10 + 1]
    assert [point["step"] for point in summed_up] == [STEPS * (span + 1) - 1 for span in range(10)]
    assert (summed_up[3]["train_loss_max"], summed_up[3]["train_loss_min"]) == (9.0, 2.0)
    assert abs(summed_up[3]["train_loss"] - (2.0 + 7.0 / STEPS)) < 1e-9
    assert [point["step"] for point in long["points"][10:]] == list(range(10 * STEPS, LAST + 1))

    again = [story.progressed(step, 1.0, attempt=2) for step in range(SPIKE - 10, LAST + 1)]
    await _measured(gateway, again)
    calm = await gateway.until(f"{path}/curve", lambda curve: curve["points"][-1]["train_loss"] == 1.0)
    assert calm["points"][3]["train_loss_max"] == 2.0
    assert [point["train_loss_max"] for point in calm["points"][4:10]] == [1.0] * 6

    stranger = await gateway.stranger()
    async with stranger:
        assert (await stranger.get(f"{path}/curve")).status_code == 404


async def test_a_curve_before_the_first_step_is_empty(gateway: Gateway) -> None:
    job = await gateway.submit()
    curve = (await gateway.http.get(f"/v1/fine_tuning/jobs/{job['id']}/curve")).json()
    assert curve == {"object": "fine_tuning.job.curve", "points": []}
