"""People sign in, stay signed in, and sign out; and nobody calls too often."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from contracts.jobs import JobSubmitted
from contracts.recipes import SHIPPED_MODEL
from libs.testing.platform import World
from tests.integration.gateway.conftest import LINES, Gateway, listening

PASSWORD = "five words are quite enough"
ADDRESS = "ana@studio.example"


async def invited(gateway: Gateway, role: str = "engineer") -> dict[str, Any]:
    wish = {"name": "Ana", "role": role, "email": ADDRESS}
    ana = (await gateway.http.post("/v1/members", json=wish)).json()
    return dict((await gateway.http.post(f"/v1/members/{ana['id']}/invitation")).json())


async def with_password(gateway: Gateway, role: str = "engineer") -> str:
    invitation = await invited(gateway, role)
    wish = {"invitation": invitation["invitation"], "password": PASSWORD}
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        accepted = await nobody.post("/v1/invitations/accept", json=wish)
        assert accepted.status_code == 200, accepted.text
        assert accepted.json()["signs_in"]
        again = await nobody.post("/v1/invitations/accept", json=wish)
        assert (again.status_code, again.json()["code"]) == (401, "bad_invitation")
    return str(invitation["member"])


@asynccontextmanager
async def signed_in(gateway: Gateway) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.Response]]:
    """A browser in which Ana signed in, and the answer she got."""
    async with httpx.AsyncClient(base_url=gateway.url) as browser:
        answer = await browser.post("/v1/sessions", json={"email": ADDRESS.upper(), "password": PASSWORD})
        browser.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        yield browser, answer


async def test_somebody_invited_signs_in_changes_things_and_signs_out_everywhere(gateway: Gateway) -> None:
    member = await with_password(gateway)
    async with signed_in(gateway) as (first, answer), signed_in(gateway) as (second, _):
        assert (answer.status_code, answer.json()["member"], answer.json()["role"]) == (201, member, "engineer")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        async with gateway.platform.db.transaction("studio") as tx:
            kept = str([dict(row) for row in await tx.fetch("SELECT * FROM gateway.session")])
        assert first.cookies["woodshed_session"] not in kept
        assert (await first.get("/v1/files")).status_code == 200
        assert (await first.post("/v1/keys", json={"name": "mine"})).status_code == 201
        assert (await first.get("/v1/audit")).json()["code"] == "missing_permission"
        assert (await first.post("/v1/keys", json={"name": "x"}, headers={"X-CSRF-Token": ""})).json()[
            "code"
        ] == "csrf_token"
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert (await first.post("/v1/keys", json={"name": "x"}, headers=elsewhere)).json()["code"] == "cross_site"
        open_now = (await first.get("/v1/sessions")).json()["data"]
        assert [each["current"] for each in open_now] == [True, False]
        assert (await second.delete(f"/v1/sessions/{open_now[1]['id']}")).status_code == 200
        assert (await second.get("/v1/me")).json()["code"] in ("session_over", "missing_api_key")
        async with signed_in(gateway) as (third, _):
            assert len((await third.delete("/v1/sessions")).json()["ended"]) == 2
            for browser in (first, third):
                assert (await browser.get("/v1/me")).status_code == 401
    actions = [entry["action"] for entry in (await gateway.http.get("/v1/audit")).json()["data"]]
    assert actions[:3] == ["session.ended", "session.opened", "session.ended"]


async def test_another_password_or_a_removal_ends_every_other_session(gateway: Gateway) -> None:
    member = await with_password(gateway)
    async with signed_in(gateway) as (first, _), signed_in(gateway) as (second, _):
        wish = {"password": "another sentence of words"}
        assert (await first.put("/v1/me/password", json=wish)).json()["code"] == "wrong_password"
        changed = await first.put("/v1/me/password", json=wish | {"current": PASSWORD})
        assert len(changed.json()["ended"]) == 1
        assert (await second.get("/v1/me")).status_code == 401
        assert (await first.get("/v1/me")).status_code == 200
        assert (await gateway.http.delete(f"/v1/members/{member}")).status_code == 200
        assert (await first.get("/v1/me")).status_code == 401


async def test_guessing_a_password_is_answered_alike_for_everybody_and_soon_not_at_all(gateway: Gateway) -> None:
    await with_password(gateway)
    async with httpx.AsyncClient(base_url=gateway.url) as nobody:
        said = set()
        for email in (ADDRESS, "nobody@studio.example"):
            for _ in range(5):
                wrong = await nobody.post("/v1/sessions", json={"email": email, "password": "guess"})
                said.add((wrong.status_code, wrong.json()["code"], wrong.json()["detail"]))
            blocked = await nobody.post("/v1/sessions", json={"email": email, "password": PASSWORD})
            assert (blocked.status_code, blocked.json()["code"]) == (429, "too_many_tries")
            assert int(blocked.headers["retry-after"]) <= 30
        assert len(said) == 1
        other = {"email": ADDRESS, "password": PASSWORD, "organisation": "elsewhere"}
        assert (await nobody.post("/v1/sessions", json=other)).json()["code"] == "wrong_password"


async def test_a_narrowed_key_sets_no_password_and_invites_nobody_who_can_do_more(gateway: Gateway) -> None:
    scopes = ["self", "members.write"]
    made = await gateway.http.post("/v1/keys", json={"name": "narrow", "scopes": scopes})
    owner = (await gateway.http.get("/v1/me")).json()["member"]
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"Authorization": f"Bearer {made.json()['key']}"}
    ) as narrow:
        assert (await narrow.put("/v1/me/password", json={"password": PASSWORD})).json()["code"] == "key_too_wide"
        for answer in (
            await narrow.post(f"/v1/members/{owner}/invitation"),
            await narrow.post("/v1/members", json={"name": "x", "role": "staff"}),
            await narrow.patch(f"/v1/members/{owner}", json={"email": "me@evil.example"}),
            await narrow.delete(f"/v1/members/{owner}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "role_too_wide")


async def test_who_calls_too_often_is_told_when_to_come_back(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path, key_calls=5) as gateway:
        answers = [await gateway.http.get("/v1/models") for _ in range(8)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "rate_limit_exceeded"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert answers[0].headers["x-ratelimit-limit-requests"] == "5"
        assert answers[0].headers["x-ratelimit-reset-requests"].endswith("s")
        assert (await gateway.http.get("/health/live")).status_code == 200


async def test_an_organisation_has_no_more_than_its_quotas_however_fast_it_asks(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path, jobs_at_once=2, storage_bytes=5000) as gateway:
        file = (await gateway.upload())["id"]
        wish = {"model": SHIPPED_MODEL, "training_file": file}
        answers = await asyncio.gather(
            *(gateway.http.post("/v1/fine_tuning/jobs", json=wish | {"seed": seed}) for seed in range(6))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        assert len((await gateway.http.get("/v1/fine_tuning/jobs")).json()["data"]) == 2
        await world.told(JobSubmitted, count=2)
        assert len(await world.all_told(JobSubmitted)) == 2
        form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("more.jsonl", LINES * 2)}}
        over = await gateway.http.post("/v1/files", **form)
        assert (over.status_code, over.json()["field"]) == (429, "file")
        kept = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
        assert kept == ["content"]
