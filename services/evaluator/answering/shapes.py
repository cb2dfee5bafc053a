"""What the answering process is told and says, a line each. No torch: the service reads these too."""

from collections.abc import Sequence

from msgspec import Struct, structs

from contracts.chat import AskChat, ChatPiece
from services.evaluator.scoring.shapes import Failure


class Spec(Struct, frozen=True, kw_only=True):
    """How the process works, given when it starts: ``kept`` models in memory, ``reply_limit`` tokens unless asked.

    ``prompt_bytes`` of memory are for what was read of prompts; 0 keeps nothing. ``engine`` is the setting, and
    ``cache`` the folder for what llama.cpp reads.
    """

    threads: int
    precision: str
    kept: int
    reply_limit: int
    cache: str
    engine: str = "auto"
    prompt_bytes: int = 0


class Begin(Struct, frozen=True, kw_only=True, tag="begin"):
    """Begin a conversation. ``base`` and ``adapter`` are folders of this machine; no adapter: the base answers.

    ``engine`` is the one through which the model was released.
    """

    id: int
    base: str
    adapter: str
    question: AskChat
    engine: str = ""


class Stop(Struct, frozen=True, kw_only=True, tag="stop"):
    """Nobody reads the conversation any more."""

    id: int


class Said(Struct, frozen=True, kw_only=True):
    """A part of a conversation's reply, or why there is none."""

    id: int
    piece: ChatPiece | None = None
    failure: Failure | None = None


TOO_LONG = "context_length_exceeded"
"""The reason of a failure: the conversation leaves the model no room for a reply."""


def merged(pieces: Sequence[ChatPiece]) -> ChatPiece:
    """Put pieces that follow each other together."""
    return structs.replace(
        pieces[-1],
        text="".join(each.text for each in pieces),
        tokens=tuple(token for each in pieces for token in each.tokens),
    )
