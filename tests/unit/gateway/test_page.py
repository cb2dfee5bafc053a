"""The page for invitations stands alone, can be used by everybody, and runs nothing that somebody wrote into it."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from libs.errors import Forbidden, Rejected
from services.gateway import page
from services.gateway.domain.sessions import check_own_form
from services.gateway.routes.health import STATIC

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [each for name, each in self.all if name == tag]


def test_the_page_asks_nothing_of_the_outside() -> None:
    parts = [page.form(), *((STATIC / name).read_text() for name in ("invitation.js", "page.css"))]
    for text in parts:
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch|XMLHttp|innerHTML|eval", text)


def test_every_field_has_its_label_and_its_hint() -> None:
    shown = Elements(page.form(Rejected("Too short.", fix="Make it longer.")))
    ids = {each["id"] for _, each in shown.all if "id" in each}
    fields = shown.of("input")
    assert [each["name"] for each in fields] == ["invitation", "name", "password", "again"]
    assert [each["for"] for each in shown.of("label")] == [each["id"] for each in fields]
    assert {each["aria-describedby"] for each in fields if "aria-describedby" in each} <= ids
    assert shown.of("html") == [{"lang": "en"}]
    [said] = [each for each in shown.of("div") if each.get("role") == "alert"]
    assert said["id"] == "problem"


def test_hostile_words_stay_words() -> None:
    for text in (
        page.form(Rejected(HOSTILE, fix=HOSTILE), HOSTILE, HOSTILE),
        page.welcome(name=HOSTILE, email=HOSTILE, organisation=HOSTILE, role=HOSTILE, until=datetime.now(UTC)),
    ):
        shown = Elements(text)
        assert [each.get("src") for each in shown.of("script")] in ([], ["static/invitation.js"])
        assert not shown.of("img")
        assert not any(name.startswith("on") for _, each in shown.all for name in each)
    assert Elements(page.form(None, HOSTILE)).of("input")[0]["value"] == HOSTILE


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"host": "woodshed.example"}, True),
        ({"host": "woodshed.example", "origin": "https://woodshed.example"}, True),
        ({"host": "woodshed.example", "origin": "https://evil.example"}, False),
        ({"host": "woodshed.example", "origin": "null"}, False),
        ({"host": "inner:8080", "origin": "https://woodshed.example", "sec-fetch-site": "same-origin"}, True),
        ({"host": "woodshed.example", "sec-fetch-site": "same-site"}, False),
        ({"host": "woodshed.example", "origin": "https://woodshed.example", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str], own: bool) -> None:
    if own:
        check_own_form(headers)
    else:
        with pytest.raises(Forbidden, match="Another web site"):
            check_own_form(headers)
