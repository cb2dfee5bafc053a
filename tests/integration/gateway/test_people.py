"""Members, their keys, and the log of who changed what, on a gateway that listens."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from services.gateway.domain.permissions import WHO_MAY
from services.gateway.queries import audit as audit_queries
from tests.integration.gateway.conftest import Gateway


async def member(gateway: Gateway, role: str, **more: Any) -> dict[str, Any]:
    answer = await gateway.http.post("/v1/members", json={"name": role.title(), "role": role} | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def make(http: httpx.AsyncClient, **wish: Any) -> httpx.Response:
    return await http.post("/v1/keys", json={"name": "a key"} | wish)


def using(gateway: Gateway, made: httpx.Response | str) -> httpx.AsyncClient:
    key = made if isinstance(made, str) else made.json()["key"]
    return httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"})


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_members_keys_do_what_the_role_does_until_it_changes(gateway: Gateway) -> None:
    ana = await member(gateway, "analyst")
    async with using(gateway, await make(gateway.http, member=ana["id"])) as http:
        assert (await http.get("/v1/fine_tuning/jobs")).status_code == 200
        refused = await http.post("/v1/files", files={"file": b"x"})
        assert code(refused) == (403, "missing_permission")
        assert refused.json()["error"]["param"] == "files.write"
        assert "owner, engineer or staff" in refused.json()["fix"]
        assert (await gateway.http.patch(f"/v1/members/{ana['id']}", json={"role": "staff"})).status_code == 200
        assert (await http.post("/v1/files", files={"file": b"x"})).status_code != 403
        assert code(await http.patch(f"/v1/members/{ana['id']}", json={"role": "owner"})) == (403, "missing_permission")


async def test_a_removed_member_is_out_at_once_and_the_last_owner_stays(gateway: Gateway) -> None:
    bob = await member(gateway, "owner", email="Bob@Studio.example")
    assert code(await gateway.http.post("/v1/members", json={"name": "B", "role": "staff", "email": bob["email"]})) == (
        409,
        "address_taken",
    )
    async with using(gateway, await make(gateway.http, member=bob["id"])) as http:
        assert len((await http.get("/v1/members")).json()["data"]) == 2
        assert (await gateway.http.delete(f"/v1/members/{bob['id']}")).json()["deleted"]
        assert code(await http.get("/v1/members")) == (401, "revoked_api_key")
    first = (await gateway.http.get("/v1/members")).json()["data"][0]["id"]
    assert code(await gateway.http.delete(f"/v1/members/{first}")) == (409, "last_owner")
    assert code(await gateway.http.patch(f"/v1/members/{first}", json={"role": "staff"})) == (409, "last_owner")


async def test_two_owners_cannot_remove_each_other_at_the_same_moment(gateway: Gateway) -> None:
    first = (await gateway.http.get("/v1/members")).json()["data"][0]["id"]
    bob = (await member(gateway, "owner"))["id"]
    async with using(gateway, await make(gateway.http, member=bob)) as http:
        await asyncio.gather(http.delete(f"/v1/members/{first}"), gateway.http.delete(f"/v1/members/{bob}"))
    async with gateway.platform.db.transaction("studio") as tx:
        assert len(await tx.fetch("SELECT FROM gateway.member WHERE role = 'owner' AND removed_at IS NULL")) == 1


async def test_a_key_makes_rotates_and_sees_only_what_reaches_no_further(gateway: Gateway) -> None:
    wide = gateway.key.split("-")[1]
    scopes = ["keys.own", "jobs.read"]
    async with using(gateway, await make(gateway.http, scopes=scopes, expires_in=3600)) as narrow:
        assert code(await make(narrow, scopes=["jobs.write"])) == (403, "key_too_wide")
        assert code(await make(narrow, expires_in=7200)) == (403, "key_too_long")
        assert code(await make(narrow, scopes=["jobs.raed"])) == (422, "bad_scope")
        assert code(await narrow.post(f"/v1/keys/{wide}/rotate")) == (403, "key_too_wide")
        child = (await make(narrow)).json()["api_key"]
        assert (child["scopes"], child["permissions"]) == (sorted(scopes), sorted(scopes))
        assert child["expires_at"] is not None
        shown = [key["shown"] for key in (await narrow.get("/v1/keys")).json()["data"]]
        assert (len(shown), f"wsk-{wide}-…" in shown) == (3, True)
    ana = await member(gateway, "analyst")
    async with using(gateway, await make(gateway.http, member=ana["id"])) as http:
        assert code(await http.get(f"/v1/keys/{wide}")) == (404, "not_found")
        assert code(await http.delete(f"/v1/keys/{wide}")) == (404, "not_found")
        assert len((await http.get("/v1/keys")).json()["data"]) == 1
        own = (await make(http)).json()["api_key"]
        assert own["permissions"] == sorted(each for each, roles in WHO_MAY.items() if "analyst" in roles)


async def test_a_rotated_key_and_its_successor_overlap_and_its_use_is_seen(gateway: Gateway) -> None:
    old = await make(gateway.http, expires_in=3600)
    prefix = old.json()["api_key"]["id"]
    async with using(gateway, old) as before:
        new = await before.post(f"/v1/keys/{prefix}/rotate", json={"overlap": 600})
        assert new.status_code == 201, new.text
        async with using(gateway, new) as after:
            assert {(await each.get("/v1/models")).status_code for each in (before, after)} == {200}
        seen = await gateway.until(f"/v1/keys/{prefix}", lambda key: key["last_used_at"])
        assert seen["rotated_to"] == new.json()["api_key"]["id"]
        assert seen["expires_at"] < old.json()["api_key"]["expires_at"]
        assert code(await before.post(f"/v1/keys/{prefix}/rotate")) == (409, "key_is_over")
        assert (await gateway.http.delete(f"/v1/keys/{prefix}")).status_code == 200
        assert code(await before.get("/v1/models")) == (401, "revoked_api_key")
    brief = await make(gateway.http)
    ended = await gateway.http.post(f"/v1/keys/{brief.json()['api_key']['id']}/rotate", json={"overlap": 0})
    assert ended.status_code == 201
    async with using(gateway, brief) as http:
        assert code(await http.get("/v1/models")) == (401, "expired_api_key")
    async with using(gateway, str(brief.json()["key"])[:-1] + "_") as http:
        assert (await http.get("/v1/models")).status_code == 401


async def test_what_members_change_is_in_the_log_and_a_change_of_the_log_shows(gateway: Gateway) -> None:
    made = (await make(gateway.http, scopes=["jobs.read"])).json()["api_key"]["id"]
    ana = (await member(gateway, "analyst", email="ana@studio.example"))["id"]
    await gateway.http.patch(f"/v1/members/{ana}", json={"role": "engineer", "email": "anna@studio.example"})
    await gateway.http.delete(f"/v1/members/{ana}")
    refused = await make(gateway.http, scopes=["nonsense"])
    revoked = await gateway.http.delete(f"/v1/keys/{made}")
    assert refused.status_code == 422
    log = (await gateway.http.get("/v1/audit")).json()["data"]
    told = [(entry["action"], entry["about"]) for entry in reversed(log)]
    assert told == [
        ("key.made", made),
        ("member.added", ana),
        ("member.changed", ana),
        ("member.removed", ana),
        ("key.revoked", made),
    ]
    assert log[0]["request_id"] == revoked.headers["x-request-id"]
    assert (log[0]["via"], log[0]["origin"]) == (gateway.key.split("-")[1], "127.0.0.1")
    assert log[2]["details"] == {"email": "changed", "role": ["analyst", "engineer"]}
    assert "@" not in str(log)
    whole = (await gateway.http.get("/v1/audit/verify")).json()
    assert (whole["holds"], whole["entries"], whole["head"]) == (True, 5, log[0]["hash"])
    page = (await gateway.http.get("/v1/audit", params={"after": 4, "limit": 2})).json()
    assert ([entry["number"] for entry in page["data"]], page["has_more"]) == ([3, 2], True)
    await _tamper(gateway)
    broken = (await gateway.http.get("/v1/audit/verify")).json()
    assert (broken["holds"], broken["broken_at"]) == (False, 3)


async def _tamper(gateway: Gateway) -> None:
    """Change an entry as nobody but the database's administrator can, after the service was refused."""
    change = "UPDATE gateway.audit SET actor = 'member-else' WHERE number = 3"
    for wrong in (change, "DELETE FROM gateway.audit WHERE number = 3"):
        with pytest.raises(asyncpg.RaiseError, match="never changed"):
            async with gateway.platform.db.transaction("studio") as tx:
                await tx.execute(wrong)
    admin = await asyncpg.connect(gateway.world.servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
    try:
        await admin.execute("SET session_replication_role = replica")
        await admin.execute(change)
    finally:
        await admin.close()


async def test_changes_at_the_same_moment_stand_in_one_chain(gateway: Gateway) -> None:
    made = await asyncio.gather(*(make(gateway.http, scopes=["jobs.read"]) for _ in range(12)))
    assert {answer.status_code for answer in made} == {201}
    whole = (await gateway.http.get("/v1/audit/verify")).json()
    assert (whole["holds"], whole["entries"]) == (True, 12)
    async with gateway.platform.db.transaction("rival") as tx:
        assert await audit_queries.newest_first(tx, None, 100) == []
