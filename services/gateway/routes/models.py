"""Models: the base models that can be trained here, and those that jobs made."""

from asyncpg import Record
from litestar import Router, delete, get
from litestar.params import FromPath

from libs.db import Transaction
from libs.errors import Conflict, Forbidden, NotFound
from services.gateway.collecting import delete_model_bytes
from services.gateway.dependencies import Db, TheCaller, TheSettings, TheStorage, Tx
from services.gateway.domain import shapes, wire
from services.gateway.domain.paging import Page, page_of
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import jobs as queries
from services.gateway.queries import models as model_queries
from services.gateway.trail import note


@get("/", operation_id="listModels", opt=needs("models.read"), summary="List models", responses=documented())
async def list_models(tx: Tx, settings: TheSettings) -> Page[wire.Model]:
    """List the base models, then the trained ones, the latest first."""
    found = [_base(name) for name in settings.models]
    found += [shapes.fine_tuned_of(row) for row in await queries.fine_tuned(tx)]
    return page_of(found, [each.id for each in found], len(found))


@get(
    "/{model:str}",
    operation_id="retrieveModel",
    opt=needs("models.read"),
    summary="Describe a model",
    responses=documented(404),
)
async def retrieve_model(model: FromPath[str], tx: Tx, settings: TheSettings) -> wire.Model:
    """Describe a model by its name."""
    if model in settings.models:
        return _base(model)
    rows = await queries.fine_tuned(tx, model)
    if not rows:
        raise _unknown(model)
    return shapes.fine_tuned_of(rows[0])


@delete(
    "/{model:str}",
    operation_id="deleteModel",
    opt=needs("models.write"),
    summary="Delete a trained model",
    status_code=200,
    responses=documented(403, 404, 409),
)
async def delete_model(
    model: FromPath[str], caller: TheCaller, db: Db, storage: TheStorage, settings: TheSettings
) -> wire.DeletedModel:
    """Delete a trained model with its adapter and checkpoints. The job, its story, figures and report stay."""
    if model in settings.models:
        raise Forbidden(f"{model} is a base model: it belongs to the installation.", field="model")
    async with db.transaction(caller.tenant) as tx:
        made = await _hide(tx, model)
        await note(tx, caller, "model.deleted", made["job_id"])
    await delete_model_bytes(db, storage, made)
    return wire.DeletedModel(id=model)


def _base(name: str) -> wire.Model:
    return wire.Model(id=name, created=0, owned_by="base")


router = Router("/v1/models", route_handlers=[list_models, retrieve_model, delete_model], tags=["Models"])


async def _hide(tx: Transaction, name: str) -> Record:
    """Take a model from everybody's sight, unless somebody still reads its files."""
    row = await model_queries.hold(tx, name)
    if row is None:
        raise _unknown(name)
    if row["collected_at"] is None or row["proof_stage"] != "done":
        raise Conflict(
            f"The model {name} is not measured yet: its files are still being read.",
            code="model_in_use",
            field="model",
            fix="Delete it when its job's stage is done.",
        )
    await model_queries.begin_deletion(tx, row["job_id"])
    return row


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no model {name[:100]!r}.", field="model", fix="GET /v1/models lists those there are.")
