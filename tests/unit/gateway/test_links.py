"""Which download links are genuine, and which of those still hold."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from libs.errors import NotFound, Rejected
from services.gateway.domain.links import Bound, Expired, LinkWish, begins, bound_of, check, link_of, seal, target

KEY = "a signing key of at least thirty-two characters"
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
END = AT + timedelta(days=1)
ROW: dict[str, Any] = {
    "link_id": "link-1", "tenant": "studio", "kind": "artifact", "owner": "ftjob-1", "part": "adapter.safetensors",
    "sha256": "a" * 64, "expires_at": END, "revoked_at": None, "created_at": AT, "made_by": "AbCdEfGh", "downloads": 0,
    "used_at": None,
}  # fmt: skip
EXPIRES = int(END.timestamp())


def given(row: dict[str, Any] = ROW) -> str:
    return parse_qs(urlsplit(link_of(row, KEY, "https://woodshed.example/", AT).url).query)["signature"][0]


def test_a_link_that_was_made_here_passes_until_its_end() -> None:
    check(ROW, KEY, EXPIRES, given(), AT)
    check(ROW, KEY, EXPIRES, given(), END - timedelta(seconds=1))
    with pytest.raises(Expired, match="expired"):
        check(ROW, KEY, EXPIRES, given(), END)


def test_a_revoked_link_says_so() -> None:
    with pytest.raises(Expired, match="revoked"):
        check(ROW | {"revoked_at": AT}, KEY, EXPIRES, given(), AT)


@pytest.mark.parametrize(
    "change",
    [{"link_id": "link-2"}, {"tenant": "rival"}, {"kind": "report"}, {"owner": "ftjob-2"}, {"part": "config"},
     {"sha256": "b" * 64}],
)  # fmt: skip
def test_a_seal_fits_one_link_to_one_object_of_one_organisation(change: dict[str, str]) -> None:
    with pytest.raises(NotFound):
        check(ROW | change, KEY, EXPIRES, given(), AT)


def test_a_forged_end_seal_or_key_is_no_link() -> None:
    for expires, signature, key in (
        (EXPIRES + 1, given(), KEY),
        (EXPIRES, given()[:-1] + ("A" if given()[-1] != "A" else "B"), KEY),
        (EXPIRES, "", KEY),
        (EXPIRES, "é", KEY),
        (EXPIRES, given(), KEY + "!"),
    ):
        with pytest.raises(NotFound):
            check(ROW, key, expires, signature, AT)
    with pytest.raises(NotFound):
        check(None, KEY, EXPIRES, given(), AT)


def test_no_two_objects_share_a_seal_by_where_their_names_are_cut() -> None:
    one = bound_of(ROW | {"owner": "ab", "part": "c"})
    other: Bound = msgspec.structs.replace(one, owner="a", part="bc")
    assert seal(KEY, "link-1", one, EXPIRES) != seal(KEY, "link-1", other, EXPIRES)


def test_a_link_leads_to_one_thing() -> None:
    assert target(LinkWish(file="file-1")) == ("file", "file-1", "")
    assert target(LinkWish(job="ftjob-1", artifact="a.json")) == ("artifact", "ftjob-1", "a.json")
    assert target(LinkWish(job="ftjob-1", report="pdf")) == ("report", "ftjob-1", "pdf")
    for wish in (
        LinkWish(),
        LinkWish(job="ftjob-1"),
        LinkWish(file="file-1", job="ftjob-1"),
        LinkWish(artifact="a.json"),
        LinkWish(job="ftjob-1", artifact="a.json", report="pdf"),
    ):
        with pytest.raises(Rejected, match="one thing"):
            target(wish)


@pytest.mark.parametrize(
    ("header", "counts"), [("", True), ("bytes=0-", True), ("bytes=7-", False), ("bytes=-5", False)]
)
def test_what_resumes_a_download_is_not_another(header: str, counts: bool) -> None:
    assert begins(header) is counts
