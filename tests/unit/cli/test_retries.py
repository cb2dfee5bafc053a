"""What a person sees after a failure: why, what mends it, what exactly a retry changes, and the log."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli import retries, show
from services.cli.access import Access
from services.cli.client import Api
from services.cli.errors import EndedBadly, Refused, Unusable
from services.cli.session import Session

HERE = Access("http://127.0.0.1:1", "wsk-a-b")
FIX = {
    "kind": "change_settings",
    "title": "Train again with half the learning rate",
    "sentence": "Halve the rate.",
    "settings": {"learning_rate": 1e-4},
}
CHANGES = [{"field": "learning_rate", "old": 2e-4, "new": 1e-4, "why": "Halve the rate."}]


def job(**changes: Any) -> dict[str, Any]:
    details = {
        "preset": "balanced", "priority": "medium", "stage": "failed", "dataset": "ds-1", "progress": None,
        "interruptions": 0, "seconds": None, "headline": None, "fix": FIX, "recipe": {"learning_rate": 2e-4},
        "retry_of": None, "retried_as": None,
    }  # fmt: skip
    found = {
        "id": "ftjob-1", "status": "failed", "created_at": 0, "model": "SmolLM2", "fine_tuned_model": None,
        "error": {"code": "diverged", "message": "The loss became nan. Halve the rate.", "param": ""},
    }  # fmt: skip
    return found | {"woodshed": details | changes}


def printed(what: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=120, highlight=False).print(what)
    return out.getvalue()


class Server:
    """An API that knows one failed job, and keeps what it was asked."""

    def __init__(self, **preview: Any) -> None:
        self.preview = {"possible": True, "hindrance": None, "changes": CHANGES} | preview
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        match request.method, request.url.path.removeprefix("/v1/fine_tuning/jobs/"):
            case "GET", "ftjob-1/retry":
                return httpx.Response(200, json=self.preview)
            case "POST", "ftjob-1/retry":
                return httpx.Response(200, json={"id": "ftjob-2"})
            case "GET", "ftjob-1/log":
                return httpx.Response(200, text="12:00 Failed\n    | killed\x1b[2J by SIGKILL\n")
            case "GET", "ftjob-2/stream":
                return httpx.Response(200, content=b"")
            case "GET", "ftjob-2/events":
                return httpx.Response(200, json={"data": []})
        return httpx.Response(200, json=job() | {"id": "ftjob-2"})


def session(server: Server, *, terminal: bool = False) -> tuple[Session, io.StringIO]:
    out = io.StringIO()
    api = Api(HERE, transport=httpx.MockTransport(server), pause=0)
    return Session(api, Console(file=out, width=120, highlight=False, force_terminal=terminal)), out


def test_a_failed_job_shows_why_what_to_do_and_the_command() -> None:
    text = printed(show.job(job()))
    for said in ("diverged", "becomes 0.0001 (it was 0.0002)", "woodshed retry ftjob-1", "woodshed log ftjob-1"):
        assert said in text
    assert text.count("Halve the rate.") == 1


def test_a_fix_may_change_a_word_instead_of_a_number() -> None:
    fix = FIX | {"settings": {"method": "lora"}}
    assert "method becomes lora (it was full)" in printed(show.failure(job(fix=fix, recipe={"method": "full"})))


def test_a_failure_of_the_data_names_the_mended_file_and_a_retried_one_its_retry() -> None:
    mend = FIX | {"kind": "change_data", "settings": None}
    assert "--file MENDED" in printed(show.failure(job(fix=mend)))
    assert "woodshed watch ftjob-9" in printed(show.failure(job(retried_as="ftjob-9")))


async def test_a_retry_shows_the_difference_then_submits_and_watches() -> None:
    server = Server()
    here, out = session(server)
    with pytest.raises(EndedBadly):
        await retries.retry("ftjob-1", rank=4, epochs=2, yes=True, here=here)
    row = next(line for line in out.getvalue().splitlines() if line.startswith("learning rate"))
    assert row.split()[2:4] == ["0.0002", "0.0001"]
    assert dict(server.asked[0].url.params) == {"rank": "4", "n_epochs": "2"}
    submitted = server.asked[1]
    assert json.loads(submitted.content) == {
        "rank": 4,
        "hyperparameters": {"n_epochs": 2},
        "as_it_was": False,
        "force": False,
    }
    assert "ftjob-2 is accepted as a retry of ftjob-1" in out.getvalue()


async def test_nothing_is_submitted_unasked_or_against_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    here, _ = session(server)
    with pytest.raises(Unusable, match="--yes"):
        await retries.retry("ftjob-1", here=here)
    here, _ = session(server, terminal=True)
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    with pytest.raises(Unusable, match="Nothing was submitted"):
        await retries.retry("ftjob-1", here=here)
    assert {request.method for request in server.asked} == {"GET"}


async def test_what_cannot_be_retried_says_why() -> None:
    here, _ = session(Server(possible=False, hindrance="The same file would be refused again.", changes=[]))
    with pytest.raises(Refused, match="refused again"):
        await retries.retry("ftjob-1", yes=True, here=here)


async def test_a_log_is_printed_or_kept_and_steers_no_terminal(tmp_path: Path) -> None:
    here, out = session(Server())
    await retries.log("ftjob-1", here=here)
    await retries.log("ftjob-1", to=tmp_path / "job.log", here=here)
    assert "by SIGKILL" in out.getvalue()
    assert "\x1b" not in out.getvalue() + (tmp_path / "job.log").read_text()
