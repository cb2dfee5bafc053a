"""Compares two descriptions of one wire: what OpenAI's promises its clients, and what ours says we do.

Of a request we must take everything that theirs allows; of a response we must send everything that theirs promises,
and nothing in its place that theirs does not allow.
"""

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from tests.conformance.shapes import Document, Schema, Shape

Verdict = Literal["present", "different", "refused", "missing"]
METHODS = ("get", "post", "delete", "put", "patch")
PREFIX = "/v1"

REFUSED = {
    "method.reinforcement": "400 on `method.type`: models learn from good replies and from pairs",
}
"""Parts of a job that are answered with a 400 that says what to do, and so never come back in a job."""


class Found(Struct, frozen=True):
    """What became of one part of an operation; ``part`` is such as ``request method.type``."""

    operation: str
    part: str
    verdict: Verdict
    why: str = ""


class Operation(Struct, frozen=True):
    """An operation of theirs, and whether ours has it."""

    name: str
    method: str
    path: str
    found: list[Found]


def compare(theirs: Document, ours: Document) -> list[Operation]:
    """Walk every operation of theirs."""
    here = {(method, _plain(path)): each for method, path, each in _operations(ours)}
    return [
        Operation(
            each["operationId"], method, path, list(_operation(theirs, each, ours, here.get((method, _plain(path)))))
        )
        for method, path, each in _operations(theirs)
    ]


def score(operations: list[Operation]) -> tuple[int, int]:
    """Return how many parts are present, and how many there are."""
    found = [each for operation in operations for each in operation.found]
    return sum(each.verdict == "present" for each in found), len(found)


