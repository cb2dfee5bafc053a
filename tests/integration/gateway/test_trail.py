"""Whatever changes something says so in the audit log: every route is tried, or is named here with its reason."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import pytest

from contracts.jobs import JobCancelled
from contracts.webhooks import Deliveries, Delivery
from tests.integration.gateway.conftest import LINES, Gateway
from tests.integration.gateway.test_access import fill, owned, routes

SILENT = {
    "post /v1/estimates": "a question: nothing is kept of it",
    "post /v1/chat/completions": "a question: nothing is kept of it",
    "post /v1/fine_tuning/jobs/{job}/ask": "a question: nothing is kept of it",
    "post /v1/webhook_endpoints/{webhook}/test": "a sample is sent, and nothing is kept of it",
    "post /v1/uploads/{upload_id}/parts": "a part is nothing yet; making a file of the parts is noted",
}


class Change(NamedTuple):
    """A call that changes something, and the entry it leaves; what it made is ``keeps`` in the calls after it."""

    call: str
    action: str | None
    body: Any = None
    files: Any = None
    keeps: str = ""


JOB = {"model": "SmolLM2-135M-Instruct", "training_file": "{file_id}"}
HOOK = {"name": "ours", "url": "https://hooks.example/", "event_types": ["fine_tuning.job.succeeded"]}
UPLOAD = {"filename": "a", "purpose": "fine-tune", "bytes": 1, "mime_type": "text/plain"}
ADA = {"name": "Ada", "slack": True}
BOB = {"name": "Bob", "role": "staff", "email": "bob@studio.example"}
PASSWORD = "five words are quite enough"

CHANGES = (
    Change("post /v1/files", "file.uploaded", {"purpose": "fine-tune"}, {"file": ("a.jsonl", LINES)}, "file_id"),
    Change("post /v1/uploads/{upload_id}/parts", None, {}, {"data": b"x"}, "part"),
    Change("post /v1/uploads/{upload_id}/complete", "file.uploaded", {"part_ids": ["{part}"]}),
    Change("post /v1/uploads", "upload.announced", UPLOAD, keeps="upload_id"),
    Change("post /v1/uploads/{upload_id}/cancel", "upload.cancelled"),
    Change("post /v1/datasets", "dataset.asked", {"file": "{file_id}"}),
    Change("post /v1/fine_tuning/jobs/{job}/retry", "job.retried"),
    Change("post /v1/fine_tuning/jobs", "job.submitted", JOB, keeps="job"),
    Change("post /v1/fine_tuning/jobs/{job}/pause", "job.pause_asked"),
    Change("post /v1/fine_tuning/jobs/{job}/resume", "job.resume_asked"),
    Change("post /v1/fine_tuning/jobs/{job}/cancel", "job.cancel_asked"),
    Change(
        "post /v1/fine_tuning/checkpoints/{checkpoint}/permissions", "checkpoint.shared", {"project_ids": ["proj_b"]}
    ),
    Change("delete /v1/fine_tuning/checkpoints/{checkpoint}/permissions/{permission}", "checkpoint.unshared"),
    Change("delete /v1/models/{model}", "model.deleted"),
    Change("post /v1/webhook_endpoints", "webhook.made", HOOK),
    Change("post /v1/webhook_endpoints/{webhook}", "webhook.changed", {"name": "theirs"}),
    Change("post /v1/webhook_endpoints/{webhook}/rotate_secret", "webhook.secret_rotated", {}),
    Change("post /v1/webhook_endpoints/{webhook}/deliveries/{delivery}/replay", "webhook.replay_asked"),
    Change("delete /v1/webhook_endpoints/{webhook}", "webhook.removed"),
    Change("post /v1/notice_recipients", "recipient.named", ADA),
    Change("post /v1/notice_recipients/{recipient}", "recipient.changed", ADA),
    Change("delete /v1/notice_recipients/{recipient}", "recipient.removed"),
    Change("post /v1/download_links", "link.made", {"file": "{file_id}"}),
    Change("delete /v1/download_links/{link}", "link.revoked"),
    Change("post /v1/event_credentials", "event_credential.made", {"name": "billing"}),
    Change("delete /v1/event_credentials/{credential}", "event_credential.revoked"),
    Change("delete /v1/sessions/{session}", "session.ended"),
    Change("delete /v1/sessions", "session.ended"),
    Change("put /v1/me/password", "password.set", {"password": PASSWORD}),
    Change("post /v1/members", "member.added", BOB, keeps="member"),
    Change("patch /v1/members/{member}", "member.changed", {"role": "analyst"}),
    Change("post /v1/members/{member}/invitation", "member.invited", keeps="invitation"),
    Change(
        "post /v1/invitations/accept", "password.set", {"invitation": "{invitation}", "password": PASSWORD}
    ),
    Change("post /v1/sessions", "session.opened", {"email": BOB["email"], "password": PASSWORD}),
    Change("delete /v1/members/{member}", "member.removed"),
    Change("post /v1/keys", "key.made", {"name": "another"}, keeps="key"),
    Change("post /v1/keys/{key}/rotate", "key.rotated"),
    Change("delete /v1/keys/{key}", "key.revoked"),
    Change("put /v1/budget", "budget.set", {"monthly": 500}),
    Change("delete /v1/budget", "budget.lifted"),
    Change("put /v1/wandb_key", "wandb_key.set", {"api_key": "0" * 40}),
    Change("delete /v1/wandb_key", "wandb_key.removed"),
    Change("delete /v1/files/{file_id}", "file.deleted"),
)  # fmt: skip


def test_every_route_that_changes_something_is_tried_or_excused_by_name() -> None:
    changing = {f"{method} {path}" for method, path in routes() if method != "get"}
    assert changing == {change.call for change in CHANGES} | SILENT.keys()


async def test_every_change_is_in_the_audit_log_under_the_id_its_answer_carries(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await owned(gateway) | {"job": await _cancelled(gateway)}
    monkeypatch.setattr("services.gateway.routes.webhooks.ask", _one_delivery)
    for change in CHANGES:
        before = await _entries(gateway)
        answer = await _carry_out(gateway.http, change, names)
        assert answer.is_success, (change.call, answer.text)
        entries = await _entries(gateway)
        told = [entry["action"] for entry in entries[: len(entries) - len(before)]]
        assert told == ([change.action] if change.action else []), change.call
        assert not change.action or entries[0]["request_id"] == answer.headers["x-request-id"]
        if change.keeps:
            names[change.keeps] = _made(answer.json(), change.keeps)
    assert (await gateway.http.get("/v1/audit/verify")).json()["holds"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/files", 401), ("GET", "/v1/nothing", 404), ("PATCH", "/v1/files", 405), ("GET", "/health/live", 200)],
)
async def test_answers_that_reach_no_route_carry_an_id_and_are_counted(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        answers = [await nobody.request(method, path) for _ in range(2)]
        assert {answer.status_code for answer in answers} == {status}
        assert len({answer.headers["x-request-id"] for answer in answers}) == 2
        assert f'status="{status}"' in (await nobody.get("/metrics")).text


async def _cancelled(gateway: Gateway) -> str:
    job = (await gateway.submit())["id"]
    await gateway.world.tell(JobCancelled(tenant="studio", at=datetime.now(UTC), version=9, job_id=job))
    await gateway.until(f"/v1/fine_tuning/jobs/{job}", lambda shown: shown["status"] == "cancelled")
    return str(job)


async def _one_delivery(*_: object) -> Deliveries:
    found = Delivery(
        delivery_id="whd-1", event_id="evt-1", event_type="fine_tuning.job.succeeded", job_id="ftjob-1",
        state="failed", tries=3, created_at=datetime.now(UTC),
    )  # fmt: skip
    return Deliveries(deliveries=(found,))


async def _carry_out(http: httpx.AsyncClient, change: Change, names: dict[str, str]) -> httpx.Response:
    method, path = fill(change.call, names).split(" ")
    if change.files:
        return await http.request(method, path, data=change.body, files=change.files)
    return await http.request(method, path, json=fill(change.body, names) if change.body is not None else None)


async def _entries(gateway: Gateway) -> list[dict[str, Any]]:
    return list((await gateway.http.get("/v1/audit", params={"limit": 100})).json()["data"])


def _made(answer: dict[str, Any], what: str) -> str:
    """Return the id of what was made; of keys it lies deeper, and an invitation is its own."""
    return str(answer["api_key"]["id"] if what == "key" else answer.get(what) or answer["id"])
