"""Datasets: a file as examples for one base model. Asking for the same twice gives the same one."""

from datetime import UTC, datetime
from typing import Annotated

from asyncpg import Record
from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from contracts.datasets import DatasetAsked, DatasetPreview, PreviewDataset, SplitPlan
from libs.db import Transaction
from services.gateway.dependencies import Db, TheBus, TheCaller, TheSettings, Tx
from services.gateway.domain import shapes, wire
from services.gateway.domain.naming import dataset_id
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.domain.wishes import DatasetWish, chosen_model, split_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import datasets as queries
from services.gateway.questions import ask
from services.gateway.routes.found import the_dataset, the_training_file
from services.gateway.trail import note


@post(
    "/",
    operation_id="createDataset",
    opt=needs("datasets.write"),
    summary="Ask for a dataset",
    status_code=200,
    responses=documented(404, 422),
)
async def create_dataset(data: JSONBody[DatasetWish], caller: TheCaller, tx: Tx, settings: TheSettings) -> wire.Dataset:
    """Check a file and make it a dataset for a base model; watch its ``state`` for the outcome."""
    base_model = chosen_model(data.base_model or settings.models[0], settings.models, "base_model")
    file = await the_training_file(tx, data.file, "file")
    validation = await the_training_file(tx, data.validation_file, "validation_file") if data.validation_file else None
    split = split_of(data.split, has_validation_file=validation is not None)
    name = await ask_for(tx, file, validation, base_model, split=split, format=data.format, max_length=data.max_length)
    await note(tx, caller, "dataset.asked", name, file=data.file)
    return shapes.dataset_of(await the_dataset(tx, name))


@get("/", operation_id="listDatasets", opt=needs("datasets.read"), summary="List datasets", responses=documented(422))
async def list_datasets(
    tx: Tx, after: FromQuery[str | None] = None, limit: Annotated[int, up_to(100)] = 20
) -> Page[wire.Dataset]:
    """List datasets, the latest first."""
    checked_limit(limit, 100)
    rows = await queries.newest_first(tx, after, limit + 1)
    return page_of([shapes.dataset_of(row) for row in rows], [row["dataset_id"] for row in rows], limit)


@get(
    "/{dataset:str}",
    operation_id="retrieveDataset",
    opt=needs("datasets.read"),
    summary="Describe a dataset",
    responses=documented(404),
)
async def retrieve_dataset(dataset: FromPath[str], tx: Tx) -> wire.Dataset:
    """Describe a dataset: its state, its figures, and every problem of the file."""
    return shapes.dataset_of(await the_dataset(tx, dataset))


@get(
    "/{dataset:str}/preview",
    operation_id="previewDataset",
    opt=needs("datasets.read"),
    summary="Show examples as the model sees them",
    responses=documented(404, 409, 422, 503),
)
async def preview_dataset(
    dataset: FromPath[str],
    caller: TheCaller,
    db: Db,
    bus: TheBus,
    count: Annotated[int, QueryParameter(ge=1, le=20, description="How many examples")] = 3,
) -> DatasetPreview:
    """Show the first examples in pieces; those with ``trained`` are what the model learns to say."""
    async with db.transaction(caller.tenant) as tx:
        await the_dataset(tx, dataset)
    question = PreviewDataset(tenant=caller.tenant, dataset_id=dataset, count=count)
    return await ask(bus, question, DatasetPreview)


async def ask_for(
    tx: Transaction,
    file: Record,
    validation: Record | None,
    base_model: str,
    *,
    split: SplitPlan,
    format: str = "auto",
    max_length: int = 2048,
) -> str:
    """Ask for the dataset unless it was asked for before; return its id."""
    sha256 = validation["sha256"] if validation else ""
    name = dataset_id(tx.tenant, file["sha256"], sha256, base_model, format, split, max_length)
    asked = DatasetAsked(
        tenant=tx.tenant,
        at=datetime.now(UTC),
        dataset_id=name,
        file_id=file["file_id"],
        uri=file["uri"],
        sha256=file["sha256"],
        base_model=base_model,
        split=split,
        format=format,
        max_length=max_length,
        validation_uri=validation["uri"] if validation else "",
        validation_sha256=sha256,
    )
    if await queries.add(tx, asked, file["filename"], validation["file_id"] if validation else None):
        await tx.tell(asked)
    return name


router = Router(
    "/v1/datasets",
    route_handlers=[create_dataset, list_datasets, retrieve_dataset, preview_dataset],
    tags=["Datasets"],
)
