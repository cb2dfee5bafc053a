"""One training conversation: what makes it usable, and what makes two the same.

Every format ends here. An example's name is the hash of its normalised text, so the same
words have the same name in every file and every version.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from services.dataset.domain.problems import BadRecord, shown

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
}
"""How roles are spelled in the formats people bring, and what they are called here."""

CONTROL = re.compile(r"<\|[A-Za-z0-9_]{1,40}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")
"""What looks like a chat template's control token."""

_ROLES_TOLD = "system, user, assistant or tool"


class Turn(Struct, frozen=True, omit_defaults=True):
    """What one party says. ``weight`` 0 marks an assistant's turn that must not be learned (OpenAI's field)."""

    role: str
    content: str
    weight: int = 1


class Example(Struct, frozen=True):
    """A conversation that can train.

    ``speaker`` is who teaches, for splits held out by speaker; ``unit`` names what may
    not be torn apart by a split (a lesson), ``""`` when the example stands alone.
    ``source`` says where in the file it comes from. ``rejected`` is there only in a pair: the same conversation with
    the other reply, as ``turns`` has the preferred one. ``transcribed``: the questions are not from the file.
    """

    turns: tuple[Turn, ...]
    speaker: str = ""
    unit: str = ""
    source: str = ""
    rejected: tuple[Turn, ...] = ()
    transcribed: bool = False

    @property
    def digest(self) -> bytes:
        """16 bytes (BLAKE2b) of who says what, blind to Unicode composition and white space."""
        return hashlib.blake2b(spoken((*self.turns, *self.rejected)).encode(), digest_size=16).digest()

    @property
    def messages(self) -> str:
        """The turns as a JSON list of ``{role, content}``, as a split's file keeps them."""
        return msgspec.json.encode(self.turns).decode()

    @property
    def rejected_messages(self) -> str:
        """The other side of a pair in the same form; ``""`` where there is none."""
        return msgspec.json.encode(self.rejected).decode() if self.rejected else ""


def spoken(turns: Sequence[Turn]) -> str:
    """Return who says what as one text, blind to Unicode composition and white space."""
    return "\x1e".join(f"{turn.role}\x1f{normal(turn.content)}" for turn in turns)


def normal(text: str) -> str:
    """Return text in NFC with every run of white space as one blank."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    alone = text.isprintable() and "  " not in text and " " not in (text[:1], text[-1:])
    return text if alone else " ".join(text.split())


def role_of(name: str, field: str) -> str:
    """Return the house's name of a role; ``BadRecord`` for one that no model knows."""
    role = ROLES.get(name)
    if role:
        return role
    if not name.strip():
        raise BadRecord("A turn has no role.", code="missing_role", field=field, fix=f"Give it the role {_ROLES_TOLD}.")
    raise BadRecord(
        f"The role {shown(name)} is not known.", code="unknown_role", field=field, fix=f"Use {_ROLES_TOLD}."
    )


def checked(turns: Sequence[Turn], field: str) -> tuple[Turn, ...]:
    """Return the turns up to the last one of the assistant, where each says something.

    ``BadRecord`` when there are none, one is empty, or the assistant never answers. The
    content of a turn is at ``{field}[i].content``.
    """
    if not turns:
        raise BadRecord(
            "The conversation has no turns.", code="empty_messages", field=field, fix="Add turns or remove the line."
        )
    refuse_empty(turns, field)
    last = next((index for index in range(len(turns) - 1, -1, -1) if turns[index].role == "assistant"), None)
    if last is None:
        raise BadRecord(
            "The assistant never answers, so there is nothing to learn.",
            code="no_assistant",
            field=field,
            fix="Add the answer the model should learn as a turn of the assistant, or remove the line.",
        )
    return tuple(turns[: last + 1])


def refuse_empty(turns: Sequence[Turn], field: str) -> None:
    """Raise ``BadRecord`` for the first turn that says nothing."""
    for index, turn in enumerate(turns):
        if not turn.content.strip():
            raise BadRecord(
                f"Turn {index + 1} ({turn.role}) is empty.",
                code="empty_content",
                field=f"{field}[{index}].content",
                fix="Write what is said, or remove the turn.",
            )


def doubts(example: Example) -> list[BadRecord]:
    """Return what a person should know of an example that is used nevertheless."""
    found = []
    if any(CONTROL.search(turn.content) for turn in (*example.turns, *example.rejected)):
        found.append(
            BadRecord(
                "The text contains what looks like a control token, such as <|im_end|>.",
                code="control_tokens",
                fix="Nothing must be done: it is trained as plain text and controls nothing. Remove it if it is noise.",
            )
        )
    if all(turn.weight == 0 for turn in example.turns if turn.role == "assistant"):
        found.append(
            BadRecord(
                "Every answer has weight 0: nothing is learned from this conversation.",
                code="nothing_trained",
                fix="Set the weight of at least one answer to 1, or remove the line.",
            )
        )
    return found
