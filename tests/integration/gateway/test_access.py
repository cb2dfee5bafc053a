"""Who gets in, and that nobody reaches another organisation's things by any route."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from contracts.runs import CheckpointCommitted
from libs.testing.platform import World
from services.gateway.bootstrap import bootstrap
from services.gateway.domain.permissions import WHO_MAY
from services.gateway.openapi import document
from services.gateway.queries import keys as key_queries
from services.gateway.queries import sessions as session_queries
from tests.integration.gateway.conftest import LINES, PEPPER, Gateway, Story, listening, now

BODIES: dict[str, Any] = {
    "/v1/fine_tuning/jobs/{job}/ask": {"prompt": "Hello?"},
    "/v1/notice_recipients/{recipient}": {"name": "Eve", "email": "eve@rival.example"},
    "/v1/download_links": {"file": "{file_id}"},
    "/v1/estimates": {"dataset": "{dataset}"},
    "/v1/datasets": {"file": "{file_id}"},
    "/v1/webhook_endpoints/{webhook}": {"name": "theirs"},
    "/v1/webhook_endpoints/{webhook}/rotate_secret": {},
    "/v1/webhook_endpoints/{webhook}/test": {"event_type": "fine_tuning.job.succeeded"},
    "/v1/fine_tuning/jobs": {"model": "SmolLM2-135M-Instruct", "training_file": "{file_id}"},
    "/v1/fine_tuning/checkpoints/{checkpoint}/permissions": {"project_ids": ["proj_a"]},
    "/v1/uploads/{upload_id}/complete": {"part_ids": ["part-1"]},
    "/v1/keys": {"name": "theirs", "member": "{member}"},
    "/v1/members/{member}": {"role": "staff"},
}
NAMES_NOTHING = {
    "get /v1/files",
    "post /v1/files",
    "post /v1/uploads",
    "get /v1/datasets",
    "get /v1/fine_tuning/jobs",
    "get /v1/models",
    "get /v1/stream",
    "get /v1/webhook_endpoints",
    "post /v1/webhook_endpoints",
    "get /v1/webhook_event_types",
    "get /v1/download_links",
    "get /v1/notice_recipients",
    "post /v1/notice_recipients",
    "post /v1/chat/completions",
    "get /v1/event_credentials",
    "post /v1/event_credentials",
    "get /v1/keys",
    "get /v1/members",
    "post /v1/members",
    "get /v1/machines",
    "get /v1/budget",
    "put /v1/budget",
    "delete /v1/budget",
    "get /v1/wandb_key",
    "put /v1/wandb_key",
    "delete /v1/wandb_key",
    "get /v1/audit",
    "get /v1/audit/verify",
    "get /v1/me",
    "put /v1/me/password",
    "get /v1/sessions",
    "delete /v1/sessions",
}
PUBLIC = {
    "get /health/live",
    "get /health/ready",
    "get /metrics",
    "get /v1/downloads/{link}",
    "post /v1/sessions",
    "post /v1/invitations/accept",
}


def routes() -> list[tuple[str, str]]:
    return [(method, path) for path, methods in document()["paths"].items() for method in methods]


async def owned(gateway: Gateway) -> dict[str, str]:
    """Make one of everything, and return the ids."""
    story = Story(await gateway.submit())
    weights = b"weights"
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", weights)
    pages = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}
    for name, page in pages.items():
        await gateway.platform.storage.put_bytes(f"studio/reports/eval-1/report.{name}", page)
    saved = CheckpointCommitted(
        tenant="studio", at=now(), version=1, run_id=story.run_id, job_id=story.job_id,
        fence=1, step=12, uri="u", size=1, sha256="a" * 64,
    )  # fmt: skip
    facts = (story.dispatched(), saved, story.finished(weights), story.succeeded(), story.report(pages))
    for fact in facts:
        await gateway.world.tell(fact)
    await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}/artifacts", lambda found: found["data"])
    job = await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}", lambda job: job["woodshed"]["verdict"])
    checkpoints = (await gateway.http.get(f"/v1/fine_tuning/jobs/{story.job_id}/checkpoints")).json()["data"]
    checkpoint = checkpoints[0]["fine_tuned_model_checkpoint"]
    place = f"/v1/fine_tuning/checkpoints/{checkpoint}/permissions"
    permission = (await gateway.http.post(place, json={"project_ids": ["proj_a"]})).json()["data"][0]["id"]
    upload = {"filename": "a", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
    wish = {"name": "ours", "url": "https://hooks.example/", "event_types": ["fine_tuning.job.succeeded"]}
    webhook = (await gateway.http.post("/v1/webhook_endpoints", json=wish)).json()
    link = (await gateway.http.post("/v1/download_links", json={"file": job["training_file"]})).json()
    credential = (await gateway.http.post("/v1/event_credentials", json={"name": "ours"})).json()["user"]
    somebody = (await gateway.http.post("/v1/notice_recipients", json={"name": "Ada", "slack": True})).json()
    member = (await gateway.http.get("/v1/members")).json()["data"][0]["id"]
    return {
        "recipient": somebody["id"],
        "link": link["id"],
        "credential": credential,
        "webhook": webhook["id"],
        "delivery": "whd-1",
        "job": story.job_id,
        "file_id": job["training_file"],
        "dataset": story.dataset_id,
        "model": job["fine_tuned_model"],
        "name": "adapter_model.safetensors",
        "checkpoint": checkpoint,
        "permission": permission,
        "upload_id": (await gateway.http.post("/v1/uploads", json=upload)).json()["id"],
        "key": gateway.key.split("-")[1],
        "session": await _session(gateway, member),
        "member": member,
    }


def _mixed(own: str, names: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Bodies with an id of one's own beside one of somebody else's."""
    job = {"model": "SmolLM2-135M-Instruct", "training_file": own}
    return [
        ("/v1/datasets", {"file": own, "validation_file": names["file_id"]}),
        ("/v1/fine_tuning/jobs", job | {"validation_file": names["file_id"]}),
        ("/v1/fine_tuning/jobs", job | {"dataset": names["dataset"]}),
    ]


