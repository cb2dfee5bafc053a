"""What a chat request may ask for, and the question it becomes.

The shape is OpenAI's ``POST /v1/chat/completions``. What would change the reply and cannot be done here is refused by
name, unless it is asked for with the value that changes nothing; hints that never change a reply are taken unread.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from contracts.chat import AskChat, Turn
from libs.errors import BadRequest
from services.gateway.domain.wishes import ModelName, Wish

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""OpenAI's roles and what training calls them."""

UNREADABLE: dict[str, tuple[Any, ...]] = {
    "name": ("",),
    "tool_calls": ([],),
    "tool_call_id": (),
    "function_call": (),
    "audio": (),
}
"""Keys of a message that would change the reply and cannot be read, and the values (beside null) that say nothing."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "moderation": (),
    "web_search_options": (),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "n": (1,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""What this version cannot do, and the values (beside null) with which it changes nothing."""


MOST_STOPS = 4
Stop = Annotated[str, Meta(extra_json_schema={"minLength": 1})]


class WishedTurn(Wish, frozen=True, kw_only=True):
    """One message; its content is text, or parts of the type text."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: Any = None
    refusal: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None
    function_call: Any = None
    audio: Any = None
    annotations: Any = None


class WishedStream(Wish, frozen=True, kw_only=True):
    """How to stream. ``include_obfuscation`` pads chunks on OpenAI's side and is taken unread."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/chat/completions``.

    From ``tools`` on it holds what cannot be done here, and last the hints that change no reply.
    """

    model: ModelName
    messages: Annotated[list[WishedTurn], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: WishedStream | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(extra_json_schema={"maxItems": MOST_STOPS})] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Any = None
    function_call: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    moderation: Any = None
    web_search_options: Any = None
    logit_bias: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    n: Any = None
    store: Any = None
    service_tier: Any = None
    user: Any = None
    metadata: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None


class Maker(Struct, frozen=True):
    """Whose reply it shall be: a base model's, or what a job made of it."""

    base_model: str
    job_id: str = ""


def question_of(wish: ChatWish, tenant: str, maker: Maker) -> AskChat:
    """Return the question that a request becomes; ``BadRequest`` names what of it cannot be done."""
    _check(wish)
    return AskChat(
        tenant=tenant,
        base_model=maker.base_model,
        job_id=maker.job_id,
        messages=tuple(_turn(each, index) for index, each in enumerate(wish.messages)),
        max_tokens=wish.max_completion_tokens or wish.max_tokens or 0,
        temperature=1.0 if wish.temperature is None else wish.temperature,
        top_p=1.0 if wish.top_p is None else wish.top_p,
        stop=_stops(wish.stop),
        seed=wish.seed,
        logprobs=bool(wish.logprobs),
        top_logprobs=wish.top_logprobs or 0,
    )


def _check(wish: ChatWish) -> None:
    for name, values in NEUTRAL.items():
        asked = getattr(wish, name)
        if _is_said(asked, values):
            raise BadRequest(
                f"{name} is not available here: the model answers with text alone, one reply at a time.",
                code="unsupported_parameter",
                field=name,
                fix=f"Leave {name} out.",
            )
    if wish.max_tokens is not None and wish.max_completion_tokens is not None:
        raise _contradiction("max_tokens", "max_tokens and max_completion_tokens set the same limit. Send one of them.")
    if wish.top_logprobs is not None and not wish.logprobs:
        raise _contradiction("top_logprobs", "top_logprobs needs logprobs. Set logprobs to true.")
    if wish.stream_options is not None and not wish.stream:
        raise _contradiction("stream_options", "stream_options needs stream. Set stream to true.")


def _is_said(asked: Any, nothing: tuple[Any, ...]) -> bool:
    """Whether a value is there, and none of those that change nothing."""
    return asked is not None and not any(_same(asked, each) for each in nothing)


def _same(asked: Any, value: Any) -> bool:
    """Compare as JSON does, for which 0 is not false."""
    return bool(asked == value) and isinstance(asked, bool) == isinstance(value, bool)


def _turn(said: WishedTurn, index: int) -> Turn:
    place = f"messages[{index}]"
    role = ROLES.get(said.role)
    if role is None:
        known = ", ".join(ROLES)
        raise _refused(f"{place}.role", f"The role {said.role[:40]!r} cannot be read here. Use one of: {known}.")
    for name, values in UNREADABLE.items():
        if _is_said(getattr(said, name), values):
            raise _refused(f"{place}.{name}", f"A message's {name} cannot be read here. Leave it out.")
    return Turn(role, _text(said.content, f"{place}.content"))


def _text(content: str | list[dict[str, Any]] | None, place: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise _refused(place, "The message says nothing. Give it a content.")
    for index, part in enumerate(content):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = str(part.get("type"))[:40]
            raise _refused(f"{place}[{index}]", f"A part of the type {kind!r} cannot be read here. Send text alone.")
    return "".join(part["text"] for part in content)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > MOST_STOPS or not all(stops):
        raise _refused("stop", "stop is one to four strings, none of them empty. Send fewer, or leave stop out.")
    return stops


def _refused(field: str, message: str) -> BadRequest:
    return BadRequest(message, code="invalid_value", field=field)


def _contradiction(field: str, message: str) -> BadRequest:
    return BadRequest(message, code="contradiction", field=field)
