"""What may become of an upload in parts: more parts while it is open, one file of them in the order its owner says."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from libs.errors import Rejected
from services.gateway.domain.statuses import Row

Status = Literal["pending", "completed", "cancelled", "expired"]

REPEATS = 4
"""A part may come again when its answer was lost: all parts together may be this many times the file."""

_MD5 = re.compile(r"[0-9a-f]{32}")


def status_of(upload: Row, at: datetime) -> Status:
    """Return pending, completed, cancelled or expired."""
    status: Status = upload["status"]
    return "expired" if status == "pending" and upload["expires_at"] <= at else status


def check_open(upload: Row, at: datetime) -> None:
    """Refuse to go on with an upload that has ended."""
    status = status_of(upload, at)
    if status != "pending":
        raise _over(upload, status)


def check_unfinished(upload: Row) -> None:
    """Refuse a file made of an upload that ended meanwhile; one that ran out in that time is still made."""
    if upload["status"] != "pending":
        raise _over(upload, upload["status"])


def check_room(upload: Row, already: int, more: int) -> None:
    """Refuse parts without end."""
    if already + more > REPEATS * upload["size"]:
        raise Rejected(
            f"The parts have {already + more:,} bytes together; the upload was announced with {upload['size']:,}.",
            code="too_many_parts",
            field="data",
            fix="Complete the upload with the parts it has, or begin again with the right size.",
        )


def in_order(upload: Row, parts: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Return the parts in the order the client wants them, if they make up the file that was announced."""
    by_id = {part["part_id"]: part for part in parts}
    missing = next((name for name in wanted if name not in by_id), None)
    if missing is not None:
        raise Rejected(
            f"The upload has no part {missing[:100]!r}.",
            code="unknown_part",
            field="part_ids",
            fix="Send the ids that POST …/parts answered, each once and in order.",
        )
    if len(set(wanted)) < len(wanted):
        raise Rejected("A part is named twice.", code="unknown_part", field="part_ids", fix="Send each id once.")
    size = sum(by_id[name]["size"] for name in wanted)
    if size != upload["size"]:
        raise Rejected(
            f"These parts have {size:,} bytes together; the upload was announced with {upload['size']:,}.",
            code="wrong_size",
            field="part_ids",
            fix="Add what is missing, or begin again with the right size.",
        )
    return [by_id[name] for name in wanted]


def checked_md5(md5: str | None) -> str | None:
    """Return the sum in lower case, if it is one."""
    if md5 is None:
        return None
    if not _MD5.fullmatch(md5.lower()):
        raise Rejected("md5 is not 32 hexadecimal digits.", code="bad_md5", field="md5")
    return md5.lower()


def check_md5(wanted: str | None, found: str) -> None:
    """Refuse a file that is not the one its owner has."""
    if wanted not in (None, found):
        raise Rejected(
            f"The parts have md5 {found} together, not {wanted}: a part changed on the way, or their order is wrong.",
            code="md5_mismatch",
            field="md5",
            fix="Complete it again with the right order, or send the part that is wrong once more.",
        )


def _over(upload: Row, status: str) -> Rejected:
    return Rejected(
        f"The upload {upload['upload_id']} is {status}: nothing can be added to it or made of it.",
        code=f"upload_{status}",
        field="upload_id",
        fix="Begin again with POST /v1/uploads.",
    )