async def _session(gateway: Gateway, member: str) -> str:
    async with gateway.platform.db.transaction("studio") as tx:
        until = now() + timedelta(hours=1)
        await session_queries.add(tx, "session-1", member, b"digest", "127.0.0.1", "a browser", until)
    return "session-1"


def fill(template: Any, names: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {key: fill(value, names) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, names) for value in template]
    if not isinstance(template, str):
        return template
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], template)


async def test_every_route_answers_404_for_every_id_of_another_organisation(gateway: Gateway) -> None:
    names = await owned(gateway)
    walked = 0
    async with await gateway.stranger() as stranger:
        for method, path in routes():
            if f"{method} {path}" in NAMES_NOTHING | PUBLIC:
                continue
            body = fill(BODIES[path], names) if method in ("post", "patch") and path in BODIES else None
            answer = await stranger.request(method, fill(path, names), json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.json()["code"] == "not_found"
            walked += 1
        own = (await stranger.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": LINES})).json()["id"]
        for path, body in _mixed(own, names):
            answer = await stranger.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (path, body, answer.text)
        assert (await stranger.delete(f"/v1/files/{own}")).status_code == 200
        lists = ("files", "datasets", "fine_tuning/jobs", "webhook_endpoints", "download_links", "notice_recipients")
        for path in (f"/v1/{name}" for name in lists):
            assert (await stranger.get(path)).json()["data"] == []
        assert [model["owned_by"] for model in (await stranger.get("/v1/models")).json()["data"]] == ["base"]
    assert walked == len(routes()) - len(NAMES_NOTHING | PUBLIC) > 46
    assert (await gateway.http.get(f"/v1/files/{names['file_id']}/content")).status_code == 200


async def test_every_route_refuses_a_key_that_lacks_its_permission_and_names_it(gateway: Gateway) -> None:
    made = await gateway.http.post("/v1/keys", json={"name": "may nothing", "scopes": []})
    walked = set()
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"Authorization": f"Bearer {made.json()['key']}"}
    ) as narrow:
        for method, path in routes():
            if f"{method} {path}" in PUBLIC:
                continue
            problem = (await narrow.request(method, re.sub(r"\{\w+\}", "x", path))).json()
            assert (problem["status"], problem["code"]) == (403, "missing_permission"), (method, path, problem)
            assert problem["error"]["type"] == "permission_error"
            assert problem["field"] in problem["fix"]
            walked.add(problem["error"]["param"])
    assert walked <= WHO_MAY.keys()
    assert len(walked) > 10


