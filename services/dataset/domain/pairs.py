"""Preference pairs as people keep them: OpenAI's preference format, and TRL's prompt, chosen and rejected.

A pair is one conversation with two last replies. Only those are learned from: what the assistant said before has
weight 0. Sources of the shapes: OpenAI's guide to direct preference optimisation ("input", "preferred_output",
"non_preferred_output") and TRL's dataset formats (preference, with an explicit or an implicit prompt).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services.dataset.domain.conversations import Said, side_of, speaker_of, turns_of
from services.dataset.domain.examples import Example, Turn, normal, refuse_empty, spoken
from services.dataset.domain.problems import BadRecord


class _Input(Struct):
    messages: list[Said]
    tools: list[Any] | None = None


class _OpenAI(Struct):
    input: _Input
    preferred_output: list[Said]
    non_preferred_output: list[Said]
    speaker: str | None = None
    metadata: Any = None


class _TRL(Struct):
    chosen: str | list[Said]
    rejected: str | list[Said]
    prompt: str | list[Said] | None = None
    speaker: str | None = None
    metadata: Any = None


_openai = msgspec.json.Decoder(_OpenAI)
_trl = msgspec.json.Decoder(_TRL)


def openai(data: bytes) -> Example:
    """Read ``{"input": {"messages", "tools"?}, "preferred_output": [reply], "non_preferred_output": [reply]}``."""
    record = _openai.decode(data)
    if record.input.tools:
        raise BadRecord(
            "The input offers tools, which cannot be trained yet.",
            code="unsupported_content",
            field="input.tools",
            fix="Send an empty list, or remove the line.",
        )
    return _pair(
        (turns_of(record.input.messages, "input.messages"), "input.messages"),
        (turns_of(record.preferred_output, "preferred_output"), "preferred_output"),
        (turns_of(record.non_preferred_output, "non_preferred_output"), "non_preferred_output"),
        speaker_of(record.speaker, record.metadata),
    )


def trl(data: bytes) -> Example:
    """Read ``{"prompt"?, "chosen", "rejected"}``, texts or messages; two whole conversations share their prompt."""
    record = _trl.decode(data)
    chosen, rejected = side_of(record.chosen, "chosen", "assistant"), side_of(record.rejected, "rejected", "assistant")
    if record.prompt is None or min(len(chosen), len(rejected)) > 1:
        prompt, field = _shared(chosen, rejected), "chosen"
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    else:
        prompt, field = side_of(record.prompt, "prompt", "user"), "prompt"
    return _pair(
        (prompt, field), (chosen, "chosen"), (rejected, "rejected"), speaker_of(record.speaker, record.metadata)
    )


Side = tuple[Sequence[Turn], str]
"""Turns, and the field they come from."""


def _pair(prompt: Side, preferred: Side, other: Side, speaker: str) -> Example:
    """Put a pair together; ``BadRecord`` names the side that cannot be one."""
    turns = _asked(*prompt)
    good, bad = _reply(*preferred), _reply(*other)
    if normal(good.content) == normal(bad.content):
        raise BadRecord(
            "Both replies are the same, so there is nothing to prefer.",
            code="same_replies",
            field=other[1],
            fix="Write a reply that is worse, or remove the line.",
        )
    unit = hashlib.blake2b(spoken(turns).encode(), digest_size=16).hexdigest()
    return Example((*turns, good), speaker, unit, rejected=(*turns, bad))


def _asked(turns: Sequence[Turn], field: str) -> tuple[Turn, ...]:
    refuse_empty(turns, field)
    if not turns or turns[-1].role not in ("user", "tool"):
        raise BadRecord(
            "Nothing is asked: what both replies answer must end with a turn of the user.",
            code="no_prompt",
            field=field,
            fix="Put the user's words before the replies, or remove the line.",
        )
    return tuple(replace(turn, weight=0) if turn.role == "assistant" else turn for turn in turns)


def _reply(turns: Sequence[Turn], field: str) -> Turn:
    if len(turns) != 1 or turns[0].role != "assistant":
        raise BadRecord(
            f"The field {field} must be exactly one message of the assistant.",
            code="not_one_reply",
            field=field,
            fix="Keep the one reply there; put what was said before it into the prompt that both replies answer.",
        )
    refuse_empty(turns, field)
    return replace(turns[0], weight=1)


def _shared(one: Sequence[Turn], other: Sequence[Turn]) -> Sequence[Turn]:
    """Return what two conversations begin with, their last turns left out."""
    most = min(len(one), len(other)) - 1
    same = next((at for at in range(most) if one[at] != other[at]), max(most, 0))
    return one[:same]
