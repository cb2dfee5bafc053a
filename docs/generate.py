"""Writes what follows from the code: settings, events, failures, the schemas of the contracts, and the clients.

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
from docs.clients import generate as clients
from libs.settings import HOME, ServiceSettings
from services.trainer.domain.failure_table import RULES, Rule
from services.trainer.domain.recovery import BARREN_ATTEMPTS, BUDGETS

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
        "[a sample of every version](../../contracts/samples). An organisation's own programs hear what is on\n"
        "`evt.ORGANISATION.>`: [how to subscribe](../how-to/subscribe-to-events.md).\n\n"
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


WRONG = """\
# When something goes wrong

Woodshed tries again by itself wherever that can help, from the newest checkpoint; the story of the job says so
(`woodshed watch JOB`). A job fails only when trying again cannot help, or did not. It then says why, in a sentence, and
what to do:

```sh
woodshed jobs show JOB          # why, what to do, and the command that does it
woodshed retry JOB              # the same job with its fix: shows what changes, asks, submits, watches
woodshed retry JOB --rank 8     # … or with a setting of your own above the fix
woodshed retry JOB --file FILE  # … or with a mended file
woodshed log JOB --to FILE      # the story, and how every attempt ended: exit codes and last lines
```

A retry is a new job with the same data, seed and name; the old one stays as it was. Asked for twice, it is made once:
the second answer is the first job, as long as that has not failed too (`--force` makes another).

For programs: `GET /v1/fine_tuning/jobs/JOB/retry` is the difference, setting by setting, and `POST` to the same address
submits it. The job's `error` has OpenAI's shape (`code`, `message`, `param`); `woodshed.fix` is the fix with its
`kind`, `title`, `sentence` and the `settings` it changes.

## What happens by itself

- **Memory runs out while training:** the tokens of one forward pass are halved, {out_of_memory} times; steps and data
  stay what they were, and so does the loss curve.
- **Memory runs out while measuring:** smaller batches, then none. The validation loss of a run may be missing in
  places, or the report may fail; the model is untouched and the job succeeds.
- **The process, machine, storage or network is lost:** the run goes on from the newest checkpoint that verifies:
  without limit where a machine was taken away with notice, {lost_worker} times for lost processes, {hung}
  for those that hang, {infrastructure}
  times for storage, network and full disks, each time after a longer wait. {barren} attempts of its own in a row
  without a new checkpoint end it.
- **Time runs out:** the number of steps is planned to keep the limit. Where the plan was far off, training ends a
  quarter above the limit and the model keeps what it learned until then; the story says at which step.
- **The loss jumps, or does not fall:** you are told once; training goes on. The report judges.

## Every failure

`code` is what programs read; the fix's `kind` decides what its button does: *change_settings* and *try_again* can be
done at once, *change_data* needs another file, *operator* needs somebody with access to the machines, *report_bug*
needs the log and us.

| code | what happened | tried again by itself | what to do | kind |
|---|---|---|---|---|
"""


def failures_page() -> str:
    """Return the page for whoever stands before a failure: what happens by itself, and each row of the table."""
    budgets = {cause: str(times) for cause, times in BUDGETS.items()} | {"barren": str(BARREN_ATTEMPTS)}
    return WRITTEN_BY + WRONG.format_map(budgets) + "".join(map(_failure, RULES.values()))


def _failure(rule: Rule) -> str:
    again = f"{BUDGETS[rule.cause]}×" if rule.cause else "no"
    return f"| `{rule.reason}` | {rule.message} | {again} | {rule.fix} | {rule.remedy} |\n"


def files() -> dict[Path, str]:
    """Return every generated file with its text."""
    pages = {
        "reference/settings.md": settings_page(),
        "reference/events.md": events_page(),
        "how-to/when-something-goes-wrong.md": failures_page(),
    }
    return contracts.files() | clients.files() | {HERE / name: text for name, text in pages.items()}


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
