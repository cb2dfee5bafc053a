"""What the dataset service reacts to, in story order."""

import asyncio

from contracts.datasets import DatasetAsked, DatasetPreview, PreviewDataset
from contracts.files import FileDeleted
from libs.bus import Router
from libs.db import Transaction
from libs.errors import Conflict, NotFound
from services.dataset import queries
from services.dataset.preview import Previewer

router = Router("dataset")


@router.on(DatasetAsked)
async def write_down(asked: DatasetAsked, tx: Transaction, wake: asyncio.Event) -> None:
    """Somebody wants a dataset: write it down and wake the import."""
    await queries.add(tx, asked)
    tx.afterwards(wake.set)


@router.on(FileDeleted)
async def lose_source(deleted: FileDeleted, tx: Transaction) -> None:
    """A file is gone: versions made of it stay, and are marked as having lost their source."""
    await queries.mark_source_deleted(tx, deleted.file_id, deleted.at)


@router.answers(PreviewDataset)
async def preview(question: PreviewDataset, tx: Transaction, previewer: Previewer) -> DatasetPreview:
    """Show the first training examples as the model will see them."""
    found = await queries.standing(tx, question.dataset_id)
    if found is None:
        raise NotFound("There is no such dataset.")
    if found.state == "refused":
        raise Conflict(f"The dataset was refused: {found.message}", code="dataset_refused")
    if found.uri is None:
        raise Conflict("The dataset is still being imported. Ask again when it is ready.", code="dataset_not_ready")
    return await previewer.preview(found.uri, found.base_model, found.max_length, question.count)
