"""What a JSON Schema says of one value: enough of it to compare two descriptions of the same wire.

Reads both OpenAPI 3.0's ``nullable`` and 3.1's null types; unions of several objects (graders) are not looked into.
"""

from typing import Any

from msgspec import Struct, field

Schema = dict[str, Any]


class Shape(Struct, kw_only=True):
    """One value: its JSON kinds, the strings it is limited to, its bounds, and what is inside."""

    kinds: frozenset[str] = frozenset()
    choices: frozenset[str] | None = None
    low: float | None = None
    high: float | None = None
    fields: dict[str, Schema] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: Schema | None = None


class Document:
    """An OpenAPI document whose references can be followed."""

    def __init__(self, content: Schema) -> None:
        self.content = content

    def at(self, schema: Schema) -> Schema:
        """Follow references until something is said."""
        while "$ref" in schema:
            here: Any = self.content
            for step in schema["$ref"].removeprefix("#/").split("/"):
                here = here[step]
            schema = here
        return schema

    def shape(self, schema: Schema) -> Shape:
        """Read a schema; what is said in ``allOf`` counts together, ``anyOf`` and ``oneOf`` are unions."""
        schema = self.at(schema)
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return _with_null(schema, _union([self.shape(each) for each in branches]))
        if "allOf" in schema:
            return _both([self.shape(each) for each in schema["allOf"]])
        return _with_null(schema, _plain(schema))


def _plain(schema: Schema) -> Shape:
    said = schema.get("type", "object" if "properties" in schema else [])
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    strings = None if choices is None else frozenset(each for each in choices if isinstance(each, str))
    kinds = {said} if isinstance(said, str) else set(said)
    if not kinds and choices is not None:
        kinds = {"null" if each is None else "string" for each in choices}
    return Shape(
        kinds=frozenset(kinds),
        choices=strings,
        low=_bound(schema, "minimum", "exclusiveMinimum"),
        high=_bound(schema, "maximum", "exclusiveMaximum"),
        fields=schema.get("properties", {}),
        required=frozenset(schema.get("required", ())),
        items=schema.get("items"),
    )


def _bound(schema: Schema, plain: str, exclusive: str) -> float | None:
    """Return a bound; whether it is itself allowed makes no difference here."""
    found = schema.get(plain)
    if found is None and not isinstance(schema.get(exclusive), bool):
        found = schema.get(exclusive)
    return None if found is None else float(found)


def _with_null(schema: Schema, shape: Shape) -> Shape:
    if schema.get("nullable"):
        shape.kinds |= {"null"}
    return shape


def _union(shapes: list[Shape]) -> Shape:
    """Anything one of them allows. Bounds and choices are those of the branches that have a say in them."""
    kinds = frozenset().union(*(each.kinds for each in shapes))
    objects = [each for each in shapes if each.fields]
    strings = [each for each in shapes if "string" in each.kinds]
    numbers = [each for each in shapes if each.kinds & {"integer", "number"}]
    free = any(each.choices is None for each in strings)
    return Shape(
        kinds=kinds,
        choices=None if free or not strings else frozenset().union(*(each.choices or frozenset() for each in strings)),
        low=min((each.low for each in numbers if each.low is not None), default=None),
        high=max((each.high for each in numbers if each.high is not None), default=None),
        fields=objects[0].fields if len(objects) == 1 else {},
        required=objects[0].required if len(objects) == 1 else frozenset(),
        items=next((each.items for each in shapes if each.items), None),
    )


def _both(shapes: list[Shape]) -> Shape:
    """What is said in parts: the parts with fields, and null where one of them says so."""
    merged = Shape(kinds=frozenset().union(*(each.kinds for each in shapes)))
    for each in shapes:
        merged.fields |= each.fields
        merged.required |= each.required
        merged.choices = each.choices if each.choices is not None else merged.choices
    return merged
