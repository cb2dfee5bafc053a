"""Links that download without an API key: what they send, how often, and when they send nothing."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from tests.integration.gateway.conftest import LINES, Gateway, Story

LINKS = "/v1/download_links"


async def made(gateway: Gateway, **wish: Any) -> dict[str, Any]:
    answer = await gateway.http.post(LINKS, json=wish)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_whoever_has_a_link_downloads_whole_or_in_parts_and_is_counted(gateway: Gateway) -> None:
    file = await gateway.upload()
    link = await made(gateway, file=file["id"])
    assert link["expires_at"] - link["created_at"] in (86_399, 86_400)
    async with httpx.AsyncClient() as anybody:
        whole = await anybody.get(link["url"])
        assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, LINES, f'"{file["sha256"]}"')
        part = await anybody.get(link["url"], headers={"Range": "bytes=10-", "If-Range": whole.headers["etag"]})
        assert (part.status_code, part.content) == (206, LINES[10:])
        assert "key" not in whole.headers["content-disposition"]
    shown = (await gateway.http.get(f"{LINKS}/{link['id']}")).json()
    assert (shown["downloads"], shown["status"], shown["url"]) == (1, "active", link["url"])


async def test_an_adapters_file_and_a_report_can_be_shared(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", b"weights")
    await gateway.platform.storage.put_bytes("studio/reports/eval-1/report.pdf", b"%PDF")
    pages = {"pdf": b"%PDF", "html": b"", "json": b""}
    for fact in (story.dispatched(), story.finished(b"weights"), story.succeeded(), story.report(pages)):
        await gateway.world.tell(fact)
    await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}/artifacts", lambda found: found["data"])
    await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}", lambda job: job["woodshed"]["verdict"])
    async with httpx.AsyncClient() as anybody:
        for wish, content in (({"artifact": "adapter_model.safetensors"}, b"weights"), ({"report": "pdf"}, b"%PDF")):
            link = await made(gateway, job=story.job_id, **wish)
            assert (await anybody.get(link["url"])).content == content
        await gateway.world.tell(story.report(pages | {"pdf": b"another"}))
        async with asyncio.timeout(60):
            while (changed := await anybody.get(link["url"])).status_code == 200:
                await asyncio.sleep(0.02)
    assert (changed.status_code, changed.json()["code"]) == (410, "link_target_changed")


async def test_forged_expired_revoked_and_deleted_ones_send_nothing(gateway: Gateway) -> None:
    file = await gateway.upload()
    first, second, third = [await made(gateway, file=file["id"]) for _ in range(3)]
    async with httpx.AsyncClient() as anybody:

        async def refused(url: str, status: int, code: str) -> None:
            answer = await anybody.get(url)
            assert (answer.status_code, answer.json()["code"]) == (status, code), url

        longer = first["url"].replace(f"expires={first['expires_at']}", f"expires={first['expires_at'] + 1}")
        await refused(longer, 404, "not_found")
        await refused(first["url"].replace(first["id"], second["id"]), 404, "not_found")
        await refused(first["url"].split("&")[0] + "&signature=", 404, "not_found")
        await refused(first["url"].split("?")[0], 400, "invalid_request")
        revoked = (await gateway.http.delete(f"{LINKS}/{first['id']}")).json()
        assert revoked["status"] == "revoked"
        await refused(first["url"], 410, "link_revoked")
        async with gateway.platform.db.transaction("studio") as tx:
            row = await tx.fetchrow("SELECT * FROM gateway.link WHERE link_id = $1", second["id"])
            assert row
            at = row["expires_at"] - timedelta(days=2)
            await tx.execute("UPDATE gateway.link SET expires_at = $2 WHERE link_id = $1", second["id"], at)
        await refused(second["url"], 410, "link_expired")
        await gateway.http.delete(f"/v1/files/{file['id']}")
        await refused(third["url"], 410, "link_target_gone")
    listed = (await gateway.http.get(LINKS)).json()["data"]
    assert [(each["status"], each["downloads"]) for each in listed] == [("active", 0), ("expired", 0), ("revoked", 0)]


async def test_a_link_leads_only_to_things_of_its_own_organisation(gateway: Gateway) -> None:
    file = await gateway.upload()
    async with await gateway.stranger() as stranger:
        for wish in ({"file": file["id"]}, {"job": "ftjob-1", "report": "pdf"}):
            answer = await stranger.post(LINKS, json=wish)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        link = await made(gateway, file=file["id"])
        for method in ("GET", "DELETE"):
            assert (await stranger.request(method, f"{LINKS}/{link['id']}")).status_code == 404
        assert (await stranger.get(LINKS)).json()["data"] == []
