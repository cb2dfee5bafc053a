"""Preference pairs: both shapes become the same pair, every bad line is named, and a prompt is never torn apart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.recipes import PAIR_FORMATS
from services.dataset.domain import formats
from services.dataset.domain.examples import Example, Turn
from services.dataset.domain.problems import BadRecord
from services.dataset.importer import parquet
from tests.unit.dataset.conftest import Import, jsonl, talk

EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
ASKED = {"role": "user", "content": "How do I save?"}
GOOD, BAD = {"role": "assistant", "content": "A little, gladly."}, {"role": "assistant", "content": "Spend less."}


def pair(number: int = 0, **changes: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": f"Question {number}?"}], "tools": [], "parallel_tool_calls": True}
    return {"input": asked, "preferred_output": [GOOD], "non_preferred_output": [BAD]} | changes


def read(format: str, record: Any) -> Example:
    try:
        return formats.CONVERSATIONS[format](msgspec.json.encode(record))
    except msgspec.ValidationError as error:
        raise formats.why_unreadable(error) from error


@pytest.mark.parametrize(
    "record",
    [
        pair(input={"messages": [*EARLIER, ASKED]}),
        {"prompt": [*EARLIER, ASKED], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [*EARLIER, ASKED], "chosen": GOOD["content"], "rejected": BAD["content"]},
        {"chosen": [*EARLIER, ASKED, GOOD], "rejected": [*EARLIER, ASKED, BAD]},
        {"prompt": "How do I save?", "chosen": [*EARLIER, ASKED, GOOD], "rejected": [*EARLIER, ASKED, BAD]},
    ],
)
def test_both_shapes_give_the_same_pair_and_teach_only_its_last_reply(record: Any) -> None:
    format = formats.shape_of(msgspec.json.encode(record))
    assert format in PAIR_FORMATS
    found = read(format, record)
    before = (Turn("user", "Hi"), Turn("assistant", "Hello.", 0), Turn("user", "How do I save?"))
    assert found.turns == (*before, Turn("assistant", "A little, gladly."))
    assert found.rejected == (*before, Turn("assistant", "Spend less."))


@pytest.mark.parametrize(
    ("format", "record", "code", "field"),
    [
        ("openai_preference", {"input": {"messages": [ASKED]}, "preferred_output": [GOOD]}, "missing_field",
         "non_preferred_output"),
        ("openai_preference", pair(preferred_output="good"), "wrong_type", "preferred_output"),
        ("openai_preference", pair(preferred_output=[GOOD, GOOD]), "not_one_reply", "preferred_output"),
        ("openai_preference", pair(non_preferred_output=[ASKED]), "not_one_reply", "non_preferred_output"),
        ("openai_preference", pair(non_preferred_output=[GOOD]), "same_replies", "non_preferred_output"),
        ("openai_preference", pair(non_preferred_output=[{"role": "assistant", "content": " "}]), "empty_content",
         "non_preferred_output[0].content"),
        ("openai_preference", pair(input={"messages": []}), "no_prompt", "input.messages"),
        ("openai_preference", pair(input={"messages": EARLIER}), "no_prompt", "input.messages"),
        ("openai_preference", pair(input={"messages": [{"role": "wizard", "content": "x"}]}), "unknown_role",
         "input.messages[0].role"),
        ("openai_preference", pair(input={"messages": [ASKED], "tools": [{"type": "function"}]}),
         "unsupported_content", "input.tools"),
        ("trl_preference", {"prompt": "Why?", "chosen": "Because."}, "missing_field", "rejected"),
        ("trl_preference", {"chosen": "Yes.", "rejected": "No."}, "no_prompt", "chosen"),
        ("trl_preference", {"prompt": "", "chosen": "Yes.", "rejected": "No."}, "empty_content", "prompt"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_named_by_its_field(format: str, record: Any, code: str, field: str) -> None:
    with pytest.raises(BadRecord) as refused:
        read(format, record)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.fix


def test_a_file_of_pairs_becomes_a_version_with_both_replies(importing: Import) -> None:
    data = jsonl([*(pair(each) for each in range(40)), pair(3), pair(preferred_output=[])])
    made = importing.made(data)
    assert (made.format, made.problem_count, made.problems[0].line) == ("openai_preference", 1, 42)
    assert [(each.reason, each.lines) for each in made.dropped] == [("duplicate", (41,))]
    assert (made.train_examples, made.validation_examples, made.test_examples) == (32, 4, 4)
    row = next(parquet.read(importing.version / "train.parquet"))
    assert (msgspec.json.decode(row.messages)[-1], msgspec.json.decode(row.rejected)[-1]) == (GOOD, BAD)
    assert made.trained_tokens == 32 * (len(GOOD["content"]) + len(BAD["content"]) + 2)
    assert importing.made(data).digest == made.digest


def test_pairs_that_answer_the_same_prompt_stay_in_one_split(importing: Import) -> None:
    other = [{"role": "assistant", "content": "Never."}]
    importing.made(jsonl(pair(each // 2, non_preferred_output=other if each % 2 else [BAD]) for each in range(40)))

    def asked(split: str) -> set[str]:
        return {msgspec.json.decode(row.messages)[0]["content"] for row in rows(importing.version / f"{split}.parquet")}

    assert not asked("train") & (asked("validation") | asked("test"))
    assert asked("test")


def test_pairs_and_conversations_are_not_mixed(importing: Import) -> None:
    talks = jsonl(talk(each) for each in range(20))
    pairs = jsonl(pair(each) for each in range(20))
    assert importing.refused(pairs, validation=talks).code == "mixed_formats"
    assert importing.refused(talks, validation=pairs).code == "mixed_formats"


def rows(path: Path) -> list[Any]:
    return list(parquet.read(path))
