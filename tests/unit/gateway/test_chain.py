"""The audit log's hash chain: it holds as written, and every way of tampering with it shows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.gateway.domain.chain import START, Entry, Sealed, Walk, seal

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def log(length: int) -> list[Sealed]:
    written: list[Sealed] = []
    for number in range(1, length + 1):
        entry = Entry(
            tenant="studio", number=number, at=AT + timedelta(seconds=number), actor="member-1", via="AbCd1234",
            action="key.made", about=f"key-{number}", details="{}", origin="10.0.0.1", request_id=f"req-{number}",
        )  # fmt: skip
        written.append(seal(written[-1].hash if written else START, entry))
    return written


def verdict(entries: list[Sealed], audited: int, head: bytes) -> int | None:
    walk = Walk()
    walk.follow(entries)
    broken = walk.end(audited, head)
    return broken and broken.number


def test_a_log_as_it_was_written_holds_even_an_empty_one() -> None:
    assert verdict([], 0, START) is None
    whole = log(5)
    assert verdict(whole, 5, whole[-1].hash) is None
    elsewhere = [msgspec.structs.replace(each, entry=in_another_zone(each.entry)) for each in whole]
    assert verdict(elsewhere, 5, whole[-1].hash) is None


def in_another_zone(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, at=entry.at.astimezone())


@pytest.mark.parametrize(
    "field", ["tenant", "at", "actor", "via", "action", "about", "details", "origin", "request_id"]
)
def test_an_entry_that_says_something_else_is_named(field: str) -> None:
    whole = log(4)
    entry = whole[1].entry
    other = entry.at + timedelta(microseconds=1) if field == "at" else "another"
    whole[1] = msgspec.structs.replace(whole[1], entry=msgspec.structs.replace(entry, **{field: other}))
    assert verdict(whole, 4, whole[-1].hash) == 2


@pytest.mark.parametrize(
    ("tampered", "broken_at"),
    [
        (lambda entries: entries[:1] + entries[2:], 2),
        (lambda entries: entries[1:], 1),
        (lambda entries: entries[:3], 4),
        (lambda entries: [entries[1], entries[0], *entries[2:]], 1),
        (lambda entries: [entries[0], seal(entries[0].hash, entries[1].entry), entries[1], *entries[2:]], 3),
    ],
    ids=["one taken out", "the first taken out", "the last taken out", "two exchanged", "one put between"],
)
def test_a_log_with_other_entries_breaks_where_they_are(
    tampered: Callable[[list[Sealed]], list[Sealed]], broken_at: int
) -> None:
    whole = log(4)
    assert verdict(tampered(whole), 4, whole[-1].hash) == broken_at


def test_a_log_written_anew_from_some_entry_on_ends_differently() -> None:
    whole = log(4)
    changed = msgspec.structs.replace(whole[1].entry, actor="member-2")
    forged = [whole[0], seal(whole[0].hash, changed)]
    for each in whole[2:]:
        forged.append(seal(forged[-1].hash, each.entry))
    assert verdict(forged, 4, whole[-1].hash) == 5
