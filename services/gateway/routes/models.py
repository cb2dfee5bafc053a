"""Models: the base models that can be trained here, and those that jobs made."""

from litestar import Router, get
from litestar.params import FromPath

from libs.errors import NotFound
from services.gateway.dependencies import TheSettings, Tx
from services.gateway.domain import shapes, wire
from services.gateway.domain.paging import Page, page_of
from services.gateway.problems import documented
from services.gateway.queries import jobs as queries


@get("/", operation_id="listModels", summary="List models", responses=documented())
async def list_models(tx: Tx, settings: TheSettings) -> Page[wire.Model]:
    """List the base models, then the trained ones, the latest first."""
    found = [_base(name) for name in settings.models]
    found += [shapes.fine_tuned_of(row) for row in await queries.fine_tuned(tx)]
    return page_of(found, [each.id for each in found], len(found))


@get("/{model:str}", operation_id="retrieveModel", summary="Describe a model", responses=documented(404))
async def retrieve_model(model: FromPath[str], tx: Tx, settings: TheSettings) -> wire.Model:
    """Describe a model by its name."""
    if model in settings.models:
        return _base(model)
    rows = await queries.fine_tuned(tx, model)
    if not rows:
        raise NotFound(
            f"There is no model {model[:100]!r}.", field="model", fix="GET /v1/models lists those there are."
        )
    return shapes.fine_tuned_of(rows[0])


def _base(name: str) -> wire.Model:
    return wire.Model(id=name, created=0, owned_by="base")


router = Router("/v1/models", route_handlers=[list_models, retrieve_model], tags=["Models"])
