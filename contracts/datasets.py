"""From a file of an organisation's words to an immutable version that can train.

The gateway tells the wish; the dataset service answers with a version or a refusal
that names every bad line by number, never by its content.
"""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Sha256, Token


class SplitPlan(Struct, frozen=True, kw_only=True):
    """How examples are divided: shares of validation and test, and what may not be torn apart.

    ``by`` is ``conversation`` or ``speaker``: with ``speaker`` nobody who speaks in
    validation or test appears in training. ``near_duplicates`` is ``drop``, or ``keep``:
    then those that are nearly the same stand in one split together.
    """

    by: str = "conversation"
    validation: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    test: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    seed: int = 42
    near_duplicates: str = "drop"


class Problem(Struct, frozen=True, kw_only=True):
    """One thing wrong with the data: where, what, and how to mend it.

    ``line`` is 1-based, 0 for the whole file. ``severity`` is ``error`` (the line is left
    out) or ``warning`` (it stays in).
    """

    line: Count
    code: str
    message: str
    fix: str
    field: str = ""
    severity: str = "error"


class Resemblance(Struct, frozen=True, kw_only=True):
    """An example that was left out, the line of the kept one that it resembles, and how alike they are (0 to 1)."""

    line: Count
    resembles: Count
    similarity: float


class Dropped(Struct, frozen=True, kw_only=True):
    """How many examples were left out for one reason, with the first few line numbers.

    Of near duplicates ``resembling`` names the first hundred with what they resemble.
    """

    reason: str
    count: Count
    lines: tuple[int, ...] = ()
    resembling: tuple[Resemblance, ...] = ()


class DatasetAsked(Event, frozen=True, kw_only=True, tag="dataset.asked.v1"):
    """Somebody wants this file (and, if given, this validation file) as a dataset for this base model.

    ``filename`` is empty: older facts told what a person called the file, and still say so.
    """

    subject: ClassVar[str] = "evt.{tenant}.dataset.{dataset_id}.asked"

    dataset_id: Token
    file_id: Token
    filename: str = ""
    uri: str
    sha256: Sha256
    base_model: str
    split: SplitPlan
    format: str = "auto"
    max_length: int = 2048
    validation_uri: str = ""
    validation_sha256: str = ""


class DatasetProgressed(Event, frozen=True, kw_only=True, tag="dataset.progressed.v1"):
    """How far an import is; lossy, at most twice a second."""

    subject: ClassVar[str] = "tel.{tenant}.dataset.{dataset_id}.progressed"

    dataset_id: Token
    stage: str
    done_bytes: Count
    total_bytes: Count
    examples: Count
    bad_lines: Count


class DatasetReady(Event, frozen=True, kw_only=True, tag="dataset.ready.v1"):
    """A version is immutable on storage under ``uri``: train, validation and test Parquet files.

    ``digest`` is the sha256 of the manifest that lists every file's own sha256: the
    version's name by content. Token counts are of the training split with the chat
    template of ``base_model``.
    """

    subject: ClassVar[str] = "evt.{tenant}.dataset.{dataset_id}.ready"

    dataset_id: Token
    digest: Sha256
    uri: str
    base_model: str
    format: str
    train_examples: Count
    validation_examples: Count
    test_examples: Count
    train_tokens: Count
    trained_tokens: Count
    truncated: Count
    dropped: tuple[Dropped, ...] = ()
    problems: tuple[Problem, ...] = ()
    problem_count: Count = 0


class DatasetRefused(Event, frozen=True, kw_only=True, tag="dataset.refused.v1"):
    """The file cannot become a dataset. Nothing was lost: the upload stays as it was."""

    subject: ClassVar[str] = "evt.{tenant}.dataset.{dataset_id}.refused"

    dataset_id: Token
    code: str
    message: str
    problems: tuple[Problem, ...] = ()
    problem_count: Count = 0


class PreviewDataset(Question, frozen=True, kw_only=True, tag="dataset.preview.v1"):
    """Show the first examples exactly as the model will see them."""

    subject: ClassVar[str] = "ask.dataset.preview"

    dataset_id: Token
    count: Annotated[int, Meta(ge=1, le=20)] = 3


class Piece(Struct, frozen=True, kw_only=True):
    """A stretch of text the model sees; ``trained`` when its tokens carry the loss."""

    text: str
    trained: bool


class PreviewedExample(Struct, frozen=True, kw_only=True):
    """One example in pieces, with its token counts.

    Of a pair ``pieces`` end with the preferred reply and ``rejected`` with the other one; tokens are of both.
    """

    example_id: str
    tokens: Count
    trained_tokens: Count
    pieces: tuple[Piece, ...]
    rejected: tuple[Piece, ...] = ()


class DatasetPreview(Struct, frozen=True, kw_only=True, tag="dataset.preview_answer.v1"):
    """The answer to :class:`PreviewDataset`."""

    examples: tuple[PreviewedExample, ...]
