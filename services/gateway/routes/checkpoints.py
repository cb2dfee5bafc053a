"""Who may use a checkpoint (OpenAI's wire). Woodshed keeps and shows it; inside an organisation it narrows nothing."""

from typing import Annotated, Literal

from asyncpg import Record
from litestar import Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from libs.db import Transaction
from libs.errors import NotFound
from services.gateway.dependencies import TheCaller, Tx
from services.gateway.domain import shapes, wire, wishes
from services.gateway.domain.checkpoints import checkpoint_name, named
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import permissions as queries
from services.gateway.trail import note


@get(
    "/",
    operation_id="listFineTuningCheckpointPermissions",
    opt=needs("models.read"),
    summary="Who may use a checkpoint",
    responses=documented(404),
)
async def list_permissions(
    checkpoint: FromPath[str],
    tx: Tx,
    project_id: FromQuery[str | None] = None,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 10,
    order: FromQuery[Literal["ascending", "descending"]] = "descending",
) -> Page[wire.CheckpointPermission]:
    """List the projects that were given a checkpoint, the latest first unless ``order`` is ``ascending``."""
    checked_limit(limit, 100)
    row = await _the_checkpoint(tx, checkpoint)
    find = queries.newest_first if order == "descending" else queries.oldest_first
    return _page(await find(tx, row["checkpoint_id"], project_id, after, limit + 1), limit)


@post(
    "/",
    operation_id="createFineTuningCheckpointPermission",
    opt=needs("models.write"),
    summary="Let projects use a checkpoint",
    status_code=200,
    responses=documented(404),
)
async def create_permissions(
    checkpoint: FromPath[str], data: JSONBody[wishes.PermissionWish], caller: TheCaller, tx: Tx
) -> Page[wire.CheckpointPermission]:
    """Give a checkpoint to projects. Every key of the organisation may use it with or without."""
    row = await _the_checkpoint(tx, checkpoint)
    rows = await queries.add(tx, row["checkpoint_id"], data.project_ids)
    await note(
        tx, caller, "checkpoint.shared", row["checkpoint_id"], permissions=[each["permission_id"] for each in rows]
    )
    return _page(rows, len(rows))


@delete(
    "/{permission:str}",
    operation_id="deleteFineTuningCheckpointPermission",
    opt=needs("models.write"),
    summary="Take a permission back",
    status_code=200,
    responses=documented(404),
)
async def delete_permission(
    checkpoint: FromPath[str], permission: FromPath[str], caller: TheCaller, tx: Tx
) -> wire.DeletedPermission:
    """Take a checkpoint from a project."""
    row = await _the_checkpoint(tx, checkpoint)
    if not await queries.delete(tx, row["checkpoint_id"], permission):
        raise NotFound(f"The checkpoint has no permission {permission[:100]!r}.", field="permission_id")
    await note(tx, caller, "checkpoint.unshared", row["checkpoint_id"], permission=permission)
    return wire.DeletedPermission(id=permission)


router = Router(
    "/v1/fine_tuning/checkpoints/{checkpoint:str}/permissions",
    route_handlers=[list_permissions, create_permissions, delete_permission],
    tags=["Fine-tuning"],
)


def _page(rows: list[Record], limit: int) -> Page[wire.CheckpointPermission]:
    return page_of([shapes.permission_of(row) for row in rows], [row["permission_id"] for row in rows], limit)


async def _the_checkpoint(tx: Transaction, name: str) -> Record:
    wanted = named(name)
    rows = await queries.checkpoints(tx, wanted.job, wanted.step) if wanted else []
    found = next((row for row in rows if checkpoint_name(row) == name), None)
    if found is None:
        raise NotFound(
            f"There is no checkpoint {name[:200]!r}.",
            field="fine_tuned_model_checkpoint",
            fix="GET /v1/fine_tuning/jobs/JOB/checkpoints names those there are.",
        )
    return found
