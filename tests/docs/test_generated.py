"""Pages that follow from the code are current, and what pages point to exists."""

import re
from pathlib import Path

import pytest

from docs.generate import HERE, files, settings_kinds
from libs.settings import ServiceSettings

ROOT = HERE.parent
WRITTEN = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("services/*/*.md")]
PAGES = sorted(page for page in WRITTEN if "node_modules" not in page.parts)


def test_the_generated_pages_are_current() -> None:
    differing = [str(path.relative_to(ROOT)) for path, text in files().items() if path.read_text() != text]
    assert not differing, "run `make docs`"


@pytest.mark.parametrize("kind", [ServiceSettings, *settings_kinds()], ids=lambda kind: kind.service or "every program")
def test_every_setting_explains_itself(kind: type[ServiceSettings]) -> None:
    page = (HERE / "reference" / "settings.md").read_text()
    for name in kind.__struct_fields__:
        own = name not in ServiceSettings.__struct_fields__
        variable = f"WOODSHED_{kind.service}_{name}" if own else f"WOODSHED_{name}"
        [row] = [line for line in page.splitlines() if f"`{variable.upper()}`" in line]
        assert len(row.split("|")[3].strip()) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_path_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", text)]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:contracts|libs|services|deploy|tests|docs)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["status", "threats"])
def test_every_test_that_a_page_names_exists(name: str) -> None:
    page = (HERE / "reference" / f"{name}.md").read_text()
    written = {
        name for path in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert set(re.findall(r"`(test_\w+)`", page)) - written == set()


def test_every_requirement_has_its_row() -> None:
    page = (HERE / "reference" / "status.md").read_text()
    rows = re.findall(r"^\| ([A-Z])(\d+)(?: – [A-Z](\d+))? \| (works|partly|not yet) \|", page, re.MULTILINE)
    found = [f"{area}{number}" for area, first, last, _ in rows for number in range(int(first), int(last or first) + 1)]
    sizes = {"D": 12, "T": 17, "M": 5, "V": 12, "A": 5, "S": 6, "U": 4, "E": 8, "O": 7}
    assert found == [f"{area}{number}" for area, size in sizes.items() for number in range(1, size + 1)]
