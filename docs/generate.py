"""Writes the pages that follow from the code: settings, events, and the schemas of the contracts.

python -m docs.generate          (or `make docs`; a test fails when a page is not current)
"""

import importlib
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from contracts import generate as contracts
from contracts.base import type_of
from contracts.catalogue import FACTS, QUESTIONS, SERVICES
from libs.settings import HOME, ServiceSettings

HERE = Path(__file__).resolve().parent
WRITTEN_BY = "<!-- Written by `make docs`; change the code instead. -->\n\n"


def settings_kinds() -> list[type[ServiceSettings]]:
    """Return every settings struct of the services, in the order of the catalogue."""
    found: list[type[ServiceSettings]] = []
    for service in SERVICES:
        room = vars(importlib.import_module(f"services.{service}.settings")).values()
        found += [kind for kind in room if isinstance(kind, type) and issubclass(kind, ServiceSettings)]
    return [kind for kind in found if kind is not ServiceSettings]


def settings_page() -> str:
    """Return the settings reference: what all services share, then each one's own."""
    page = WRITTEN_BY + (
        "# Settings\n\n"
        "Settings are environment variables. `make up` and `python -m deploy.secrets` set what has to be set; the\n"
        "rest has defaults. Every `WOODSHED_X` can be given to one program alone as `WOODSHED_<PROGRAM>_X`, which\n"
        "wins: `WOODSHED_TRAINER_LOG_LEVEL=debug`. A value that does not fit stops the program with a sentence that\n"
        "names the variable.\n"
        "\n## Every program\n\n"
    )
    page += _settings_table(ServiceSettings, "", frozenset())
    for kind in settings_kinds():
        page += f"\n## {kind.service}\n\n{_paragraph(kind)}\n\n"
        page += _settings_table(kind, kind.service, frozenset(ServiceSettings.__struct_fields__))
    return page


def events_page() -> str:
    """Return the events reference: each fact and question with who tells it, who listens and its fields."""
    page = WRITTEN_BY + (
        "# Events\n\n"
        "Everything the services tell each other. Facts on `evt.…` are kept in the stream EVENTS, those on `tel.…`\n"
        "in TELEMETRY for three days, and may be lost. Bodies are JSON; CloudEvents attributes are in the headers.\n"
        "Fields may be added (ignore what you do not know); a change that would break a reader is a new tag. Every\n"
        "fact also has `tenant`, `at` (when it happened) and `version` (it grows with each fact of its aggregate).\n\n"
        "For programs: [AsyncAPI 3.0](../../contracts/asyncapi.json), [JSON Schemas](../../contracts/schemas), and\n"
        "[a sample of every version](../../contracts/samples).\n\n"
        "| fact | told by | reacts | subject |\n|---|---|---|---|\n"
    )
    for fact in FACTS:
        readers = ", ".join(("gateway", *fact.readers))
        page += f"| [`{fact.type}`](#{_anchor(fact.type)}) | {fact.owner} | {readers} | `{fact.kind.subject}` |\n"
    page += "\n| question | answered by | within | subject |\n|---|---|---|---|\n"
    for asked in QUESTIONS:
        page += (
            f"| [`{asked.type}`](#{_anchor(asked.type)}) | {asked.answered_by} | {asked.deadline:g} s "
            f"| `{asked.kind.subject}` |\n"
        )
    page += "\n## Facts\n"
    for fact in FACTS:
        page += _kind(fact.kind)
    page += "\n## Questions\n"
    for asked in QUESTIONS:
        page += (
            _kind(asked.kind) + f"\nAnswered with `{asked.answer.__struct_config__.tag}`:\n\n" + _fields(asked.answer)
        )
    page += "\n## Shapes inside them\n"
    for shape in _shapes():
        page += f"\n### {shape.__name__}\n\n{_paragraph(shape)}\n\n" + _fields(shape)
    return page


def files() -> dict[Path, str]:
    """Return every generated file with its text."""
    pages = {"settings.md": settings_page(), "events.md": events_page()}
    return contracts.files() | {HERE / "reference" / name: text for name, text in pages.items()}


def main() -> None:
    """Write all of them."""
    contracts.main()
    for path, text in files().items():
        path.write_text(text)


def _settings_table(kind: type[ServiceSettings], prefix: str, leave_out: frozenset[str]) -> str:
    rows = "| variable | default | meaning |\n|---|---|---|\n"
    for field in msgspec.structs.fields(kind):
        if field.name not in leave_out:
            variable = "_".join(filter(None, ("WOODSHED", prefix, field.name))).upper()
            rows += f"| `{variable}` | {_default(field)} | {_meaning(field.type)} |\n"
    return rows


def _default(field: Any) -> str:
    if field.required:
        return "*required*"
    return f"`{str(field.default).replace(str(HOME), '.woodshed')}`" if field.default != "" else "empty"


def _meaning(hint: Any) -> str:
    return " ".join(each.description for each in getattr(hint, "__metadata__", ()) if each.description)


def _shapes() -> list[type[Struct]]:
    """Structs that stand inside facts, questions and answers, in the order they are met."""
    found: list[type[Struct]] = []
    for info in msgspec.inspect.multi_type_info(contracts.kinds().values()):
        _collect(info, found)
    return [shape for shape in found if shape not in contracts.kinds().values()]


def _collect(info: Any, found: list[type[Struct]]) -> None:
    if isinstance(info, msgspec.inspect.StructType):
        if info.cls not in found:
            found.append(info.cls)
            for field in info.fields:
                _collect(field.type, found)
        return
    for inner in (getattr(info, "item_type", None), getattr(info, "type", None), *getattr(info, "types", ())):
        if inner is not None:
            _collect(inner, found)


def _kind(kind: type[Any]) -> str:
    return f"\n### {type_of(kind)}\n\n{_paragraph(kind)}\n\n" + _fields(kind)


def _fields(kind: type[Struct]) -> str:
    hints = get_type_hints(kind)
    rows = "| field | type | |\n|---|---|---|\n"
    for field in msgspec.structs.fields(kind):
        if field.name not in ("tenant", "at", "version"):
            rows += f"| `{field.name}` | {_type(hints[field.name])} | {'' if field.required else 'optional'} |\n"
    return rows


def _type(hint: Any) -> str:
    return (
        (hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", ()) else str(hint))
        .replace("contracts.", "")
        .replace("|", "or")
    )


def _paragraph(kind: type[Struct]) -> str:
    return "\n".join(line.strip() for line in (kind.__doc__ or "").strip().splitlines())


def _anchor(tag: str) -> str:
    return tag.replace(".", "")


if __name__ == "__main__":
    main()
