"""Pausing and resuming from a terminal, and what it shows of interruptions."""

import io
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli import jobs, show
from services.cli.access import Access
from services.cli.client import Api
from services.cli.session import Session
from services.cli.watching import is_over

JOB: dict[str, Any] = {
    "id": "ftjob-1",
    "status": "succeeded",
    "created_at": 0,
    "model": "m",
    "fine_tuned_model": "ft:m",
    "error": None,
    "woodshed": {
        "stage": "done",
        "preset": "balanced",
        "priority": "low",
        "dataset": "ds-1",
        "progress": None,
        "interruptions": 2,
        "lost_steps": 0,
        "lost_seconds": 75.4,
        "seconds": None,
        "headline": None,
        "retry_of": None,
    },
}


async def said(command: Any, status: str) -> tuple[str, str]:
    """Run a command on the job; return the path it asked for and what it printed."""
    asked, out = list[str](), io.StringIO()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"id": "ftjob-1", "status": status})

    api = Api(Access("http://127.0.0.1:1", "wsk-a-b"), transport=httpx.MockTransport(answer), pause=0)
    async with api:
        await command("ftjob-1", here=Session(api, Console(file=out, width=200, highlight=False)))
    return asked[0], out.getvalue().strip()


@pytest.mark.parametrize(
    ("command", "status", "path", "words"),
    [
        (jobs.pause, "running", "pause", "ftjob-1 is paused as soon as it has saved: woodshed resume ftjob-1"),
        (jobs.pause, "paused", "pause", "ftjob-1 is paused: woodshed resume ftjob-1"),
        (jobs.resume, "paused", "resume", "ftjob-1 goes on when a device is free: woodshed watch ftjob-1"),
    ],
)
async def test_a_command_asks_and_says_what_comes_next(command: Any, status: str, path: str, words: str) -> None:
    assert await said(command, status) == (f"/v1/fine_tuning/jobs/ftjob-1/{path}", words)


def test_a_job_shows_what_its_interruptions_cost() -> None:
    out = io.StringIO()
    Console(file=out, width=200, highlight=False).print(show.job(JOB))
    assert "2×, resumed, 0 steps lost, 75 s without training" in out.getvalue()


@pytest.mark.parametrize("status", ["pausing", "paused"])
def test_watching_goes_on_while_a_job_is_paused(status: str) -> None:
    assert not is_over({"status": status, "woodshed": {"stage": status}})
