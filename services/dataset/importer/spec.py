"""What the service and its import process say to each other, one JSON line at a time."""

from msgspec import Struct

from contracts.datasets import SplitPlan
from services.dataset.domain.versions import Imported, Refused


class Spec(Struct, frozen=True, kw_only=True):
    """What to import. Paths are local; ``validation`` is ``""`` when there is no such file.

    ``bad_share`` (0 to 1) of the records may be unusable; records longer than
    ``max_record_bytes`` (``max_lesson_bytes`` in WhisperX files) are stepped over. From a similarity of
    ``near_duplicate`` (0 to 1) on, examples are near duplicates. ``processes`` read the file; 0: as many as pay.
    """

    source: str
    source_sha256: str
    folder: str
    model_dir: str
    split: SplitPlan
    format: str = "auto"
    max_length: int = 2048
    validation: str = ""
    validation_sha256: str = ""
    bad_share: float = 0.05
    max_record_bytes: int = 8 << 20
    max_lesson_bytes: int = 64 << 20
    near_duplicate: float = 0.85
    processes: int = 0


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is, at most twice a second. Bytes are of the files as uploaded."""

    stage: str
    done_bytes: int
    total_bytes: int
    examples: int
    bad_lines: int


Said = Progress | Imported | Refused
"""A line of the import process's standard output; the last one is the outcome."""
