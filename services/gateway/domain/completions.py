"""Chat replies as OpenAI's clients see them: one completion, or the chunks of a stream."""

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from contracts.chat import ChatPiece, TokenSaid


class TopLogprob(Struct, kw_only=True):
    """One of the likeliest tokens in a place."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Struct, kw_only=True):
    """A token of the reply. Its ``bytes`` may be part of a character; ``token`` then shows them as ``\\xf0``."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(Struct, kw_only=True):
    """The reply's tokens with their natural log-probabilities, before temperature and top_p."""

    content: list[TokenLogprob]
    refusal: None = None


class Message(Struct, kw_only=True):
    """What the model says."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    annotations: list[str] = field(default_factory=list)


class Choice(Struct, kw_only=True):
    """The reply; there is always one."""

    message: Message
    finish_reason: str
    logprobs: Logprobs | None
    index: int = 0


class PromptDetails(Struct, kw_only=True):
    """OpenAI's breakdown of the prompt: ``cached_tokens`` had been read before, for another question."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(Struct, kw_only=True):
    """OpenAI's breakdown of the reply."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct, kw_only=True):
    """Tokens read and written; the one that ends a reply is not counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = field(default_factory=PromptDetails)
    completion_tokens_details: CompletionDetails = field(default_factory=CompletionDetails)


class Completion(Struct, kw_only=True):
    """A whole reply, in the shape of OpenAI's ``chat.completion``."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    service_tier: Literal["default"] = "default"
    object: Literal["chat.completion"] = "chat.completion"


class Delta(Struct, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChunkChoice(Struct, kw_only=True):
    """The part of the reply that a chunk brings."""

    delta: Delta
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    index: int = 0


class Chunk(Struct, kw_only=True):
    """A part of a streamed reply, in the shape of OpenAI's ``chat.completion.chunk``.

    ``usage`` is there where it was asked for: null but in the last chunk, which has no choices.
    """

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    service_tier: Literal["default"] = "default"
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class Head(Struct, frozen=True, kw_only=True):
    """What is the same in every part of a reply, and whether its tokens and its usage are to be told."""

    id: str
    created: int
    model: str
    logprobs: bool
    usage: bool


def completion_of(head: Head, pieces: Sequence[ChatPiece]) -> Completion:
    """Put a whole reply together; the last piece ends it."""
    last = pieces[-1]
    return Completion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[
            Choice(
                message=Message(content="".join(each.text for each in pieces)),
                finish_reason=last.finish,
                logprobs=_logprobs(head, [token for each in pieces for token in each.tokens]),
            )
        ],
        usage=_usage(last),
        system_fingerprint=last.fingerprint,
    )


def opening(head: Head, piece: ChatPiece) -> Chunk:
    """Begin a streamed reply: the assistant is about to speak."""
    return _chunk(head, piece, ChunkChoice(delta=Delta(role="assistant", content="", refusal=None)))


def chunks_of(head: Head, piece: ChatPiece) -> list[Chunk]:
    """Return what one piece brings: text, the end, and the usage after it."""
    found = []
    if piece.text or piece.tokens:
        logprobs = _logprobs(head, piece.tokens)
        found.append(_chunk(head, piece, ChunkChoice(delta=Delta(content=piece.text), logprobs=logprobs)))
    if piece.finish:
        found.append(_chunk(head, piece, ChunkChoice(delta=Delta(), finish_reason=piece.finish)))
        if head.usage:
            found.append(_chunk(head, piece, None))
    return found


def _chunk(head: Head, piece: ChatPiece, choice: ChunkChoice | None) -> Chunk:
    return Chunk(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[choice] if choice else [],
        system_fingerprint=piece.fingerprint,
        usage=UNSET if not head.usage else None if choice else _usage(piece),
    )


def _usage(last: ChatPiece) -> Usage:
    return Usage(
        prompt_tokens=last.prompt_tokens,
        completion_tokens=last.completion_tokens,
        total_tokens=last.prompt_tokens + last.completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=last.recalled_tokens),
    )


def _logprobs(head: Head, tokens: Sequence[TokenSaid]) -> Logprobs | None:
    if not head.logprobs:
        return None
    return Logprobs(
        content=[
            TokenLogprob(
                token=_shown(each.octets),
                logprob=each.logprob,
                bytes=list(each.octets),
                top_logprobs=[
                    TopLogprob(token=_shown(other.octets), logprob=other.logprob, bytes=list(other.octets))
                    for other in each.top
                ],
            )
            for each in tokens
        ]
    )


def _shown(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")
