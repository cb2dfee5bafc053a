"""What may become of an upload in parts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.errors import Rejected
from services.gateway.domain import uploads

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PARTS = [{"part_id": "part-1", "size": 60}, {"part_id": "part-2", "size": 40}, {"part_id": "part-3", "size": 40}]


def upload(**changes: Any) -> dict[str, Any]:
    return {"upload_id": "upload-1", "size": 100, "status": "pending", "expires_at": NOON} | changes


def test_an_upload_is_open_until_its_time_is_over() -> None:
    assert uploads.status_of(upload(), NOON - timedelta(seconds=1)) == "pending"
    assert uploads.status_of(upload(), NOON) == "expired"
    assert uploads.status_of(upload(status="completed"), NOON) == "completed"


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
def test_nothing_is_added_to_an_upload_that_has_ended(status: str) -> None:
    with pytest.raises(Rejected) as refused:
        uploads.check_open(upload(status=status), NOON - timedelta(hours=1))
    assert refused.value.code == f"upload_{status}"


def test_a_file_whose_making_outlived_the_upload_still_counts_but_not_one_that_was_cancelled() -> None:
    uploads.check_unfinished(upload())
    with pytest.raises(Rejected):
        uploads.check_unfinished(upload(status="cancelled"))


def test_the_owner_says_the_order() -> None:
    named = uploads.in_order(upload(), PARTS, ["part-2", "part-1"])
    assert [each["part_id"] for each in named] == ["part-2", "part-1"]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (["part-1"], "wrong_size"),
        (["part-1", "part-2", "part-3"], "wrong_size"),
        (["part-1", "part-9"], "unknown_part"),
        (["part-1", "part-2", "part-2"], "unknown_part"),
    ],
)
def test_parts_that_are_not_the_announced_file_are_refused(wanted: list[str], code: str) -> None:
    with pytest.raises(Rejected) as refused:
        uploads.in_order(upload(), PARTS, wanted)
    assert (refused.value.code, refused.value.field) == (code, "part_ids")


def test_parts_may_come_again_but_not_without_end() -> None:
    uploads.check_room(upload(), 300, 100)
    with pytest.raises(Rejected):
        uploads.check_room(upload(), 300, 101)


def test_a_sum_is_compared_whatever_its_case_and_refused_when_it_is_none() -> None:
    assert uploads.checked_md5("ABCDEF0123456789ABCDEF0123456789") == "abcdef0123456789abcdef0123456789"
    uploads.check_md5(None, "a" * 32)
    with pytest.raises(Rejected):
        uploads.checked_md5("abc")
    with pytest.raises(Rejected, match="changed on the way"):
        uploads.check_md5("a" * 32, "b" * 32)
