"""What a job would take: asked of the scheduler, which knows what finished runs took."""

from litestar import post

from contracts.jobs import EstimateJob, JobEstimated
from libs.bus import Bus
from libs.db import Database
from services.gateway.auth import Caller
from services.gateway.domain.wishes import EstimateWish, chosen_model, chosen_preset, overrides_of
from services.gateway.problems import documented
from services.gateway.questions import ask
from services.gateway.routes.found import the_dataset
from services.gateway.settings import Settings


@post(
    "/v1/estimates",
    operation_id="createEstimate",
    summary="What a job would take",
    status_code=200,
    tags=["Estimates"],
    responses=documented(400, 404, 422, 503),
)
async def create_estimate(
    data: EstimateWish, caller: Caller, db: Database, bus: Bus, settings: Settings
) -> JobEstimated:
    """Estimate time, cost and memory of a job on a dataset, before it is submitted."""
    preset = chosen_preset(data.preset)
    async with db.transaction(caller.tenant) as tx:
        dataset = await the_dataset(tx, data.dataset, "dataset")
    question = EstimateJob(
        tenant=caller.tenant,
        dataset_id=data.dataset,
        base_model=chosen_model(data.model or dataset["base_model"], settings.models),
        preset=preset.name,
        overrides=overrides_of(data),
    )
    return await ask(bus, question, JobEstimated)
