"""Two descriptions of one wire: what counts as present, different, refused and missing."""

from typing import Any

import pytest

from tests.conformance.compare import compare, score
from tests.conformance.shapes import Document


def described(fields: dict[str, Any], *, answer: dict[str, Any] | None = None, path: str = "/things/{id}") -> Document:
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": fields}}}}
    good = {"content": {"application/json": {"schema": answer}}} if answer else {}
    operation = {"operationId": "createThing", "requestBody": body, "responses": {"200": good}}
    return Document({"paths": {path: {"post": operation}}})


def verdicts(theirs: Document, ours: Document) -> dict[str, str]:
    (operation,) = compare(theirs, ours)
    return {found.part: found.verdict for found in operation.found}


@pytest.mark.parametrize(
    ("theirs", "ours", "verdict"),
    [
        ({"type": "string"}, {"type": "string"}, "present"),
        ({"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "present"),
        ({"type": "string", "nullable": True}, {"type": "string"}, "different"),
        ({"type": "string", "enum": ["a", "b"]}, {"type": "string", "enum": ["a"]}, "different"),
        ({"type": "string", "enum": ["a"]}, {"type": "string"}, "present"),
        ({"type": "integer"}, {"type": "number"}, "present"),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 2}, "different"),
        ({"type": "integer"}, {"type": "integer", "maximum": 9}, "different"),
        ({"oneOf": [{"const": "auto"}, {"type": "integer", "maximum": 50}]},
         {"anyOf": [{"enum": ["auto"]}, {"type": "integer", "maximum": 50}]}, "present"),
    ],
)  # fmt: skip
def test_a_request_has_to_take_everything_that_theirs_allows(theirs: Any, ours: Any, verdict: str) -> None:
    found = verdicts(described({"x": theirs}), described({"x": ours}, path="/v1/things/{name}"))
    assert found["request x"] == verdict


@pytest.mark.parametrize(
    ("theirs", "ours", "required", "verdict"),
    [
        ({"type": "string"}, {"type": "string"}, ["x"], "present"),
        ({"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, ["x"], "different"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string"}, ["x"], "present"),
        ({"type": "string", "enum": ["a"]}, {"type": "string"}, ["x"], "different"),
        ({"type": "number"}, {"type": "integer"}, ["x"], "present"),
        ({"type": "string"}, {"type": "string"}, [], "different"),
        ({"type": "string"}, {"type": "string", "default": "a"}, [], "present"),
    ],
)
def test_an_answer_may_hold_nothing_that_theirs_does_not_allow(
    theirs: Any, ours: Any, required: list[str], verdict: str
) -> None:
    one = {"type": "object", "properties": {"x": theirs}, "required": ["x"]}
    other = {"type": "object", "properties": {"x": ours}, "required": required}
    found = verdicts(described({}, answer=one), described({}, answer=other, path="/v1/things/{name}"))
    assert found["answer x"] == verdict


def test_a_field_of_ours_that_theirs_leaves_to_choice_may_not_be_required() -> None:
    ours = described({"x": {"type": "string"}}, path="/v1/things/{name}")
    operation = ours.content["paths"]["/v1/things/{name}"]["post"]
    operation["requestBody"]["content"]["application/json"]["schema"]["required"] = ["x"]
    assert verdicts(described({"x": {"type": "string"}}), ours)["request x"] == "different"


def test_an_operation_that_is_not_here_is_missing_with_all_its_parts() -> None:
    inner = {"type": "object", "properties": {"y": {"type": "string"}}}
    found = verdicts(described({"x": inner}), described({}, path="/v1/others"))
    assert found == {"operation": "missing", "request x": "missing", "request x.y": "missing"}


def test_what_is_refused_counts_as_neither_missing_nor_present() -> None:
    theirs = described({"method": {"type": "object", "properties": {"reinforcement": {"type": "object"}}}})
    ours = described({"method": {"type": "object", "properties": {"reinforcement": {}}}}, path="/v1/things/{name}")
    assert verdicts(theirs, ours)["request method.reinforcement"] == "refused"
    assert score(compare(theirs, ours)) == (2, 3)
