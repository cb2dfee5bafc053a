"""The API as its clients are written from it: operations and shapes, read from our own OpenAPI description.

The description is regular (msgspec makes it), so these few rules are enough. A shape that they do not know stops the
generator.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

Schema = dict[str, Any]
Answer = Literal["json", "bytes", "events"]
LEFT_OUT = ("Health",)
ABOUT = {"title", "description", "default", "examples", "deprecated"}
JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"


class Query(NamedTuple):
    """What may stand behind the question mark."""

    name: str
    schema: Schema
    required: bool


class Operation(NamedTuple):
    """One call. ``path`` has its parameters in braces; ``body`` and ``answered`` are schemas."""

    name: str
    summary: str
    method: str
    path: str
    parameters: list[str]
    queries: list[Query]
    body: Schema | None
    body_required: bool
    upload: bool
    answer: Answer
    answered: Schema

    @property
    def shape(self) -> str:
        """Name the body where it has no name of its own: a form."""
        return self.name[0].upper() + self.name[1:] + "Form"


class Field(NamedTuple):
    """A key of a shape; ``optional`` may be missing."""

    name: str
    schema: Schema
    optional: bool


class Shape(NamedTuple):
    """An object that is sent or answered."""

    name: str
    text: str
    fields: list[Field]


class Described(NamedTuple):
    """Everything that the clients are written from."""

    operations: list[Operation]
    shapes: list[Shape]


def read(document: Schema) -> Described:
    """Read a description, in the order of its own."""
    operations = [
        _operation(path, method, each)
        for path, methods in document["paths"].items()
        for method, each in methods.items()
        if not set(each.get("tags", ())) & set(LEFT_OUT)
    ]
    schemas = document["components"]["schemas"]
    sent = set(_reached(schemas, [each.body for each in operations if each.body]))
    answered = set(_reached(schemas, [each.answered for each in operations]))
    shapes = [_shape(name, schemas[name], name in sent) for name in schemas if name in sent | answered]
    forms = [_shape(each.shape, each.body, True) for each in operations if each.body and each.upload]
    return Described(operations, sorted([*shapes, *forms], key=lambda shape: shape.name))


def anything(schema: Schema) -> bool:
    """Tell whether a schema says nothing of what it takes."""
    return set(schema) <= ABOUT


def name_of(reference: str) -> str:
    """Say a schema's name as a type: ``Page_….wire.Job_`` is a ``JobPage``."""
    name = reference.rpartition("/")[2]
    page = re.fullmatch(r"Page_(?:.*\.)?(\w+)_", name)
    return f"{page[1]}Page" if page else name


def _operation(path: str, method: str, described: Schema) -> Operation:
    given = described.get("parameters", [])
    media, body = next(iter(described.get("requestBody", {}).get("content", {}).items()), ("", None))
    [good] = [each for status, each in described["responses"].items() if status.startswith("2")]
    kind, answered = next(iter(good.get("content", {}).items()), ("", {}))
    return Operation(
        name=described["operationId"],
        summary=described["summary"],
        method=method.upper(),
        path=path,
        parameters=[each["name"] for each in given if each["in"] == "path"],
        queries=[Query(each["name"], each["schema"], each["required"]) for each in given if each["in"] == "query"],
        body=body and body["schema"],
        body_required=bool(described.get("requestBody", {}).get("required")),
        upload=media == FORM,
        answer="json" if kind == JSON else "events" if kind == EVENTS else "bytes",
        answered=answered["schema"] if kind == JSON else {},
    )


def _reached(schemas: dict[str, Schema], begin: list[Schema]) -> Iterator[str]:
    """Name every schema that can be met from some others."""
    seen: set[str] = set()
    waiting: list[Any] = list(begin)
    while waiting:
        match waiting.pop():
            case {"$ref": str() as reference} if (name := reference.rpartition("/")[2]) not in seen:
                seen.add(name)
                waiting.append(schemas[name])
                yield name
            case dict() as inner:
                waiting += inner.values()
            case list() as inner:
                waiting += inner


def _shape(name: str, schema: Schema, sent: bool) -> Shape:
    required = schema.get("required", ())
    fields = [Field(key, each, key not in required and (sent or _unset(each))) for key, each in _properties(schema)]
    return Shape(name_of(name), " ".join(schema.get("description", "").split()), fields)


def _properties(schema: Schema) -> list[tuple[str, Schema]]:
    return list(schema.get("properties", {}).items())


def _unset(schema: Schema) -> bool:
    """Tell whether an answer may leave a key out: msgspec describes that as a choice of one."""
    return len(schema.get("oneOf", ())) == 1 and "default" not in schema
