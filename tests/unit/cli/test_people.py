"""``woodshed keys`` and its neighbours: how times are written, and what a key is shown as."""

from typing import Any

import pytest

from services.cli.errors import Unusable
from services.cli.people import _end, _may, lifetime

KEY: dict[str, Any] = {
    "role": "engineer", "scopes": None, "permissions": ["jobs.read"], "expires_at": None, "revoked_at": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("1.5d", 129_600)])
def test_a_lifetime_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "3 weeks", "-1h"])
def test_a_lifetime_without_one_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="30m, 12h or 90d"):
        lifetime(text)


def test_a_key_says_what_it_may_and_when_it_ends() -> None:
    assert (_may(KEY), _end(KEY)) == ("all that engineer may", "never")
    narrow = KEY | {"scopes": ["jobs.read"], "expires_at": 1_800_000_000}
    assert _may(narrow) == "jobs.read"
    assert _end(narrow).startswith("2027-01-1")
    assert _may(KEY | {"scopes": [], "permissions": []}) == "nothing"
    assert _end(narrow | {"revoked_at": 1_700_000_000}).startswith("revoked 2023-11-1")