async def test_every_route_but_health_wants_a_key(gateway: Gateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        for method, path in routes():
            if f"{method} {path}" in PUBLIC:
                continue
            answer = await nobody.request(method, re.sub(r"\{\w+\}", "x", path))
            assert (answer.status_code, answer.json()["code"]) == (401, "missing_api_key"), path
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer wsk-{'a' * 8}-{'b' * 32}"},
        {"X-Api-Key": "wsk-é"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_a_key_that_does_not_hold_is_refused_with_a_reason(gateway: Gateway, headers: dict[str, str]) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        answer = await client.get("/v1/files", headers=encoded)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["error"]["type"] == "authentication_error"
    assert problem["fix"] in problem["error"]["message"]


async def test_the_right_prefix_with_another_secret_is_refused(gateway: Gateway) -> None:
    forged = gateway.key[:13] + "0" * 32
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        answer = await client.get("/v1/files", headers={"X-Api-Key": forged})
        assert (answer.status_code, forged in answer.text) == (401, False)
        assert (await client.get("/v1/files", headers={"X-Api-Key": gateway.key})).status_code == 200


async def test_a_revoked_key_is_void_at_once(gateway: Gateway) -> None:
    async with gateway.platform.db.transaction("studio") as tx:
        assert await key_queries.revoke_key(tx, gateway.key.split("-")[1])
    assert (await gateway.http.get("/v1/files")).status_code == 401


async def test_the_first_key_is_made_once(gateway: Gateway) -> None:
    assert await bootstrap(gateway.platform.db, "studio", PEPPER) is None


async def test_a_client_that_sends_its_headers_slowly_is_cut_off(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path, header_timeout_ms=500) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(60):
            await reader.read()
        assert reader.at_eof()
        writer.close()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"])
async def test_what_needs_no_key_answers_without(gateway: Gateway, path: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.get(path)).status_code == 200


async def test_the_page_of_the_api_loads_only_from_here(gateway: Gateway) -> None:
    page = (await gateway.http.get("/docs")).text
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert (await gateway.http.get(path)).status_code == 200, path


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("PATCH", "/v1/files", 405)])
async def test_what_is_not_there_is_a_problem_too(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = await gateway.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["error"]["message"]


async def test_a_bug_is_a_problem_without_its_traceback(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("services.gateway.queries.jobs.newest_first", broken)
    answer = await gateway.http.get("/v1/fine_tuning/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret detail" not in answer.text


async def test_a_trace_goes_on_through_the_answer(gateway: Gateway) -> None:
    trace.set_tracer_provider(TracerProvider())
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await gateway.http.get("/v1/files", headers={"traceparent": parent})
    assert answer.headers["traceparent"].split("-")[1] == parent.split("-")[1]


async def test_requests_are_counted_by_route_and_never_by_id(gateway: Gateway) -> None:
    await gateway.http.get("/v1/files/file-secret")
    counted = (await gateway.http.get("/metrics")).text
    assert 'woodshed_http_requests_total{method="GET",route="/v1/files/{file_id}",status="404"}' in counted
    assert "file-secret" not in counted
