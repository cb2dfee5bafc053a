"""A chat request becomes a question, or a refusal that names what of it cannot be done; pieces become completions."""

from typing import Any

import msgspec
import pytest

from contracts.chat import Alternative, AskChat, ChatPiece, TokenSaid, Turn
from libs.errors import BadRequest
from services.gateway.domain.chat import NEUTRAL, ChatWish, Maker, question_of
from services.gateway.domain.completions import Head, chunks_of, completion_of, opening

HI = [{"role": "user", "content": "Hi"}]
HEAD = Head(id="chatcmpl-1", created=1, model="m", logprobs=False, usage=False)
LAST = ChatPiece(text="!", prompt_tokens=5, completion_tokens=2, finish="stop", fingerprint="fp_1")


def asked(**changes: Any) -> AskChat:
    wish = msgspec.convert({"model": "m", "messages": HI} | changes, ChatWish)
    return question_of(wish, "acme", Maker("base", "ftjob-1"))


def test_a_bare_request_has_openais_defaults() -> None:
    assert asked() == AskChat(
        tenant="acme", base_model="base", job_id="ftjob-1", messages=(Turn("user", "Hi"),), temperature=1.0, top_p=1.0
    )


def test_everything_that_shapes_a_reply_is_asked_for() -> None:
    question = asked(
        max_completion_tokens=9, temperature=0, top_p=0.5, stop="\n", seed=-3, logprobs=True, top_logprobs=2
    )
    assert (question.max_tokens, question.temperature, question.top_p) == (9, 0, 0.5)
    assert (question.stop, question.seed, question.logprobs, question.top_logprobs) == (("\n",), -3, True, 2)


def test_a_developer_speaks_as_the_system_and_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    question = asked(messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}])
    assert question.messages == (Turn("system", "Be kind."), Turn("user", "ab"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("response_format", {"type": "json_object"}),
        ("n", 2),
        ("logit_bias", {"50256": -100}),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("modalities", ["text", "audio"]),
        ("store", True),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", ""),
        ("stop", ["a", ""]),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**{field: value})
    assert (refused.value.status, refused.value.field) == (400, field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**changes)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "tool", "content": "42", "tool_call_id": "1"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "content": "", "tool_calls": [{}]}, "messages[0].tool_calls"),
        ({"role": "user", "content": "Hi", "name": "Dana"}, "messages[0].name"),
        ({"role": "assistant", "content": "Hi", "audio": {"id": "audio_1"}}, "messages[0].audio"),
        ({"role": "assistant", "content": "Hi", "audio": {}}, "messages[0].audio"),
        ({"role": "user", "content": "Hi", "tool_call_id": ""}, "messages[0].tool_call_id"),
        ({"role": "user", "content": "Hi", "name": False}, "messages[0].name"),
        ({"role": "user", "content": "Hi", "function_call": 0}, "messages[0].function_call"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_its_place(message: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(messages=[message])
    assert refused.value.field == field


def test_what_changes_nothing_is_taken() -> None:
    nothing = {name: values[0] for name, values in NEUTRAL.items() if values} | dict.fromkeys(
        (name for name, values in NEUTRAL.items() if not values), None
    )
    hints = {"user": "u", "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k"}
    assert asked(**nothing, **hints) == asked()


def test_every_parameter_that_is_refused_is_one_of_the_wire() -> None:
    assert set(NEUTRAL) < set(ChatWish.__struct_fields__)


def test_a_reply_that_an_sdk_sends_back_is_read() -> None:
    said = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
    for tool_calls in (None, []):
        turns = asked(messages=[*HI, said | {"tool_calls": tool_calls}, *HI]).messages
        assert turns[1] == Turn("assistant", "Hello")


def test_pieces_are_put_together_as_one_completion() -> None:
    whole = completion_of(HEAD, [ChatPiece(prompt_tokens=5), ChatPiece(), ChatPiece(text="Hey"), LAST])
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hey!", "stop")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (5, 2, 7)
    assert (whole.system_fingerprint, whole.choices[0].logprobs) == ("fp_1", None)


def test_half_a_character_is_shown_by_its_bytes() -> None:
    octets = "é".encode()[:1]
    piece = msgspec.structs.replace(LAST, tokens=(TokenSaid(octets, -0.5, (Alternative(b"a", -0.7),)),))
    whole = completion_of(msgspec.structs.replace(HEAD, logprobs=True), [piece])
    assert whole.choices[0].logprobs is not None
    (token,) = whole.choices[0].logprobs.content
    assert (token.token, token.bytes, token.logprob) == ("\\xc3", [0xC3], -0.5)
    assert (token.top_logprobs[0].token, token.top_logprobs[0].bytes) == ("a", [97])


def sent(head: Head, *pieces: ChatPiece) -> list[dict[str, Any]]:
    chunks = [opening(head, pieces[0]), *(chunk for piece in pieces for chunk in chunks_of(head, piece))]
    return [msgspec.to_builtins(chunk) for chunk in chunks]


def test_a_stream_opens_speaks_and_ends() -> None:
    first, *middle, end = sent(HEAD, ChatPiece(prompt_tokens=5), ChatPiece(), ChatPiece(text="Hey"), LAST)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [each["choices"][0]["delta"] for each in middle] == [{"content": "Hey"}, {"content": "!"}]
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "stop")
    assert "usage" not in first | end


def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for() -> None:
    *others, last = sent(msgspec.structs.replace(HEAD, usage=True), ChatPiece(prompt_tokens=5), LAST)
    assert [each["usage"] for each in others] == [None] * len(others)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)
