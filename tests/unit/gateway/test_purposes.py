"""What files may be for, and when they go by themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.errors import Rejected
from services.gateway.domain import purposes

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def fields(anchor: str | None, seconds: str | None) -> dict[str, str]:
    given = {purposes.ANCHOR: anchor, purposes.SECONDS: seconds}
    return {"other": "x"} | {name: value for name, value in given.items() if value is not None}


def test_a_form_says_how_long_its_file_is_kept_and_may_leave_it_out() -> None:
    form = fields("created_at", "3600")
    assert purposes.lifetime_of(form) == 3600
    assert form == {"other": "x"}
    assert purposes.lifetime_of(fields(None, None)) is None


@pytest.mark.parametrize(
    ("anchor", "seconds", "field"),
    [
        ("last_used_at", "3600", purposes.ANCHOR),
        (None, "3600", purposes.ANCHOR),
        ("created_at", None, purposes.SECONDS),
        ("created_at", "soon", purposes.SECONDS),
        ("created_at", "-3600", purposes.SECONDS),
        ("created_at", "3599", "expires_after.seconds"),
        ("created_at", "2592001", "expires_after.seconds"),
    ],
)
def test_a_lifetime_that_makes_no_sense_is_refused(anchor: str | None, seconds: str | None, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        purposes.lifetime_of(fields(anchor, seconds))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("purpose", "lifetime", "expires"),
    [
        ("fine-tune", None, None),
        ("fine-tune", 3600, NOON + timedelta(hours=1)),
        ("batch", None, NOON + timedelta(days=30)),
        ("batch", 7200, NOON + timedelta(hours=2)),
    ],
)
def test_files_stay_but_those_for_batches_and_those_that_say_so(purpose: str, lifetime: Any, expires: Any) -> None:
    assert purposes.expiry_of(purpose, lifetime, NOON) == expires


def test_nothing_is_trained_on_a_file_that_was_uploaded_for_something_else() -> None:
    purposes.check_training_file({"file_id": "file-1", "purpose": "fine-tune"}, "training_file")
    with pytest.raises(Rejected, match="uploaded for vision") as refused:
        purposes.check_training_file({"file_id": "file-1", "purpose": "vision"}, "training_file")
    assert (refused.value.field, refused.value.code) == ("training_file", "bad_purpose")


def test_an_unknown_purpose_is_refused_with_those_there_are() -> None:
    with pytest.raises(Rejected, match="'music'") as refused:
        purposes.chosen_purpose("music")
    assert "fine-tune" in (refused.value.fix or "")
