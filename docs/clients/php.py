"""The client for PHP: one class on Guzzle, arrays in and out, their shapes told to editors and PHPStan."""

import json
from pathlib import Path

from docs.clients.description import Described, Operation, Schema, Shape, anything, name_of

TEMPLATE = Path(__file__).with_name("Woodshed.template.php")
SIMPLE = {"string": "string", "integer": "int", "number": "float", "boolean": "bool", "null": "null"}


def written(described: Described) -> str:
    """Return the whole file."""
    methods = "\n\n".join(map(_method, described.operations))
    shapes = "\n".join(map(_phpstan, described.shapes))
    objects = "".join(f"\n        {_said(each)}," for each in sorted(_objects(described))) + "\n    "
    text = TEMPLATE.read_text().replace("    // methods\n", methods + "\n").replace(" * shapes\n", shapes + "\n")
    return text.replace("/* objects */", objects)


def _objects(described: Described) -> set[str]:
    """Name the keys that hold an object wherever they stand: an empty one has to be told from an empty list."""
    fields = [each for shape in described.shapes for each in shape.fields]
    lists = {each.name for each in fields if _holds(each.schema, "array")}
    return {each.name for each in fields if _holds(each.schema, "object")} - lists


def _holds(schema: Schema, kind: str) -> bool:
    choices = schema.get("oneOf") or schema.get("anyOf") or [schema]
    return any(each.get("type") == kind or (kind == "object" and "$ref" in each) for each in choices)


def _type(schema: Schema) -> str:
    match schema:
        case {"$ref": reference}:
            return name_of(reference)
        case {"oneOf": choices} | {"anyOf": choices}:
            return "|".join(dict.fromkeys(_type(each) for each in choices if each)) or "mixed"
        case {"const": value}:
            return _said(value)
        case {"enum": values}:
            return "|".join(map(_said, values))
        case {"type": list() as types}:
            return "|".join(SIMPLE[each] for each in types)
        case {"type": "array", "items": items}:
            return f"list<{_type(items)}>"
        case {"type": "object", "properties": inner}:
            required = schema.get("required", ())
            keys = (f"{key}{'' if key in required else '?'}: {_type(each)}" for key, each in inner.items())
            return f"array{{{', '.join(keys)}}}"
        case {"type": "object", "additionalProperties": values}:
            return f"array<string, {_type(values)}>"
        case {"type": "array"}:
            return "list<mixed>"
        case {"type": "object"}:
            return "array<string, mixed>"
        case {"type": "string", "format": "binary"}:
            return "resource|StreamInterface|array{contents: resource|string|StreamInterface, filename: string}"
        case {"type": str() as simple}:
            return SIMPLE[simple]
        case _ if anything(schema):
            return "mixed"
    raise ValueError(f"no PHP for {schema}")


def _said(value: object) -> str:
    if isinstance(value, list | dict):
        return "array<mixed>"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def _phpstan(shape: Shape) -> str:
    keys = (f"{each.name}{'?' if each.optional else ''}: {_type(each.schema)}" for each in shape.fields)
    return f" * @phpstan-type {shape.name} array{{{', '.join(keys)}}}"


def _method(operation: Operation) -> str:
    about, given, sent = [operation.summary + ".", ""], [f"string ${name}" for name in operation.parameters], []
    if operation.body:
        about.append(f"@param {_body(operation)} $body")
        given.append("array $body" + ("" if operation.body_required else " = []"))
        sent.append("form: $body" if operation.upload else "body: $body")
    if operation.queries:
        keys = (f"{each.name}{'' if each.required else '?'}: {_type(each.schema)}" for each in operation.queries)
        about.append(f"@param array{{{', '.join(keys)}}} $query")
        given.append("array $query" + ("" if any(each.required for each in operation.queries) else " = []"))
        sent.append("query: $query")
    if operation.answer == "events":
        given.append("?string $lastEventId = null")
        sent.append("lastEventId: $lastEventId")
    about.append(f"@return {_answer(operation)}")
    returned = {"json": "array", "bytes": "StreamInterface", "events": "Generator"}[operation.answer]
    call = ", ".join([f"'{operation.method}'", _path(operation), *sent])
    comment = "".join(f"     * {line}".rstrip() + "\n" for line in about)
    return (
        f"    /**\n{comment}     */\n"
        f"    public function {operation.name}({', '.join(given)}): {returned}\n"
        f"    {{\n        return $this->{operation.answer}({call});\n    }}"
    )


def _answer(operation: Operation) -> str:
    if operation.answer == "events":
        return "Generator<int, LiveEvent>"
    return "StreamInterface" if operation.answer == "bytes" else _type(operation.answered)


def _body(operation: Operation) -> str:
    if operation.upload:
        return operation.shape
    return _type(
        {"oneOf": [each for each in operation.body.get("oneOf", [operation.body]) if each != {"type": "null"}]}
    )


def _path(operation: Operation) -> str:
    path = operation.path
    for name in operation.parameters:
        path = path.replace(f"{{{name}}}", f"' . rawurlencode(${name}) . '")
    return f"'{path}'".removesuffix(" . ''")
