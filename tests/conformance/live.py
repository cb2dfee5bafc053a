"""Asks a running gateway for one of everything and holds each answer against OpenAI's own schema of it."""

from typing import Any

import httpx
import jsonschema
from msgspec import Struct

from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted
from tests.conformance.shapes import Document, Schema
from tests.integration.gateway.conftest import LINES, Gateway, Story, now

JOBS = "/v1/fine_tuning/jobs"
WEIGHTS = b"weights" * 1000


class Live(Struct, frozen=True):
    """What an operation answered: its status, and where the answer is not what OpenAI's schema says."""

    status: int
    wrong: tuple[str, ...] = ()


class Asker:
    """Holds answers against schemas, operation by operation."""

    def __init__(self, gateway: Gateway, theirs: Document) -> None:
        self.http = gateway.http
        self.theirs = theirs
        self.found: dict[str, Live] = {}
        self._names = {
            (method, path): each["operationId"]
            for path, methods in theirs.content["paths"].items()
            for method, each in methods.items()
            if isinstance(each, dict)
        }

    async def ask(self, method: str, path: str, url: str, **request: Any) -> httpx.Response:
        """Call an operation, named by its method and path in OpenAI's description."""
        answer = await self.http.request(method, f"/v1{url}", **request)
        self.found[self._names[method, path]] = Live(answer.status_code, self._wrong(method, path, answer))
        return answer

    def _wrong(self, method: str, path: str, answer: httpx.Response) -> tuple[str, ...]:
        said = self.theirs.content["paths"][path][method]["responses"].get(str(answer.status_code))
        if said is None:
            return ("a status that is not described",)
        schema = said.get("content", {}).get("application/json", {}).get("schema")
        if schema is None or not answer.headers["content-type"].startswith("application/json"):
            return ()
        whole = schema | {"components": standard(self.theirs.content["components"])}
        errors = jsonschema.Draft202012Validator(whole).iter_errors(answer.json())
        return tuple(sorted({f"{error.json_path}: {error.message[:120]}" for error in errors}))


def standard(node: Any) -> Any:
    """Say OpenAPI 3.0's ``nullable`` and ``exclusiveMinimum: true`` as JSON Schema does."""
    if isinstance(node, list):
        return [standard(each) for each in node]
    if not isinstance(node, dict):
        return node
    said: Schema = {name: standard(value) for name, value in node.items() if name not in ("nullable", "example")}
    if said.get("exclusiveMinimum") is True:
        said["exclusiveMinimum"] = said.pop("minimum")
    return {"anyOf": [said, {"type": "null"}]} if node.get("nullable") is True else said


async def walk(gateway: Gateway, theirs: Document) -> dict[str, Live]:
    """Ask for one of everything that is cheap; return what came, by operation."""
    asker = Asker(gateway, theirs)
    await _files(asker)
    await _uploads(asker)
    await _jobs(asker, gateway)
    await _checkpoints_and_models(asker, gateway)
    return asker.found


async def _files(asker: Asker) -> None:
    form = {"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = (await asker.ask("post", "/files", "/files", data=form, files={"file": ("a.jsonl", LINES)})).json()
    await asker.ask("get", "/files", "/files?purpose=fine-tune&limit=10&order=asc")
    await asker.ask("get", "/files/{file_id}", f"/files/{made['id']}")
    await asker.ask("get", "/files/{file_id}/content", f"/files/{made['id']}/content")
    await asker.ask("delete", "/files/{file_id}", f"/files/{made['id']}")


async def _uploads(asker: Asker) -> None:
    wish = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": len(LINES), "mime_type": "application/jsonl"}
    upload = (await asker.ask("post", "/uploads", "/uploads", json=wish)).json()["id"]
    part = await asker.ask(
        "post", "/uploads/{upload_id}/parts", f"/uploads/{upload}/parts", files={"data": ("part", LINES)}
    )
    wish_done = {"part_ids": [part.json()["id"]]}
    await asker.ask("post", "/uploads/{upload_id}/complete", f"/uploads/{upload}/complete", json=wish_done)
    other = (await asker.http.post("/v1/uploads", json=wish)).json()["id"]
    await asker.ask("post", "/uploads/{upload_id}/cancel", f"/uploads/{other}/cancel")


async def _jobs(asker: Asker, gateway: Gateway) -> None:
    file = (await gateway.upload())["id"]
    wish = {"model": SHIPPED_MODEL, "training_file": file, "suffix": "coach", "seed": 1, "metadata": {"team": "a"}}
    wish["integrations"] = [{"type": "wandb", "wandb": {"project": "coach", "tags": ["a"]}}]
    job = (await asker.ask("post", "/fine_tuning/jobs", "/fine_tuning/jobs", json=wish)).json()["id"]
    await asker.ask("get", "/fine_tuning/jobs", "/fine_tuning/jobs?limit=1&metadata[team]=a")
    one, place = "/fine_tuning/jobs/{fine_tuning_job_id}", f"/fine_tuning/jobs/{job}"
    await asker.ask("get", one, place)
    await asker.ask("get", f"{one}/events", f"{place}/events")
    for wish_of in ("pause", "resume", "cancel"):
        await asker.ask("post", f"{one}/{wish_of}", f"{place}/{wish_of}")


async def _checkpoints_and_models(asker: Asker, gateway: Gateway) -> None:
    story = Story(await gateway.submit(suffix="coach"))
    place = f"/fine_tuning/jobs/{story.job_id}"
    await story_of_a_model(gateway, story)
    listed = await asker.ask(
        "get", "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", f"{place}/checkpoints?limit=1"
    )
    name = listed.json()["data"][0]["fine_tuned_model_checkpoint"]
    one = "/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"
    here = f"/fine_tuning/checkpoints/{name}/permissions"
    given = (await asker.ask("post", one, here, json={"project_ids": ["proj_a", "proj_b"]})).json()["data"]
    await asker.ask("get", one, f"{here}?limit=1&order=ascending")
    await asker.ask("delete", f"{one}/{{permission_id}}", f"{here}/{given[0]['id']}")
    await asker.ask("get", "/models", "/models")
    await asker.ask("get", "/models/{model}", f"/models/{story.model}")
    await asker.ask("delete", "/models/{model}", f"/models/{story.model}")


async def story_of_a_model(gateway: Gateway, story: Story) -> None:
    """Let a job live until its model is made, listed and measured."""
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    await gateway.platform.storage.put_bytes(f"{story.adapter}/metrics.csv", b"step,train_loss\n1,2.0\n")
    checkpoint = CheckpointCommitted(
        tenant=story.tenant, at=now(), version=1, run_id=story.run_id, job_id=story.job_id,
        fence=1, step=12, uri="u", size=1, sha256="a" * 64, loss=2.0,
    )  # fmt: skip
    pages = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}
    for fact in (
        story.queued(), story.dispatched(), checkpoint, story.finished(WEIGHTS), story.succeeded(), story.report(pages)
    ):  # fmt: skip
        await gateway.world.tell(fact)

    def proven(job: dict[str, Any]) -> bool:
        return job["woodshed"]["stage"] == "done" and bool(job["result_files"])

    await gateway.until(f"{JOBS}/{story.job_id}", proven)
