"""What people read and type: addresses, durations, errors, stories."""

import asyncio
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from contracts.datasets import DatasetPreview, Piece, PreviewedExample
from services.cli import access, show
from services.cli.__main__ import main
from services.cli.client import LiveEvent
from services.cli.errors import EndedBadly, Problem, Refused, Unusable
from services.cli.jobs import seconds_of
from services.cli.watching import Bar, Seen, is_over, require_success


def printed(what: object, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize(("text", "seconds"), [("150", 150), ("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_time_limits_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "3d", "1h30m"])
def test_a_time_limit_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(Unusable, match="30m"):
        seconds_of(text)


def test_the_installation_on_this_machine_is_found(tmp_path: Path) -> None:
    (tmp_path / "owner.key").write_text("wsk-k\n")
    (tmp_path / "url").write_text("http://127.0.0.1:9000")
    found = access.find(None, None, {"WOODSHED_HOME": str(tmp_path)})
    assert found == access.Access("http://127.0.0.1:9000", "wsk-k")


def test_the_local_owners_key_never_goes_to_another_machine(tmp_path: Path) -> None:
    (tmp_path / "owner.key").write_text("wsk-k\n")
    with pytest.raises(Unusable, match="WOODSHED_API_KEY"):
        access.find("https://woodshed.example.org", None, {"WOODSHED_HOME": str(tmp_path)})


def test_options_win_over_the_environment() -> None:
    environ = {"WOODSHED_URL": "http://a", "WOODSHED_API_KEY": "k1", "WOODSHED_HOME": "/nowhere"}
    assert access.find("http://b/", "k2", environ) == access.Access("http://b", "k2")


def test_bad_lines_stand_in_a_table_with_line_field_message_and_fix() -> None:
    found = [
        {"line": 1234, "field": "messages[0].role", "message": "no role", "fix": "add one", "severity": "error"},
        {"line": 0, "field": "", "message": "few examples", "fix": "bring more", "severity": "warning"},
    ]
    text = printed(show.problems(found, 40))
    assert "1,234  messages[0].role  no role" in text
    assert "bring more" in text
    assert "and 38 more" in text


def test_a_refusal_shows_field_and_fix() -> None:
    wrong = Refused(Problem(status=422, detail="There is no preset 'x'.", field="preset", fix="Choose quick."))
    text = printed(show.error(wrong))
    assert "There is no preset 'x'." in text
    assert "preset" in text
    assert "Choose quick." in text


def test_words_of_customers_cannot_steer_the_terminal() -> None:
    piece = Piece(text="[bold]hi\x1b[2J\x07 there", trained=True)
    example = PreviewedExample(example_id="e", tokens=3, trained_tokens=3, pieces=(piece,))
    text = printed(show.preview(DatasetPreview(examples=(example,))))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]hi" in text


def test_spaces_that_do_not_break_stay_spaces() -> None:
    assert show.clean("12 %\u202f\u00a0x\u2028") == "12 %\u202f\u00a0x�"


def test_trained_words_are_marked_and_the_others_are_not() -> None:
    pieces = (Piece(text="question", trained=False), Piece(text="answer", trained=True))
    example = PreviewedExample(example_id="e", tokens=2, trained_tokens=1, pieces=pieces)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=80)
    console.print(show.preview(DatasetPreview(examples=(example,))))
    assert "\x1b[4;32manswer" in out.getvalue()
    assert "\x1b[2mquestion" in out.getvalue()


def test_a_pair_shows_the_reply_to_prefer_and_the_one_to_avoid() -> None:
    asked = Piece(text="question", trained=False)
    example = PreviewedExample(
        example_id="e", tokens=4, trained_tokens=2, pieces=(asked, Piece(text="warm", trained=True)),
        rejected=(asked, Piece(text="cold\x1b[2J", trained=True)),
    )  # fmt: skip
    text = printed(show.preview(DatasetPreview(examples=(example,))))
    assert text.count("question") == 1
    assert text.index("warm") < text.index("rather than") < text.index("cold")
    assert "\x1b" not in text


def test_a_story_is_told_once_and_in_order() -> None:
    seen = Seen()
    assert [each["id"] for each in seen.new([{"id": "b"}, {"id": "a"}])] == ["a", "b"]
    assert [each["id"] for each in seen.new([{"id": "c"}, {"id": "b"}, {"id": "a"}])] == ["c"]


@pytest.mark.parametrize(
    ("status", "stage", "over"),
    [
        ("running", "training", False),
        ("succeeded", "trained", False),
        ("succeeded", "evaluating", False),
        ("succeeded", "done", True),
        ("failed", "failed", True),
        ("cancelled", "cancelled", True),
    ],
)
def test_a_job_is_over_when_its_proof_is_made_or_it_ended_without_a_model(status: str, stage: str, over: bool) -> None:
    assert is_over({"status": status, "woodshed": {"stage": stage}}) is over


def test_a_failed_job_ends_badly_with_its_reason() -> None:
    with pytest.raises(EndedBadly, match="out of memory"):
        require_success({"id": "j", "status": "failed", "error": {"message": "It ran out of memory."}})


def test_without_a_terminal_progress_is_a_line_now_and_then() -> None:
    out = io.StringIO()
    event = (
        b'{"type":"evaluation.progressed.v1","tenant":"studio","at":"2026-01-01T00:00:00Z",'
        b'"evaluation_id":"e","job_id":"j","suite":"retention","done":3,"total":100,'
        b'"share":0.62,"eta_seconds":17.4}'
    )

    async def move() -> None:
        bar = Bar(Console(file=out, width=100))
        for _ in range(50):
            bar.move(LiveEvent("", "evaluation.progressed.v1", event))
        bar.move(LiveEvent("9", "job.new_kind.v9", b'{"type":"job.new_kind.v9"}'))

    asyncio.run(move())
    assert out.getvalue().count("measuring retention 3/100  62% of the evaluation  17 s left") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train"], 2, "file"),
        (["jobs", "list", "--url", "ftp://x", "--key", "k"], 2, "no address"),
        (["jobs", "list", "--url", "http://127.0.0.1:9", "--key", "k"], 4, "make up"),
        (["files", "upload", "/nowhere/x.jsonl", "--url", "http://127.0.0.1:9", "--key", "k"], 2, "no file"),
    ],
)
def test_every_error_has_its_exit_code_and_says_what_to_do(
    arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["woodshed", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert says in capsys.readouterr().err
