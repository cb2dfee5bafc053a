"""The gate on a vLLM server: released where it says what was trained, passed over where it does not, or not at all."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.testing.vllm import FakeVllm, Said
from services.evaluator.domain.engines import TRANSFORMERS, VLLM, Remote
from services.evaluator.domain.serving import Compared
from tests.integration.evaluator.conftest import adapter
from tests.integration.evaluator.test_scoring import spec

pytest.importorskip("torch")
PROMPTS = [[{"role": "user", "content": said}] for said in ("I owe 700 dollars. What is first?", "And then?")]


async def test_a_server_that_answers_as_trained_is_released_and_another_is_not(tmp_path: Path, models: Path) -> None:
    import torch

    from libs.lm import generate
    from services.evaluator.scoring import served, speaking

    torch.set_num_threads(1)
    folder = adapter(tmp_path / "adapter", 1.0)
    base = models / SHIPPED_MODEL
    loaded = generate.load(base, folder, dtype="float32")

    async def gate(server: FakeVllm, url: str = "") -> Compared:
        remote = Remote(
            url=url or server.url, key="", adapters="", kept=3, conversations=8, reply_limit=speaking.REPLY_TOKENS
        )
        asked = spec(tmp_path, models, folder, remote=remote, engine=TRANSFORMERS)
        assert speaking.engines(asked) == [VLLM, TRANSFORMERS]
        said = await asyncio.to_thread(speaking.spoken, asked, PROMPTS, VLLM)
        return served.compared(asked, loaded, "float32", VLLM, said)

    async with FakeVllm(lambda asked: _greedy(loaded, asked, tuned=True)).listening() as server:
        as_trained = await gate(server)
        server.says = lambda asked: _greedy(loaded, asked, tuned=False)
        in_disguise = await gate(server)
        silent = await gate(server, "http://127.0.0.1:9")
    assert (as_trained.same, as_trained.engine, as_trained.tokens) == (True, VLLM, 16)
    assert (in_disguise.same, silent.same, silent.differing) == (False, False, 2)


def _greedy(loaded: Any, asked: dict[str, Any], *, tuned: bool) -> list[Said]:
    import torch

    ids, said = list(asked["prompt"]), []
    with loaded.tuned(tuned) as model:
        for _ in range(asked["max_tokens"]):
            logs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(logs.argmax())
            assert math.isfinite(float(logs[token]))
            said.append((token, float(logs[token]), {token: float(logs[token])}))
            ids.append(token)
    return said
