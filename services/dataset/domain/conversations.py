"""Conversations as people keep them: OpenAI messages, ShareGPT, Alpaca, prompt/completion.

Each reader takes the bytes of one record and returns an example, or raises ``BadRecord``
that names the field. What a format knows beyond turns (ids, tags) is skipped undecoded.

Sources of the shapes: OpenAI's fine-tuning guide ("chat completions format" and the older
prompt/completion pairs), FastChat's ShareGPT dumps, Stanford Alpaca's data release, and
TRL's conversational prompt-completion format.
"""

from typing import Any

import msgspec
from msgspec import Struct

from services.dataset.domain.examples import Example, Turn, checked, role_of
from services.dataset.domain.problems import BadRecord


class Said(Struct):
    """One message as a file writes it."""

    role: str = ""
    content: Any = None
    weight: int | float | None = None
    tool_calls: Any = None


class _Exchange(Struct):
    messages: list[Said]
    speaker: str | None = None
    metadata: Any = None


class _From(Struct):
    speaker: str = msgspec.field(default="", name="from")
    value: Any = None


class _ShareGPT(Struct):
    conversations: list[_From] | None = None
    conversation: list[_From] | None = None
    system: str | None = None
    speaker: str | None = None
    metadata: Any = None


class _Alpaca(Struct):
    instruction: str
    output: str
    input: str | None = None
    system: str | None = None
    speaker: str | None = None
    metadata: Any = None


class _Pair(Struct):
    prompt: str | list[Said]
    completion: str | list[Said]
    speaker: str | None = None
    metadata: Any = None


_exchange = msgspec.json.Decoder(_Exchange)
_sharegpt = msgspec.json.Decoder(_ShareGPT)
_alpaca = msgspec.json.Decoder(_Alpaca)
_pair = msgspec.json.Decoder(_Pair)


def openai(data: bytes) -> Example:
    """Read ``{"messages": [{"role", "content", "weight"?}, …]}``."""
    record = _exchange.decode(data)
    turns = turns_of(record.messages, "messages")
    return Example(checked(turns, "messages"), speaker_of(record.speaker, record.metadata))


def sharegpt(data: bytes) -> Example:
    """Read ``{"conversations": [{"from", "value"}, …], "system"?}``."""
    record = _sharegpt.decode(data)
    said = record.conversations or record.conversation or []
    turns = _system(record.system)
    for index, each in enumerate(said):
        role = role_of(each.speaker, f"conversations[{index}].from")
        turns.append(Turn(role, _text(each.value, f"conversations[{index}].value")))
    return Example(checked(turns, "conversations"), speaker_of(record.speaker, record.metadata))


def alpaca(data: bytes) -> Example:
    """Read ``{"instruction", "input"?, "output", "system"?}``; an input follows the instruction after a blank line."""
    record = _alpaca.decode(data)
    _filled(record.instruction, "instruction")
    _filled(record.output, "output")
    asked = f"{record.instruction}\n\n{record.input}" if record.input else record.instruction
    turns = [*_system(record.system), Turn("user", asked), Turn("assistant", record.output)]
    return Example(tuple(turns), speaker_of(record.speaker, record.metadata))


def prompt_completion(data: bytes) -> Example:
    """Read ``{"prompt", "completion"}``, each a text or a list of messages."""
    record = _pair.decode(data)
    turns = side_of(record.prompt, "prompt", "user") + side_of(record.completion, "completion", "assistant")
    return Example(checked(turns, "prompt + completion"), speaker_of(record.speaker, record.metadata))


def side_of(side: str | list[Said], field: str, role: str) -> list[Turn]:
    """Return one side of a record: a bare text is the one turn of ``role``."""
    if isinstance(side, list):
        return turns_of(side, field)
    _filled(side, field)
    return [Turn(role, side.strip())]


def turns_of(said: list[Said], field: str) -> list[Turn]:
    """Return messages as turns; ``BadRecord`` names the one that is none."""
    return [_turn(each, f"{field}[{index}]") for index, each in enumerate(said)]


def _turn(said: Said, field: str) -> Turn:
    role = role_of(said.role, f"{field}.role")
    if said.tool_calls is not None:
        raise BadRecord(
            "A turn calls tools, which cannot be trained yet.",
            code="unsupported_content",
            field=f"{field}.tool_calls",
            fix="Replace the call by what the assistant says, or remove the line.",
        )
    content = _text(said.content, f"{field}.content")
    return Turn(role, content, 0 if said.weight == 0 and role == "assistant" else 1)


def _text(content: Any, field: str) -> str:
    """Return a turn's text: a string, or OpenAI's list of text parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part["text"] for part in content if part.get("type") == "text" and isinstance(part.get("text"), str)]
        if len(texts) == len(content):
            return "".join(texts)
    raise BadRecord(
        "The content of a turn is not text.",
        code="unsupported_content",
        field=field,
        fix="Write it as one string; pictures, sound and numbers cannot be trained.",
    )


def _filled(text: str, field: str) -> None:
    if not text.strip():
        raise BadRecord(
            f"The field {field} is empty.", code="empty_content", field=field, fix="Fill it, or remove the line."
        )


def _system(text: str | None) -> list[Turn]:
    return [Turn("system", text)] if text and text.strip() else []


def speaker_of(named: str | None, metadata: Any) -> str:
    """Return who teaches: named in the record or in its metadata, else nobody."""
    if named is None and isinstance(metadata, dict):
        named = metadata.get("speaker") or metadata.get("instructor")
    return named.strip() if isinstance(named, str) else ""
