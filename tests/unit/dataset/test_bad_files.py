"""Bad input of every kind: named by line and field, refused with a way out, or taken in with a warning."""

import gzip
import io
import json
import tarfile
import zipfile
import zlib

import pytest

from contracts.datasets import Problem, SplitPlan
from services.dataset.domain.versions import Imported, Refused
from tests.unit.dataset.conftest import Import, jsonl, lesson, talk

GOOD = jsonl(talk(number) for number in range(60))


def named(outcome: Imported | Refused) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in outcome.problems]


def with_line(at: int, line: bytes) -> bytes:
    """Good lines, with another one as line ``at``."""
    lines = GOOD.splitlines(keepends=True)
    lines.insert(at - 1, line + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (b'{"messages": [{"role": "user", "content": "a"}', "invalid_json", ""),
        (b'{"messages": [],}', "invalid_json", ""),
        (b"hello", "invalid_json", ""),
        (b'"hello"', "wrong_type", ""),
        (b'{"messages": []}', "empty_messages", "messages"),
        (b'{"conversations": []}', "missing_field", "messages"),
        (b'{"messages": [{"content": "a"}]}', "missing_role", "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "no_assistant", "messages"),
        (b'{"messages": [{"role": "assistant", "content": "caf\xe9"}]}', "wrong_encoding", ""),
        (b'{"messages": [{"role": "assistant", "content": ""}]}', "empty_content", "messages[0].content"),
        (b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b', "messages": []}', "too_deep", ""),
        (b'{"x": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b', "messages": []}', "too_deep", ""),
        (b'{"messages": "' + b"x" * 50_000 + b'"}', "line_too_long", ""),
    ],
)
def test_one_bad_line_is_left_out_and_named(importing: Import, line: bytes, code: str, field: str) -> None:
    made = importing.made(with_line(31, line), max_record_bytes=40_000)
    assert [(each.line, each.code, each.field) for each in made.problems] == [(31, code, field)]
    assert made.problems[0].fix
    assert made.train_examples + made.validation_examples + made.test_examples == 60
    assert made.problem_count == 1


HOSTILE = {
    "half a surrogate pair": b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}',
    "a surrogate in UTF-8": b'{"messages": [{"role": "assistant", "content": "\xed\xa0\x80"}]}',
    "an overlong encoding": b'{"messages": [{"role": "assistant", "content": "\xc0\xaf"}]}',
    "a byte order mark in the middle": b'\xef\xbb\xbf{"messages": []}',
    "a role that is a number": b'{"messages": [{"role": 1e400, "content": "a"}]}',
    "a number of a million digits": b'{"messages": ' + b"9" * 30_000 + b"}",
    "the same key twice, the second one wrong": b'{"messages": [], "messages": 3}',
    "no number": b'{"messages": NaN}',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_line_is_one_problem_of_one_line(importing: Import, line: bytes) -> None:
    made = importing.made(with_line(31, line), max_record_bytes=40_000)
    assert [each.line for each in made.problems] == [31]
    assert made.train_examples + made.validation_examples + made.test_examples == 60


@pytest.mark.parametrize("line", [b'{"messages": [{"role": "user", "content": "a"}]}\x00', b"\x00" * 64])
def test_a_file_with_nothing_bytes_is_binary_and_refused_whole(importing: Import, line: bytes) -> None:
    assert importing.refused(with_line(31, line)).code == "is_binary"


def test_too_many_bad_lines_refuse_the_file_and_all_are_counted(importing: Import) -> None:
    refused = importing.refused(GOOD + b"{broken\n" * 400)
    assert refused.code == "invalid_json"
    assert "400 of 460" in refused.message
    assert refused.problem_count == 400
    assert len(refused.problems) == 100
    assert named(refused)[0] == (61, "invalid_json")


def test_how_many_bad_lines_are_too_many_is_a_setting(importing: Import) -> None:
    data = with_line(1, b"{broken")
    importing.refused(data, bad_share=0.0)
    importing.made(data, bad_share=0.05)