def _operations(document: Document) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document.content["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method, path, methods[method]


def _plain(path: str) -> str:
    return re.sub(r"{[^}]+}", "{}", path.removeprefix(PREFIX).rstrip("/"))


def _operation(theirs: Document, wanted: Schema, ours: Document, given: Schema | None) -> Iterator[Found]:
    name = wanted["operationId"]
    if given is None:
        yield Found(name, "operation", "missing")
        for part in _parts(theirs, wanted):
            yield Found(name, part, "missing")
        return
    yield Found(name, "operation", "present")
    yield from _queries(theirs, wanted, ours, given)
    bodies = _body(theirs, wanted.get("requestBody")), _body(ours, given.get("requestBody"))
    if bodies[0] is not None:
        yield from _requests(name, theirs, bodies[0], ours, bodies[1] or {})
    answers = _body(theirs, wanted["responses"]["200"]), _body(ours, given["responses"].get("200"))
    if answers[0] is not None and theirs.shape(answers[0]).fields:
        yield from _answers(name, theirs, answers[0], ours, answers[1] or {})


def _queries(theirs: Document, wanted: Schema, ours: Document, given: Schema) -> Iterator[Found]:
    here = {each["name"]: each for each in given.get("parameters", []) if each["in"] == "query"}
    for each in wanted.get("parameters", []):
        if each["in"] == "query":
            found = here.get(each["name"])
            part = f"query {each['name']}"
            if found is None:
                yield Found(wanted["operationId"], part, "missing")
            else:
                why = narrower(theirs.shape(each["schema"]), ours.shape(found["schema"]))
                yield Found(wanted["operationId"], part, "different" if why else "present", why)


def _requests(
    name: str, theirs: Document, wanted: Schema, ours: Document, given: Schema, path: str = ""
) -> Iterator[Found]:
    want, have = theirs.shape(wanted), ours.shape(given)
    for field, schema in want.fields.items():
        inner = f"{path}.{field}".lstrip(".")
        if refusal := _refusal(inner):
            yield from (Found(name, part, "refused", refusal) for part in _below(theirs, schema, f"request {inner}"))
        elif field not in have.fields:
            yield from (Found(name, part, "missing") for part in _below(theirs, schema, f"request {inner}"))
        else:
            yield from _request(name, theirs, schema, ours, have, field, inner, wanted=field in want.required)


def _request(
    name: str,
    theirs: Document,
    schema: Schema,
    ours: Document,
    have: Shape,
    field: str,
    path: str,
    *,
    wanted: bool,
) -> Iterator[Found]:
    want, found = theirs.shape(schema), ours.shape(have.fields[field])
    why = narrower(want, found)
    if not why and field in have.required and not wanted:
        why = "required here"
    yield Found(name, f"request {path}", "different" if why else "present", why)
    yield from _requests(name, theirs, schema, ours, have.fields[field], path)
    if want.items and theirs.shape(want.items).fields:
        yield from _requests(name, theirs, want.items, ours, found.items or {}, f"{path}[]")


def _answers(
    name: str, theirs: Document, wanted: Schema, ours: Document, given: Schema, path: str = ""
) -> Iterator[Found]:
    want, have = theirs.shape(wanted), ours.shape(given)
    for field, schema in want.fields.items():
        inner = f"{path}.{field}".lstrip(".")
        if refusal := _refusal(inner):
            yield Found(name, f"answer {inner}", "refused", refusal)
            continue
        if field not in have.fields:
            verdict: Verdict = "missing" if field in want.required else "different"
            why = "" if field in want.required else "never sent; it may be left out"
            yield Found(name, f"answer {inner}", verdict, why)
            continue
        why = wider(theirs.shape(schema), ours.shape(have.fields[field]))
        if not why and field in want.required and not _always(have, field):
            why = "not always sent"
        yield Found(name, f"answer {inner}", "different" if why else "present", why)
        yield from _answers(name, theirs, schema, ours, have.fields[field], inner)
        items = theirs.shape(schema).items
        if items and theirs.shape(items).fields:
            yield from _answers(name, theirs, items, ours, ours.shape(have.fields[field]).items or {}, f"{inner}[]")


def _refusal(path: str) -> str | None:
    """Return why a part is refused; a list's jobs are jobs too."""
    return next((why for part, why in REFUSED.items() if path.removeprefix("data[].").startswith(part)), None)


def _always(have: Shape, field: str) -> bool:
    """A field with a default is always sent too; live answers show it."""
    return field in have.required or "default" in have.fields[field]


def narrower(theirs: Shape, ours: Shape) -> str:
    """Say what theirs allows in a request and ours does not; empty when ours takes it all."""
    if not ours.kinds or not theirs.kinds:
        return ""
    lacking = {each for each in theirs.kinds - ours.kinds if not (each == "integer" and "number" in ours.kinds)}
    if lacking:
        return f"{_words(lacking)} not taken"
    if ours.choices is not None and "string" in theirs.kinds:
        if theirs.choices is None:
            return f"only {_words(ours.choices)}"
        if theirs.choices - ours.choices:
            return f"{_words(theirs.choices - ours.choices)} not taken"
    if ours.low is not None and (theirs.low is None or ours.low > theirs.low):
        return f"at least {ours.low:g} here"
    if ours.high is not None and (theirs.high is None or ours.high < theirs.high):
        return f"at most {ours.high:g} here"
    return ""


def wider(theirs: Shape, ours: Shape) -> str:
    """Say what ours may send in a response and theirs does not allow; empty when all of it is."""
    if not ours.kinds or not theirs.kinds:
        return ""
    extra = {each for each in ours.kinds - theirs.kinds if not (each == "integer" and "number" in theirs.kinds)}
    if extra:
        return f"may be {_words(extra)}"
    if theirs.choices is not None and "string" in ours.kinds:
        if ours.choices is None:
            return "any string by our description"
        if ours.choices - theirs.choices:
            return f"also {_words(ours.choices - theirs.choices)}"
    return ""


def _body(document: Document, holder: Schema | None) -> Schema | None:
    content = document.at(holder or {}).get("content", {})
    for kind in ("application/json", "multipart/form-data"):
        if kind in content:
            found: Schema = content[kind]["schema"]
            return found
    return None


def _parts(document: Document, operation: Schema) -> Iterator[str]:
    """Yield every part that theirs has, for an operation that ours lacks."""
    yield from (f"query {each['name']}" for each in operation.get("parameters", []) if each["in"] == "query")
    for what, schema in (
        ("request", _body(document, operation.get("requestBody"))),
        ("answer", _body(document, operation["responses"]["200"])),
    ):
        for field, inner in (document.shape(schema).fields if schema else {}).items():
            yield from _below(document, inner, f"{what} {field}")


def _below(document: Document, schema: Schema, path: str) -> Iterator[str]:
    """Yield a field and all that is inside it."""
    yield path
    shape = document.shape(schema)
    inside, mark = (shape, "") if shape.fields else (document.shape(shape.items or {}), "[]")
    for field, inner in inside.fields.items():
        yield from _below(document, inner, f"{path}{mark}.{field}")


def _words(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names))
