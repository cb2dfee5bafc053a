"""Writes what was found as a page of the reference."""

from collections import Counter
from collections.abc import Iterator
from datetime import date

from tests.conformance.compare import Found, Operation, score
from tests.conformance.live import Live

HEAD = """\
<!-- Written by `python -m tests.conformance --description FILE`; run it again instead of changing this page. -->

# How much of OpenAI's wire is here

Every operation, and every field of every request and answer, that OpenAI's published OpenAPI description has for files,
uploads, fine-tuning and models, compared with the description this gateway serves at `/openapi.json`; then one call of
each operation on a running gateway, its answer held against OpenAI's own schema.

**{present:,} of {parts:,} parts are as OpenAI describes them: {share:.0%}.** Measured on {day} with OpenAI's
description, {source}.

A request's field is *present* if everything OpenAI takes is taken; an answer's field if it is sent and is nothing that
OpenAI's description does not allow. *Different* is listed below with what differs; *refused* is answered with a 400
that names the field and says what to do instead. Our own fields (`woodshed` in a job, `sha256` in a file) come on top.

| operation | | parts | present | different | refused | missing | live answer |
|---|---|---|---|---|---|---|---|
"""

REASONS = {
    "status_details": "PHP's client throws where the key is missing, so it is sent as null",
    "purpose": "OpenAI's description takes files for `evals` and forgets them in the answer",
    "first_id": "an empty list has no first id",
    "last_id": "an empty list has no last id",
    "status": "a job can be paused, as OpenAI's own operations say; `pausing` is while it still saves",
    "bytes": "there is nothing in an empty file",
    "limit": "a page of nothing is refused by name",
    "type": "reinforcement is refused by name, with what to do instead",
    "learning_rate_multiplier": "a hundredth or a hundred times a preset's learning rate is no training any more",
}
"""Why something differs, by the last name of its path."""

MISSING = {
    "runGrader": "graders belong to reinforcement, a method models do not learn by here",
    "validateGrader": "graders belong to reinforcement, a method models do not learn by here",
}


def page(operations: list[Operation], answers: dict[str, Live], source: str, day: date) -> str:
    """Return the page."""
    present, parts = score(operations)
    text = HEAD.format(present=present, parts=parts, share=present / parts, source=source, day=f"{day:%-d %B %Y}")
    text += "".join(_row(each, answers.get(each.name)) for each in operations)
    text += "\n## Different\n\n| part | where | how | why |\n|---|---|---|---|\n"
    text += "".join(_grouped(operations, "different"))
    text += "\n## Refused\n\n| part | where | how |\n|---|---|---|\n"
    text += "".join(_grouped(operations, "refused"))
    text += "\n## Missing\n\n"
    for each in operations:
        if any(found.part == "operation" and found.verdict == "missing" for found in each.found):
            text += f"- `{each.method.upper()} {each.path}`: {MISSING.get(each.name, 'not yet')}.\n"
        else:
            text += "".join(f"- `{each.name}`: {found.part}\n" for found in each.found if found.verdict == "missing")
    return text


def _row(operation: Operation, answer: Live | None) -> str:
    count = Counter(each.verdict for each in operation.found)
    figures = " | ".join(str(count[verdict] or "") for verdict in ("present", "different", "refused", "missing"))
    where = f"`{operation.method.upper()} {operation.path}`"
    return f"| {operation.name} | {where} | {len(operation.found)} | {figures} | {_live(answer)} |\n"


def _live(answer: Live | None) -> str:
    if answer is None:
        return "not asked"
    wrong = "; ".join(each.replace("|", "\\|") for each in answer.wrong)
    return f"{answer.status}, {wrong or 'as described'}"


def _grouped(operations: list[Operation], verdict: str) -> Iterator[str]:
    """Yield a line for each part that is so, with all the operations it is so in."""
    seen: dict[tuple[str, str], list[str]] = {}
    for found in _of(operations, verdict):
        seen.setdefault((_short(found), found.why), []).append(found.operation)
    for (part, why), names in seen.items():
        cells = [f"`{part}`", ", ".join(dict.fromkeys(names)), why]
        if verdict == "different":
            cells.append(REASONS.get(part.rsplit(".", 1)[-1].rsplit(" ", 1)[-1], ""))
        yield f"| {' | '.join(cells)} |\n"


def _of(operations: list[Operation], verdict: str) -> Iterator[Found]:
    for operation in operations:
        yield from (each for each in operation.found if each.verdict == verdict)


def _short(found: Found) -> str:
    """A list's object is the same object, and so is an upload's file."""
    return found.part.replace("data[].", "").replace("file.", "")
