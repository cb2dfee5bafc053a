"""Every format people bring becomes the same turns, and what does not fit is explained."""

from typing import Any

import msgspec
import pytest

from libs.errors import Rejected
from services.dataset.domain import formats
from services.dataset.domain.examples import Example, Turn
from services.dataset.domain.problems import BadRecord

ASKED, ANSWERED = Turn("user", "How do I save?"), Turn("assistant", "A little, each month.")
SYSTEM = Turn("system", "You are Elena.")


def read(format: str, record: Any) -> Example:
    return formats.CONVERSATIONS[format](msgspec.json.encode(record))


@pytest.mark.parametrize(
    ("format", "record"),
    [
        (
            "openai",
            {
                "messages": [
                    {"role": "system", "content": "You are Elena."},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "How do I "}, {"type": "text", "text": "save?"}],
                    },
                    {"role": "assistant", "content": "A little, each month.", "weight": 1},
                ],
                "tags": {"any": "thing"},
            },
        ),
        (
            "sharegpt",
            {
                "id": "1",
                "conversations": [
                    {"from": "system", "value": "You are Elena."},
                    {"from": "human", "value": "How do I save?"},
                    {"from": "gpt", "value": "A little, each month."},
                ],
            },
        ),
        (
            "sharegpt",
            {
                "system": "You are Elena.",
                "conversation": [
                    {"from": "user", "value": "How do I save?"},
                    {"from": "assistant", "value": "A little, each month."},
                ],
            },
        ),
        (
            "alpaca",
            {"system": "You are Elena.", "instruction": "How do I save?", "input": "", "output": ANSWERED.content},
        ),
        (
            "prompt_completion",
            {
                "prompt": [
                    {"role": "system", "content": "You are Elena."},
                    {"role": "user", "content": "How do I save?"},
                ],
                "completion": [{"role": "assistant", "content": "A little, each month."}],
            },
        ),
    ],
)
def test_every_format_gives_the_same_turns(format: str, record: dict[str, Any]) -> None:
    example = read(format, record)
    assert example.turns == (SYSTEM, ASKED, ANSWERED)
    assert formats.shape_of(msgspec.json.encode(record)) == format


def test_an_alpaca_input_follows_the_instruction() -> None:
    example = read("alpaca", {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"})
    assert example.turns == (Turn("user", "Translate.\n\nGuten Tag"), Turn("assistant", "Good day"))


def test_prompt_and_completion_may_be_texts() -> None:
    example = read("prompt_completion", {"prompt": "How do I save?\n\n###\n\n", "completion": " A little, each month."})
    assert example.turns == (Turn("user", "How do I save?\n\n###"), ANSWERED)


def test_turns_after_the_last_answer_teach_nothing_and_are_left_out() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert [turn.content for turn in read("openai", {"messages": messages}).turns] == ["a", "b"]


def test_an_answer_with_weight_zero_keeps_it() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    assert read("openai", {"messages": messages}).messages.endswith('{"role":"assistant","content":"b","weight":0}]')


@pytest.mark.parametrize(
    "where", [{"speaker": "Kaz"}, {"metadata": {"speaker": "Kaz"}}, {"metadata": {"instructor": "Kaz"}}]
)
def test_the_speaker_is_found_where_libraries_keep_it(where: dict[str, Any]) -> None:
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert read("openai", record | where).speaker == "Kaz"
    assert read("alpaca", {"instruction": "a", "output": "b"} | where).speaker == "Kaz"


def test_the_same_words_have_the_same_name_however_they_are_spaced_or_composed() -> None:
    plain = Example((Turn("user", "Caf\u00e9  now?\n"), ANSWERED))
    other = Example((Turn("user", " Cafe\u0301 now?"), ANSWERED), speaker="x", source="line 9")
    assert plain.digest == other.digest
    assert plain.digest != Example((Turn("system", "Café now?"), ANSWERED)).digest
    assert plain.digest != Example((Turn("user", "café now?"), ANSWERED)).digest


SAID = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("record", "code", "field"),
    [
        ({"messages": []}, "empty_messages", "messages"),
        ({"messages": "hello"}, "wrong_type", "messages"),
        ({"message": [SAID]}, "missing_field", "messages"),
        ({"messages": [{"content": "a"}, SAID]}, "missing_role", "messages[0].role"),
        ({"messages": [{"role": "elf", "content": "a"}, SAID]}, "unknown_role", "messages[0].role"),
        ({"messages": [{"role": 7, "content": "a"}, SAID]}, "wrong_type", "messages[0].role"),
        ({"messages": [{"role": "user", "content": " \n"}, SAID]}, "empty_content", "messages[0].content"),
        ({"messages": [{"role": "user"}, SAID]}, "empty_content", "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a"}]}, "no_assistant", "messages"),
        ({"messages": [{"role": "user", "content": 5}, SAID]}, "unsupported_content", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAID]},
            "unsupported_content",
            "messages[0].content",
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "unsupported_content",
            "messages[0].tool_calls",
        ),
    ],
)
def test_a_record_that_does_not_fit_names_the_field_and_the_fix(record: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises((BadRecord, ValueError)) as caught:
        read("openai", record)
    problem = formats.why_unreadable(caught.value)
    assert (problem.code, problem.field) == (code, field)
    assert problem.fix


@pytest.mark.parametrize(
    ("format", "record", "field"),
    [
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "b"}]},
            "conversations",
        ),
        ("alpaca", {"instruction": "", "output": "b"}, "instruction"),
        ("alpaca", {"instruction": "a", "output": " "}, "output"),
        ("prompt_completion", {"prompt": "", "completion": "b"}, "prompt"),
        ("prompt_completion", {"prompt": "a", "completion": []}, "prompt"),
    ],
)
def test_other_formats_name_their_own_fields(format: str, record: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read(format, record)
    assert (caught.value.field or "").startswith(field)


def test_a_role_that_may_be_somebodys_text_is_not_repeated() -> None:
    with pytest.raises(BadRecord) as caught:
        read("openai", {"messages": [{"role": "call me at 555 0100", "content": "a"}]})
    assert "555" not in caught.value.message + str(caught.value.fix)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"PK\x03\x04rest", "is_archive"),
        (b"\x1f\x8b\x08rest", "is_archive"),
        (b"PAR1rest", "is_binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "is_binary"),
        ('\ufeff{"messages": []}'.encode("utf-16-le"), "wrong_encoding"),
        ('{"messages": []}'.encode("utf-16-be"), "wrong_encoding"),
        ('{"messages": []}'.encode("utf-16-le"), "wrong_encoding"),
        (b" \n\n", "empty_file"),
        (b"", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
    ],
)
def test_a_file_that_is_no_text_is_called_what_it_is(head: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        formats.check_text(head)
    assert caught.value.code == code
    assert str(caught.value.fix) in caught.value.message


def test_an_indented_object_is_a_document_and_json_lines_are_not() -> None:
    assert formats.is_document(b'{\n "segments": []\n}')
    assert formats.is_document(b'{"segments": [\n {},\n {}\n]}')
    assert not formats.is_document(b'{"messages": []}\n{"messages": []}')
    assert not formats.is_document(b'{"messages": [}\n{"messages": []}')
    assert not formats.is_document(b'{"messages": []}\n')


def test_an_unknown_format_lists_the_fields_it_saw_and_those_it_knows() -> None:
    error = formats.unknown_format(b'{"question": "a", "answer": "b", "my own words": 1}')
    assert "answer, question" in error.message
    assert "messages" in error.message
    assert "my own words" not in error.message