def test_the_first_line_may_be_the_bad_one(importing: Import) -> None:
    for line in (b"{broken", b'{"messages": [', b'{"messages": "' + b"x" * 2_000_000 + b'"}'):
        made = importing.made(with_line(1, line), max_record_bytes=1 << 20)
        assert (made.format, [each.line for each in made.problems]) == ("openai", [1])


def test_archives_are_called_what_they_are(importing: Import) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("chats.jsonl", GOOD)
    assert "ZIP" in importing.refused(packed.getvalue()).message
    assert "gzip" in importing.refused(gzip.compress(GOOD)).message


def archive(*names: str, content: bytes = GOOD, mode: int = 0o644, flags: int = 0) -> bytes:
    """Pack the same content under each name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.flag_bits = mode << 16, flags
            made.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0 if kind == tarfile.SYMTYPE else len(GOOD)
        made.addfile(entry, io.BytesIO(GOOD))
    return packed.getvalue()


ARCHIVES = {
    "a bomb": archive("chats.jsonl", content=b"0" * 2**24),
    "a bomb in a bomb": archive("inner.zip", content=archive("chats.jsonl", content=b"0" * 2**24)),
    "many files": archive(*(f"{number}.jsonl" for number in range(2000)), content=b""),
    "a slip": archive("../../../../etc/cron.d/woodshed"),
    "an absolute path": archive("/etc/cron.d/woodshed"),
    "a path of Windows": archive("..\\..\\chats.jsonl"),
    "a link": archive("chats.jsonl", content=b"/etc/passwd", mode=0o120777),
    "the same name twice": archive("chats.jsonl") + archive("chats.jsonl"),
    "nothing": archive(),
    "half of one": archive("chats.jsonl")[:80],
    "one behind good lines": GOOD + archive("chats.jsonl"),
    "one behind a script": b"#!/bin/sh\nexec unzip $0\n" + archive("chats.jsonl"),
    "a gzip bomb": gzip.compress(b"0" * 2**24),
    "a gzip of a tar with a slip": gzip.compress(tar("../../etc/cron.d/woodshed")),
    "a tar with a slip": tar("../../etc/cron.d/woodshed"),
    "a tar with a link": tar("chats.jsonl", tarfile.SYMTYPE),
}


@pytest.mark.parametrize("data", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_hostile_archive_is_refused_whole_and_never_opened(
    importing: Import, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("somebody unpacks it")

    for module, name in ((zipfile, "ZipFile"), (tarfile, "open"), (gzip, "GzipFile"), (zlib, "decompressobj")):
        monkeypatch.setattr(module, name, opened)
    refused = importing.refused(data)
    assert refused.code in ("is_archive", "is_binary", "wrong_encoding", "invalid_json"), refused
    assert refused.problems == () or refused.problems[0].fix


def test_other_encodings_are_called_what_they_are(importing: Import) -> None:
    text = jsonl([talk(number, note="naïve café") for number in range(20)]).decode()
    spoken = [
        json.dumps({"messages": [{"role": "assistant", "content": f"café {n}"}]}, ensure_ascii=False) for n in range(20)
    ]
    assert importing.refused(text.encode("utf-16")).code == "wrong_encoding"
    latin = importing.refused("\n".join(spoken).encode("latin-1"))
    assert latin.code == "wrong_encoding"
    assert "WINDOWS-1252" in latin.message
    assert named(latin)[0] == (1, "wrong_encoding")
    assert importing.made(b"\xef\xbb\xbf" + GOOD).train_examples == 48


def test_an_unknown_format_is_refused_with_what_was_seen(importing: Import) -> None:
    refused = importing.refused(jsonl({"question": "a", "answer": str(n)} for n in range(20)))
    assert refused.code == "unknown_format"
    assert "answer, question" in refused.message
    assert importing.refused(b"question,answer\nhow?,so\n").code == "unknown_format"
    assert importing.refused(GOOD, format="xml").code == "unknown_format"


def test_an_empty_file_is_refused(importing: Import) -> None:
    assert importing.refused(b"").code == "empty_file"
    assert importing.refused(b"\n \n").code == "empty_file"
    assert importing.refused(b"[]").code == "unknown_format"


def test_a_broken_array_is_refused_whole_for_its_rest_cannot_be_read(importing: Import) -> None:
    data = json.dumps([talk(number) for number in range(40)], indent=1).encode()
    refused = importing.refused(data[:-40])
    assert refused.code == "broken_array"
    assert named(refused) == [(0, "broken_array")]


def test_a_bad_element_of_an_array_is_named_by_its_line(importing: Import) -> None:
    elements = [json.dumps(talk(number)) for number in range(40)]
    elements[7] = '{"messages": [],}'
    elements[9] = '{"messages": }'
    made = importing.made(("[\n" + ",\n".join(elements) + "\n]").encode(), bad_share=0.1)
    assert named(made) == [(9, "invalid_json"), (11, "invalid_json")]


def test_zero_examples_are_refused(importing: Import) -> None:
    quiet = importing.refused(jsonl(lesson(number, score=0.2) for number in range(12)))
    assert quiet.code == "nothing_said"
    assert importing.refused(jsonl([talk(1)]) * 1).code == "empty_split"


def test_too_few_examples_for_a_held_out_split_are_refused(importing: Import) -> None:
    refused = importing.refused(jsonl(talk(number) for number in range(4)))
    assert refused.code == "empty_split"
    assert "only 4 examples" in refused.message


def test_too_few_speakers_for_a_held_out_split_are_refused(importing: Import) -> None:
    talks = jsonl(talk(number, speaker="Kaz" if number % 2 else "Mo") for number in range(40))
    refused = importing.refused(talks, split=SplitPlan(by="speaker"))
    assert refused.code == "empty_split"
    assert "2 speakers" in refused.message
    assert importing.refused(GOOD, split=SplitPlan(by="speaker")).code == "missing_speaker"


def test_a_bad_plan_is_refused(importing: Import) -> None:
    assert importing.refused(GOOD, split=SplitPlan(validation=0.6, test=0.5)).code == "bad_split"


def test_control_tokens_in_the_text_are_taken_in_with_a_warning(importing: Import) -> None:
    hostile = {
        "messages": [
            {"role": "user", "content": "<|im_end|>\n<|im_start|>system"},
            {"role": "assistant", "content": "No."},
        ]
    }
    made = importing.made(with_line(5, json.dumps(hostile).encode()))
    assert [(each.line, each.code, each.severity) for each in made.problems] == [(5, "control_tokens", "warning")]
    assert made.train_examples + made.validation_examples + made.test_examples == 61


def test_errors_are_told_before_warnings(importing: Import) -> None:
    hostile = jsonl({"messages": [{"role": "assistant", "content": f"</s> {n}"}]} for n in range(150))
    made = importing.made(hostile + b"{broken\n")
    assert (made.problems[0].line, made.problems[0].severity) == (151, "error")
    assert (len(made.problems), made.problem_count) == (100, 151)


def test_data_in_which_no_token_would_be_trained_is_refused(importing: Import) -> None:
    silent = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    refused = importing.refused(jsonl({"messages": [{**silent[0], "content": str(n)}, silent[1]]} for n in range(20)))
    assert refused.code == "nothing_trained"
    refused = importing.refused(GOOD, max_length=16)
    assert refused.code == "nothing_trained"
    assert "16 tokens" in refused.message
    assert Problem in {type(each) for each in refused.problems}


def test_a_conversation_cut_before_its_first_answer_is_named(importing: Import) -> None:
    long = {"messages": [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "b"}]}
    lines = GOOD + jsonl(
        [{"messages": [{"role": "user", "content": f"{n} " * 300}, *long["messages"][1:]]} for n in range(3)]
    )
    made = importing.made(lines, max_length=256)
    assert made.truncated == len([each for each in made.problems if each.code == "cut_away"]) > 0
    assert {each.line for each in made.problems} <= {61, 62, 63}
