"""The client for TypeScript: one file without dependencies, for browsers, Node, Deno and Bun."""

import json
from pathlib import Path
from typing import Any

from docs.clients.description import Described, Operation, Schema, Shape, anything, name_of

TEMPLATE = Path(__file__).with_name("woodshed.template.ts")
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def written(described: Described) -> str:
    """Return the whole file."""
    methods = "\n\n".join(map(_method, described.operations))
    shapes = "\n\n".join(map(_interface, described.shapes))
    return TEMPLATE.read_text().replace("  // methods\n", methods + "\n").replace("// shapes\n", shapes + "\n")


def _type(schema: Schema) -> str:
    match schema:
        case {"$ref": reference}:
            return name_of(reference)
        case {"oneOf": choices} | {"anyOf": choices}:
            return " | ".join(dict.fromkeys(_type(each) for each in choices if each)) or "unknown"
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(json.dumps(value) for value in values)
        case {"type": list() as types}:
            return " | ".join(SIMPLE[each] for each in types)
        case {"type": "array", "items": items}:
            return f"Array<{_type(items)}>"
        case {"type": "object", "properties": _}:
            return _literal(schema)
        case {"type": "object", "additionalProperties": values}:
            return f"Record<string, {_type(values)}>"
        case {"type": "array"}:
            return "Array<unknown>"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": "string", "format": "binary"}:
            return "Blob"
        case {"type": str() as simple}:
            return SIMPLE[simple]
        case _ if anything(schema):
            return "unknown"
    raise ValueError(f"no TypeScript for {schema}")


def _literal(schema: Schema) -> str:
    required = schema.get("required", ())
    inner = (f"{key}{'' if key in required else '?'}: {_type(each)}" for key, each in schema["properties"].items())
    return "{ " + "; ".join(inner) + " }"


def _interface(shape: Shape) -> str:
    about = f"/** {shape.text} */\n" if shape.text else ""
    lines = "".join(f"  {each.name}{'?' if each.optional else ''}: {_type(each.schema)};\n" for each in shape.fields)
    return f"{about}export interface {shape.name} {{\n{lines}}}"


def _method(operation: Operation) -> str:
    given = [f"{name}: string" for name in operation.parameters]
    sent: list[str] = []
    if operation.body:
        given.append(f"body: {_body(operation)}" + ("" if operation.body_required else " = {}"))
        sent.append("form: body" if operation.upload else "body")
    if operation.queries:
        required = any(each.required for each in operation.queries)
        given.append(f"query: {_queries(operation)}" + ("" if required else " = {}"))
        sent.append("query")
    if operation.answer == "events":
        given.append("options: Follow = {}")
        sent.append("...options")
    call = f'"{operation.method}", {_path(operation)}' + (f", {{ {', '.join(sent)} }}" if sent else "")
    return (
        f"  /** {operation.summary}. */\n"
        f"  {operation.name}({', '.join(given)}): {_answer(operation)} {{\n"
        f"    return this.{operation.answer}({call});\n  }}"
    )


def _answer(operation: Operation) -> str:
    if operation.answer == "events":
        return "AsyncGenerator<LiveEvent>"
    return "Promise<Response>" if operation.answer == "bytes" else f"Promise<{_type(operation.answered)}>"


def _body(operation: Operation) -> str:
    if operation.upload:
        return operation.shape
    choices: list[Any] = [each for each in operation.body.get("oneOf", [operation.body]) if each != {"type": "null"}]
    return _type({"oneOf": choices})


def _queries(operation: Operation) -> str:
    inner = (f"{each.name}{'' if each.required else '?'}: {_type(each.schema)}" for each in operation.queries)
    return "{ " + "; ".join(inner) + " }"


def _path(operation: Operation) -> str:
    path = operation.path
    for name in operation.parameters:
        path = path.replace(f"{{{name}}}", f"${{encodeURIComponent({name})}}")
    return f"`{path}`"
