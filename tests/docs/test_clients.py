"""How the clients for TypeScript and PHP are written from the description of the API."""

from typing import Any

import pytest

from docs.clients import description, php, typescript

ANSWERED = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Page_a.b.Thing_"}}}}}
THING = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "note": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        "late": {"oneOf": [{"type": "integer"}]},
    },
}
PAGE = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}},
}


def described(thing: dict[str, Any] = THING) -> description.Described:
    path = {"name": "box", "in": "path", "required": True, "schema": {"type": "string"}}
    query = {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer"}}
    listing = {"operationId": "listThings", "summary": "List things", "parameters": [path, query]}
    probe = {"operationId": "ready", "summary": "Ready", "tags": ["Health"], "responses": ANSWERED}
    schemas = {"Thing": thing, "Page_a.b.Thing_": PAGE, "Unused": THING}
    paths = {"/v1/{box}/things": {"get": listing | {"responses": ANSWERED}}, "/health": {"get": probe}}
    return description.read({"paths": paths, "components": {"schemas": schemas}})


def test_a_description_gives_its_operations_and_the_shapes_that_they_reach() -> None:
    read = described()
    assert [each.name for each in read.operations] == ["listThings"]
    assert [each.name for each in read.shapes] == ["Thing", "ThingPage"]


def test_an_answer_has_every_key_but_those_that_it_may_leave_out() -> None:
    [thing, _] = described().shapes
    assert {each.name: each.optional for each in thing.fields} == {"id": False, "note": False, "late": True}
    assert "  note: string | null;\n  late?: number;\n" in typescript.written(described())
    assert "@phpstan-type Thing array{id: string, note: string|null, late?: int}" in php.written(described())


def test_an_operation_is_a_method_with_its_path_and_what_may_be_asked() -> None:
    assert (
        "  listThings(box: string, query: { limit?: number } = {}): Promise<ThingPage> {\n"
        '    return this.json("GET", `/v1/${encodeURIComponent(box)}/things`, { query });\n'
    ) in typescript.written(described())
    assert (
        "    public function listThings(string $box, array $query = []): array\n    {\n"
        "        return $this->json('GET', '/v1/' . rawurlencode($box) . '/things', query: $query);\n"
    ) in php.written(described())


@pytest.mark.parametrize("written", [typescript.written, php.written])
def test_a_shape_that_no_rule_knows_stops_the_generator(written: Any) -> None:
    unknown = THING | {"properties": {"id": {"allOf": [{"type": "string"}]}}}
    with pytest.raises(ValueError):
        written(described(unknown))


def test_php_knows_the_keys_whose_empty_array_is_an_object() -> None:
    both = {"oneOf": [{"type": "object"}, {"type": "null"}]}
    thing = THING | {
        "properties": THING["properties"] | {"facts": both, "part": {"$ref": "#/components/schemas/Unused"}}
    }
    assert "OBJECTS = [\n        'facts',\n        'part',\n    ];" in php.written(described(thing))
