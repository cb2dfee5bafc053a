"""Thousands of odd requests at every route of a running platform: ``python -m tests.fuzz [--examples 30] [--seed 1]``.

Schemathesis makes them from our own OpenAPI document and checks every answer: no server error, a documented status, the
documented shape and type, refusals of what the document forbids, acceptance of what it allows, keys that are needed.
Most are about things that exist: two short jobs are trained first, of a model so small that chats cost nothing, and
what they leave is asked for; then nothing trains. Left out are live streams. It fails, too, when an operation answers
nothing with success.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from contracts.recipes import SHIPPED_MODEL
from deploy.demo import SAMPLE
from deploy.up import Running, platform_up, until_told
from libs.bus.permissions import RUNNER
from libs.embedded.home import Home
from libs.testing.models import tiny_model
from tests.fuzz.running import fuzz, table
from tests.fuzz.things import EVENT, JOBS, Ids

ENOUGH = "10000000"
TOLD = {
    "WOODSHED_GATEWAY_KEY_CALLS": ENOUGH,
    "WOODSHED_GATEWAY_TENANT_CALLS": ENOUGH,
    "WOODSHED_GATEWAY_ADDRESS_CALLS": ENOUGH,
    "WOODSHED_GATEWAY_WEBHOOK_PRIVATE_NETWORKS": "true",
    "WOODSHED_NOTIFIER_WEBHOOK_PRIVATE_NETWORKS": "true",
}
FEW = 30
ONCE = {"hyperparameters": {"n_epochs": 1}}
"""Conversations to train on, and how often: there is no more to learn here than that something was. They make enough
steps for checkpoints, of which there is one at each third of the way."""
PATIENCE = 600.0


async def run(examples: int, seed: int) -> int:
    """Start a platform, train, send requests; return 0 when nothing was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        home = Home(folder / "home")
        await asyncio.to_thread(tiny_model, Home.default().models / SHIPPED_MODEL, home.models / SHIPPED_MODEL)
        async with receiver() as hook, platform_up(home, 0, told=TOLD) as running:
            job = await trained(running, hook)
            options = ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
            verdict = await fuzz(folder, running.url, running.key, hook, job, options, shown=True)
    print(table(verdict))
    return int(verdict.failed or bool(verdict.never))


async def trained(running: Running, hook: str) -> Ids:
    """Train two jobs and cancel a third; return what they left, with nobody there any more who would train."""
    async with httpx.AsyncClient(
        base_url=running.url, headers={"Authorization": f"Bearer {running.key}"}, timeout=60, trust_env=False
    ) as http:
        endpoint = await _post(http, "/v1/webhook_endpoints", {"name": "ours", "url": hook, "event_types": [EVENT]})
        form = {"file": ("conversations.jsonl", b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[:FEW]))}
        uploaded = await http.post("/v1/files", data={"purpose": "fine-tune"}, files=form)
        wish = {"model": SHIPPED_MODEL, "training_file": uploaded.json()["id"], "max_length": 256} | ONCE
        kept, spare, failed = [await _post(http, JOBS, wish | {"suffix": each}) for each in ("kept", "spare", "no")]
        await _post(http, f"{JOBS}/{failed['id']}/cancel", None)
        await _until(http, f"{JOBS}/{failed['id']}", lambda job: job["status"] == "cancelled")
        models = [await _until(http, f"{JOBS}/{job['id']}", _is_done) for job in (kept, spare)]
        await _stop_training(running)
        checkpoints = (await http.get(f"{JOBS}/{kept['id']}/checkpoints")).json()["data"]
        sent = await _until(http, f"/v1/webhook_endpoints/{endpoint['id']}/deliveries", lambda page: page["data"])
    return {
        "job": kept["id"],
        "failed": failed["id"],
        "dataset": kept["woodshed"]["dataset"],
        "model": models[0]["fine_tuned_model"],
        "spare_model": models[1]["fine_tuned_model"],
        "name": "adapter_model.safetensors",
        "webhook": endpoint["id"],
        "delivery": sent["data"][0]["id"],
        "checkpoint": checkpoints[0]["fine_tuned_model_checkpoint"],
    }


async def _stop_training(running: Running) -> None:
    running.supervisor.forsake(RUNNER)
    runner = running.supervisor.running[RUNNER]
    runner.terminate()
    await runner.wait()


@asynccontextmanager
async def receiver() -> AsyncIterator[str]:
    """Take every webhook in; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _is_done(job: Any) -> bool:
    assert job["status"] not in ("failed", "cancelled"), job
    return bool(job["woodshed"]["stage"] == "done")


async def _post(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def _until(http: httpx.AsyncClient, path: str, seen: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not seen(answer := (await http.get(path)).json()):
            await asyncio.sleep(0.5)
    return answer


def main() -> int:
    """Fuzz; the exit code is 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=30, help="for each route")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    return until_told(run(chosen.examples, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
