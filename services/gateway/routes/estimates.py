"""What a job would take: asked of the scheduler, which knows what finished runs took."""

from litestar import post
from litestar.params import JSONBody

from contracts.jobs import EstimateJob, JobEstimated
from services.gateway.dependencies import Db, TheBus, TheCaller, TheSettings
from services.gateway.domain.wishes import EstimateWish, check_method, chosen_model, chosen_preset, overrides_of
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.questions import ask
from services.gateway.routes.found import the_dataset


@post(
    "/v1/estimates",
    operation_id="createEstimate",
    opt=needs("jobs.read"),
    summary="What a job would take",
    status_code=200,
    tags=["Estimates"],
    responses=documented(404, 422, 503),
)
async def create_estimate(
    data: JSONBody[EstimateWish], caller: TheCaller, db: Db, bus: TheBus, settings: TheSettings
) -> JobEstimated:
    """Estimate time, cost and memory of a job on a dataset, before it is submitted."""
    preset = chosen_preset(data.preset)
    check_method(data)
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
