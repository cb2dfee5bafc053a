"""From a file to a job at the terminal: what is asked of the server, and what keeps a job from being submitted."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from contracts.recipes import SHIPPED_MODEL
from services.cli import jobs
from services.cli.access import Access
from services.cli.client import Api
from services.cli.errors import Refused
from services.cli.session import Session

TOO_LARGE = {"status": 422, "title": "Too large", "detail": "It needs 5.1 GB.", "fix": "Train a LoRA.", "code": "big"}


class Server:
    """An API whose scheduler finds one wish too large, and which keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content)))
        return httpx.Response(422, json=TOO_LARGE)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_all_weights_are_asked_for_and_a_refused_estimate_submits_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def given(*_: Any) -> dict[str, Any]:
        return {"id": "ds-1", "file": "file-1", "status": "ready"}

    monkeypatch.setattr(jobs.files, "send", given)
    monkeypatch.setattr(jobs.datasets, "build", given)
    monkeypatch.setattr(jobs.datasets, "require_ready", lambda dataset: None)
    monkeypatch.setattr(jobs.show, "dataset", lambda dataset: "")
    async with Api(Access("http://127.0.0.1:1", "wsk-a-b"), transport=httpx.MockTransport(server)) as api:
        here = Session(api, Console(file=io.StringIO()))
        with pytest.raises(Refused, match=r"It needs 5\.1 GB"):
            await jobs.train(tmp_path / "talks.jsonl", method="full", here=here)
        with pytest.raises(Refused):
            await jobs.train(tmp_path / "talks.jsonl", quantization="nf4", here=here)
    assert [path for path, _ in server.asked] == ["/v1/estimates"] * 2
    whole, four_bits = (body for _, body in server.asked)
    assert (whole["training"], whole["model"]) == ("full", SHIPPED_MODEL)
    assert (four_bits.get("training"), four_bits["quantization"]) == (None, "nf4")


def test_a_lora_is_asked_for_by_saying_nothing() -> None:
    assert jobs._overrides("lora", None, "") == {}
