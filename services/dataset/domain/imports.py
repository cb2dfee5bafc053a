"""An import from being taken to its one end, and the fact that tells it."""

from datetime import datetime

from msgspec import Struct

from contracts.datasets import DatasetReady, DatasetRefused, SplitPlan
from services.dataset.domain.versions import Imported, Outcome, Refused, folder


class Taken(Struct, frozen=True, kw_only=True):
    """A dataset that was asked for, taken under ``fence`` by this process."""

    tenant: str
    dataset_id: str
    uri: str
    sha256: str
    validation_uri: str
    validation_sha256: str
    base_model: str
    format: str
    max_length: int
    split: SplitPlan
    fence: int


def fact(taken: Taken, outcome: Outcome, at: datetime) -> DatasetReady | DatasetRefused:
    """Return the fact that ends an import."""
    if isinstance(outcome, Refused):
        return DatasetRefused(
            tenant=taken.tenant,
            at=at,
            dataset_id=taken.dataset_id,
            code=outcome.code,
            message=outcome.message,
            problems=outcome.problems,
            problem_count=outcome.problem_count,
        )
    return _ready(taken, outcome, at)


def crashed(times: int) -> Refused:
    """Say that the import process died on this file again and again."""
    return Refused(
        code="import_crashed",
        message=f"The import of this file ended unexpectedly {times} times, so it was given up. Nothing was lost: the "
        "upload is as it was. Try a smaller part of the file; if that works too, please report what differs.",
    )


def gone() -> Refused:
    """Say that the upload does not exist any more."""
    return Refused(code="file_gone", message="The uploaded file was deleted before its import. Upload it again.")


def _ready(taken: Taken, made: Imported, at: datetime) -> DatasetReady:
    return DatasetReady(
        tenant=taken.tenant,
        at=at,
        dataset_id=taken.dataset_id,
        digest=made.digest,
        uri=folder(taken.tenant, made.digest),
        base_model=taken.base_model,
        format=made.format,
        train_examples=made.train_examples,
        validation_examples=made.validation_examples,
        test_examples=made.test_examples,
        train_tokens=made.train_tokens,
        trained_tokens=made.trained_tokens,
        truncated=made.truncated,
        dropped=made.dropped,
        problems=made.problems,
        problem_count=made.problem_count,
    )
