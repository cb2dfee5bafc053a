"""What makes a dataset version: its files, how they came to be, and the name that follows from them."""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from contracts.datasets import Dropped, Problem, SplitPlan
from libs.errors import Rejected
from services.dataset.domain.problems import Tally

MANIFEST = "manifest.json"
SCHEMA = 2
"""Raised when the same file would become other examples: the layout, the windows, the normalisation."""


class SplitFile(Struct, frozen=True, kw_only=True):
    """One Parquet file of a version."""

    name: str
    examples: int
    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """All that makes a version what it is; nothing that differs between two imports of the same file."""

    schema: int
    format: str
    source_sha256: str
    validation_sha256: str
    split: SplitPlan
    unit: str
    near_duplicate: float
    files: tuple[SplitFile, ...]
    dropped: tuple[Dropped, ...]
    bad_lines: int
    versions: dict[str, str]

    def encoded(self) -> bytes:
        """Return the bytes of ``manifest.json``; their sha256 is the version's digest."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1)


def digest(manifest: bytes) -> str:
    """Return a version's name by content."""
    return hashlib.sha256(manifest).hexdigest()


def folder(tenant: str, digest: str) -> str:
    """Return the storage prefix of a version, without a slash at its end."""
    return f"{tenant}/datasets/{digest}"


def refuse_too_many_bad(tally: Tally, bad: int, records: int, bad_share: float) -> None:
    """Raise ``Rejected`` when more than ``bad_share`` of the records are bad; its code is the commonest reason's."""
    if bad <= records * bad_share:
        return
    code, count = tally.codes.most_common(1)[0]
    first = tally.first[code]
    raise Rejected(
        f"{bad:,} of {records:,} records cannot be used; at most {bad_share:.0%} may be bad. "
        f"The commonest reason ({count:,}): {first.message} {first.fix}",
        code=code,
        fix=first.fix,
    )


def refuse_nothing_left(examples: int, dropped: Sequence[Dropped]) -> None:
    """Raise ``Rejected`` (``no_examples``) when nothing was left after filtering."""
    if examples:
        return
    reasons = ", ".join(f"{each.count:,} × {each.reason}" for each in dropped) or "no record was found"
    fix = "Upload a file with at least ten conversations that can be used."
    raise Rejected(f"No example is left to train ({reasons}). {fix}", code="no_examples", fix=fix)


def not_alike(format: str, held_out: str) -> Rejected:
    """Say that one file holds pairs and the other conversations, which one training cannot use both."""
    fix = "Upload both as preference pairs, to train with the method dpo, or both as conversations."
    return Rejected(
        f"The training file is {format} and the validation file {held_out}: one holds preference pairs, the other does "
        f"not. {fix}",
        code="mixed_formats",
        field="validation_file",
        fix=fix,
    )


class Imported(Struct, frozen=True, kw_only=True, tag="imported"):
    """A version lies ready in the work folder; token counts are of the training split."""

    digest: str
    files: tuple[str, ...]
    format: str
    train_examples: int
    validation_examples: int
    test_examples: int
    train_tokens: int
    trained_tokens: int
    truncated: int
    dropped: tuple[Dropped, ...]
    problems: tuple[Problem, ...]
    problem_count: int


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The file cannot become a version."""

    code: str
    message: str
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0


Outcome = Imported | Refused
