"""Conversations with a model: a question whose answer comes in pieces.

Asked by the gateway, answered by the evaluator. Texts are in questions and answers only, which no stream keeps.
"""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Question


class Turn(Struct, frozen=True):
    """One message of a conversation, in a role that the model's template knows."""

    role: str
    content: str


class AskChat(Question, frozen=True, kw_only=True, tag="chat.ask.v1"):
    """Continue a conversation with one reply of a base model, or of what the job ``job_id`` made of it.

    ``max_tokens`` 0 leaves the limit to whoever answers. Greedy at ``temperature`` 0; a ``seed`` makes drawing
    repeatable. A reply ends before any of the strings in ``stop``. ``top_logprobs`` asks for that many alternatives to
    each token, and says nothing unless ``logprobs``.
    """

    subject: ClassVar[str] = "ask.evaluator.chat"

    base_model: str
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    job_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,80}$")] = ""
    max_tokens: Count = 0
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Meta(ge=0, le=1)] = 1.0
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=4)] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 0


class Alternative(Struct, frozen=True):
    """A token by its bytes, some of which may be half a character, and its log-probability (natural)."""

    octets: bytes
    logprob: float


class TokenSaid(Struct, frozen=True):
    """A token of a reply, its log-probability before temperature, and the likeliest there were in its place."""

    octets: bytes
    logprob: float
    top: tuple[Alternative, ...] = ()


class ChatPiece(Struct, frozen=True, kw_only=True, tag="chat.piece.v1"):
    """A part of the answer to :class:`AskChat`.

    ``prompt_tokens`` is above 0 from the first piece on after which nothing refuses the question any more. Pieces
    before it, and later ones without text, only say that somebody is at work. ``completion_tokens`` counts so far;
    ``recalled_tokens`` of the prompt had been read before, for another question. The last piece, and no other, has a
    ``finish``: stop, or length where a limit cut the reply. ``fingerprint`` is the same as long as equal seeds give
    equal replies.
    """

    text: str = ""
    tokens: tuple[TokenSaid, ...] = ()
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    recalled_tokens: Count = 0
    finish: str = ""
    fingerprint: str = ""
