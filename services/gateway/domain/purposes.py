"""What a file may be for, and how long it is kept: OpenAI's words and limits."""

from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from libs.errors import Rejected
from services.gateway.domain.statuses import Row

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
TRAINING: Purpose = "fine-tune"

SHORTEST, LONGEST = 3600, 30 * 86_400
BATCH_LIFETIME = LONGEST
"""Seconds: a file of purpose ``batch`` goes after 30 days unless it says otherwise."""

WHOLE = "expires_after"
ANCHOR, SECONDS = f"{WHOLE}[anchor]", f"{WHOLE}[seconds]"
"""How a form spells the two fields of ``expires_after``."""


class Expiry(Struct, forbid_unknown_fields=True):
    """``expires_after`` as JSON."""

    anchor: str
    seconds: int


def chosen_purpose(name: str | None) -> str:
    """Return the purpose if files may have it; ``Rejected`` lists those they may."""
    if name not in PURPOSES:
        said = "The form has no purpose." if name is None else f"Files of purpose {name[:100]!r} are not taken."
        fix = f"Send one of {', '.join(PURPOSES)}; to train on the file, send {TRAINING}."
        raise Rejected(said, code="bad_purpose", field="purpose", fix=fix)
    return name


def lifetime_of(fields: dict[str, str]) -> int | None:
    """Take ``expires_after`` out of a form's fields; return its seconds, ``None`` where it is not there."""
    anchor, seconds = _spelled(fields)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise Rejected("expires_after needs the anchor created_at.", code="bad_expiry", field=ANCHOR)
    if seconds is None or not seconds.isdecimal():
        raise Rejected("expires_after needs seconds, a whole number.", code="bad_expiry", field=SECONDS)
    return checked_lifetime(int(seconds))


def _spelled(fields: dict[str, str]) -> tuple[str | None, str | None]:
    """Return anchor and seconds: two fields as OpenAI's clients send them, or one of JSON as OpenAPI has it."""
    whole = fields.pop(WHOLE, None)
    if whole is None:
        return fields.pop(ANCHOR, None), fields.pop(SECONDS, None)
    try:
        said = msgspec.json.decode(whole, type=Expiry)
    except msgspec.MsgspecError as error:
        raise Rejected(f"expires_after cannot be read: {error}.", code="bad_expiry", field=WHOLE) from error
    return said.anchor, str(said.seconds)


def checked_lifetime(seconds: int) -> int:
    """Return the seconds a file is to be kept if they are between an hour and 30 days."""
    if not SHORTEST <= seconds <= LONGEST:
        raise Rejected(
            f"A file can be kept for {SHORTEST:,} to {LONGEST:,} seconds, or without end: leave expires_after out.",
            code="bad_expiry",
            field="expires_after.seconds",
        )
    return seconds


def expiry_of(purpose: str, lifetime: int | None, at: datetime) -> datetime | None:
    """Return when a file made now goes by itself; ``None``: when somebody deletes it."""
    kept = BATCH_LIFETIME if lifetime is None and purpose == "batch" else lifetime
    return None if kept is None else at + timedelta(seconds=kept)


def check_training_file(row: Row, field: str) -> None:
    """Refuse to train on a file that was uploaded for something else."""
    if row["purpose"] != TRAINING:
        raise Rejected(
            f"The file {row['file_id']} was uploaded for {row['purpose']}, not to train on.",
            code="bad_purpose",
            field=field,
            fix=f"Upload it with purpose={TRAINING}.",
        )
