"""Members: addresses, who may give which role, and the owner that stays."""

import pytest

from libs.errors import Conflict, Forbidden, Rejected
from services.gateway.domain.members import check_may_give, check_owner_stays, checked_email
from services.gateway.domain.permissions import ROLES, granted


def test_an_address_is_compared_in_small_letters() -> None:
    assert checked_email(" Elena@Studio.Example ") == "elena@studio.example"


@pytest.mark.parametrize(
    "text", ["", "elena", "elena@studio", "a b@c.de", "@c.de", "a@b@c.de", "a@" + "b" * 300 + ".de"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="no e-mail address"):
        checked_email(text)


def test_an_owner_gives_every_role_and_a_narrowed_key_of_an_owner_none_that_can_do_more() -> None:
    for role in ROLES:
        check_may_give(granted("owner", None), role)
        with pytest.raises(Forbidden, match="can do more"):
            check_may_give(granted("owner", ["members.write"]), role)


@pytest.mark.parametrize("role", ["engineer", "analyst", "staff", None])
def test_the_last_owner_neither_leaves_nor_becomes_less(role: str | None) -> None:
    with pytest.raises(Conflict, match="last owner"):
        check_owner_stays(["ann"], "ann", role)  # type: ignore[arg-type]
    check_owner_stays(["ann", "bob"], "ann", role)  # type: ignore[arg-type]
    check_owner_stays(["ann"], "bob", role)  # type: ignore[arg-type]
