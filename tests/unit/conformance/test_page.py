"""The page that says how much of the wire is here: what it claims still stands in our own description."""

import re
from datetime import date
from pathlib import Path

from services.gateway.openapi import document
from tests.conformance.compare import Found, Operation
from tests.conformance.live import Live
from tests.conformance.page import page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "conformance.md"
ROW = re.compile(r"^\| (\w+) \| `([A-Z]+) (\S+)` \| \d+ \| (\d*) \|", re.MULTILINE)


def test_every_operation_that_the_committed_page_claims_is_described() -> None:
    claimed = [(method.lower(), path) for _, method, path, present in ROW.findall(PAGE.read_text()) if present]
    given = {
        (method, re.sub(r"{\w+}", "{}", path)) for path, methods in document()["paths"].items() for method in methods
    }
    assert len(claimed) > 20
    assert [each for each in claimed if (each[0], "/v1" + re.sub(r"{\w+}", "{}", each[1])) not in given] == []


def test_a_page_counts_parts_and_says_what_differs_and_why() -> None:
    found = [
        Found("getThing", "operation", "present"),
        Found("getThing", "answer first_id", "different", "may be null"),
        Found("getThing", "request method.dpo", "refused", "400 on `method.type`"),
        Found("getThing", "query limit", "missing"),
    ]
    text = page(
        [Operation("getThing", "get", "/things", found)],
        {"getThing": Live(200, ("$.first_id: None is not of type 'string'",))},
        "version 2",
        date(2026, 11, 21),
    )
    assert "**1 of 4 parts are as OpenAI describes them: 25%.** Measured on 21 November 2026" in text
    row = "| getThing | `GET /things` | 4 | 1 | 1 | 1 | 1 | 200, $.first_id: None is not of type 'string' |"
    assert row in text
    assert "| `answer first_id` | getThing | may be null | an empty list has no first id |" in text
    assert "- `getThing`: query limit" in text
