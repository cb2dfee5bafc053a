"""A conversation in a terminal: what is shown, what is sent back, and what breaks it off."""

import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli import chatting
from services.cli.access import Access
from services.cli.client import Api
from services.cli.errors import Refused
from services.cli.session import Session

END = b"data: [DONE]\n\n"


def spoken(*texts: str) -> bytes:
    chunks = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    chunks += [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": []}]
    return b": still here\n\n" + b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in chunks)


async def talked(answers: list[httpx.Response], *words: str, **given: Any) -> tuple[str, list[dict[str, Any]]]:
    """Run the command; return what it printed and the bodies it sent."""
    bodies, out = [], io.StringIO()

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content or b"{}"))
        return answers.pop(0)

    async with Api(Access("http://127.0.0.1:1", "wsk-a-b"), transport=httpx.MockTransport(answer)) as api:
        session = Session(api, Console(file=out, width=200, highlight=False))
        await chatting.chat(*words, **given, here=session)
    return out.getvalue(), bodies


async def test_a_reply_is_shown_as_it_comes_without_what_steers_a_terminal() -> None:
    answer = httpx.Response(200, content=spoken("Hel", "lo [b]", "\x1b[2J") + END)
    shown, (body,) = await talked([answer], "base", "Hi", system="Be kind.")
    assert shown == "Hello [b]�[2J\n"
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert (body["model"], body["stream"], "max_tokens" in body) == ("base", True, False)


async def test_what_was_said_before_goes_with_the_next_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\nAnd then?\n"))
    answers = [httpx.Response(200, content=spoken(text) + END) for text in ("One.", "Two.")]
    shown, bodies = await talked(answers, "base", max_tokens=5)
    assert shown == "One.\nTwo.\n"
    assert [each["content"] for each in bodies[1]["messages"]] == ["Hi", "One.", "And then?"]


async def test_a_job_means_the_model_it_made() -> None:
    answers = [httpx.Response(200, json={"fine_tuned_model": "ft:m"}), httpx.Response(200, content=spoken("Hi") + END)]
    _, (_, body) = await talked(answers, "ftjob-1", "Hi")
    assert body["model"] == "ft:m"
    with pytest.raises(Refused, match="it is running"):
        await talked([httpx.Response(200, json={"fine_tuned_model": None, "status": "running"})], "ftjob-1", "Hi")


async def test_what_breaks_a_reply_off_is_raised() -> None:
    problem = {"status": 503, "detail": "It died.", "code": "busy", "error": {"message": "It died."}}
    broken = spoken("Hel") + b"data: %b\n\n" % json.dumps(problem).encode()
    for answer in (httpx.Response(200, content=broken), httpx.Response(503, json=problem)):
        with pytest.raises(Refused, match="It died") as error:
            await talked([answer], "base", "Hi")
        assert error.value.code == 5
