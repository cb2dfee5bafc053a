"""Webhooks and links from a terminal: what is asked of the API, and that a secret is printed whole."""

import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli import links, webhooks
from services.cli.access import Access
from services.cli.client import Api
from services.cli.session import Session

SECRET = "whsec_" + "a" * 44
ENDPOINT: dict[str, Any] = {
    "id": "wh-1", "url": "https://hooks.example/[bold]", "event_types": ["fine_tuning.job.failed"],
    "signing_secret": SECRET, "woodshed": {"enabled": False, "disabled_reason": "Nothing arrived there."},
}  # fmt: skip
DELIVERY: dict[str, Any] = {
    "id": "whd-1", "event_type": "fine_tuning.job.failed", "job": "ftjob-1", "status": "waiting", "next_try_at": 0,
    "attempts": [{"at": 0, "status_code": 500, "milliseconds": 1234, "error": "It answered 500."}],
}  # fmt: skip
LINK = {"id": "link-1", "url": "https://woodshed.example/v1/downloads/link-1?expires=1", "expires_at": 0}


async def said(answer: dict[str, Any], command: Any, *words: Any, **options: Any) -> tuple[str, Any, str]:
    """Run a command; return what it asked for, with which body, and what it printed."""
    asked, out = list[httpx.Request](), io.StringIO()

    def answering(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=answer)

    async with Api(Access("http://127.0.0.1:1", "wsk-a-b"), transport=httpx.MockTransport(answering), pause=0) as api:
        session = Session(api, Console(file=out, width=60, highlight=False))
        await command(*words, **options, here=session)
    body = json.loads(asked[0].content) if asked[0].content else None
    return f"{asked[0].method} {asked[0].url.path}", body, out.getvalue()


@pytest.mark.parametrize("command", ["add", "rotate"])
async def test_a_secret_is_printed_whole_on_one_line(command: str) -> None:
    words = ("https://hooks.example/[bold]",) if command == "add" else ("wh-1",)
    asked, body, printed = await said(ENDPOINT, getattr(webhooks, command), *words)
    assert f"signing secret  {SECRET}\n" in printed
    assert "[bold]" in printed
    if command == "add":
        assert (asked, body["event_types"]) == ("POST /v1/webhook_endpoints", list(webhooks.STANDARD))
    else:
        assert body == {"keep_old_secret_active_for_24_hours": False}


async def test_a_disabled_endpoint_and_a_failed_call_say_why() -> None:
    _, _, listed = await said({"data": [ENDPOINT]}, webhooks.list_webhooks)
    _, _, sent = await said({"data": [DELIVERY]}, webhooks.deliveries, "wh-1")
    assert "Nothing" in listed
    assert "answered" in sent


async def test_a_link_is_printed_whole_with_how_to_end_it() -> None:
    asked, body, printed = await said(LINK, links.report, "ftjob-1", hours=2)
    assert (asked, body) == ("POST /v1/download_links", {"job": "ftjob-1", "report": "pdf", "expires_in": 7200})
    assert printed.splitlines()[0] == LINK["url"]
    assert "woodshed links revoke link-1" in " ".join(printed.split())
