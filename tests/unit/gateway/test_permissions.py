"""Who may do what: every route declares it, roles hold it, keys narrow it."""

from pathlib import Path
from typing import Any, get_args

import pytest
from litestar.handlers import HTTPRouteHandler

from libs.errors import Forbidden, Rejected
from services.gateway.app import api
from services.gateway.domain.permissions import MEANING, ROLES, WHO_MAY, Permission, check, checked_scopes, granted
from services.gateway.permitted import NEEDS
from services.gateway.settings import Settings

PUBLIC = {"live", "ready", "metrics", "docs", "static", "sign_in", "download"}
PUBLIC |= {"accept_invitation", "show_invitation", "use_invitation"}
"""What answers without a key: for operators, the page that shows the API, and a password, invitation or link."""


def routes() -> list[HTTPRouteHandler]:
    nothing: Any = type("Nothing", (), {"db": None})()
    found = api(Settings(key_pepper="-" * 32), nothing, nothing, nothing, nothing).routes
    handlers = [handler for route in found for handler in getattr(route, "route_handlers", [])]
    return [each for each in handlers if each.http_methods != {"OPTIONS"} and "litestar" not in each.fn.__module__]


def test_every_route_declares_the_permission_it_needs() -> None:
    undeclared = {each.name or each.fn.__name__ for each in routes() if NEEDS not in each.opt} - PUBLIC
    assert undeclared == set(), 'say what it needs: @get(…, opt=needs("jobs.read"))'
    assert len(routes()) > 30


def test_what_routes_need_is_a_permission_that_somebody_has() -> None:
    assert {each.opt[NEEDS] for each in routes() if NEEDS in each.opt} <= WHO_MAY.keys()


def test_only_what_is_named_here_answers_without_a_key() -> None:
    public = {each.name or each.fn.__name__ for each in routes() if each.opt.get("exclude_from_auth")}
    assert public <= PUBLIC


def test_every_permission_is_explained_and_an_owner_has_all() -> None:
    assert set(get_args(Permission)) == WHO_MAY.keys() == MEANING.keys()
    assert granted("owner", None) == WHO_MAY.keys()


def test_nobody_but_an_owner_gives_roles_or_reads_the_audit_log() -> None:
    for permission in ("members.write", "keys.all", "audit.read"):
        assert [role for role in ROLES if permission in granted(role, None)] == ["owner"]


def test_a_key_narrows_its_role_and_never_widens_it() -> None:
    assert granted("analyst", ["files.read", "members.write"]) == {"files.read"}
    assert granted("owner", []) == frozenset()


def test_a_role_that_lacks_a_permission_is_told_who_has_it() -> None:
    with pytest.raises(Forbidden) as refused:
        check("jobs.write", "analyst", None)
    assert (refused.value.code, refused.value.field) == ("missing_permission", "jobs.write")
    assert "owner, engineer or staff" in str(refused.value.fix)


def test_a_narrowed_key_is_told_apart_from_a_role_that_lacks_it() -> None:
    with pytest.raises(Forbidden, match=r"key was made without the permission jobs\.write"):
        check("jobs.write", "owner", ["jobs.read"])
    check("jobs.read", "owner", ["jobs.read"])


def test_a_scope_that_is_no_permission_is_named() -> None:
    assert checked_scopes(["files.read", "files.read"]) == {"files.read"}
    with pytest.raises(Rejected, match=r"'files\.raed'"):
        checked_scopes(["files.read", "files.raed"])


def test_the_page_for_owners_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "people-and-keys.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.split("`")[1] in WHO_MAY]
    marks = {name: " | ".join("✓" if role in roles else "" for role in ROLES) for name, roles in WHO_MAY.items()}
    assert rows == [f"| `{name}` | {MEANING[name]} | {marks[name]} |" for name in WHO_MAY]
