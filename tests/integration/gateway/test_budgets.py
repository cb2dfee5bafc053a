"""A month's budget over the API: set by an owner, told to the scheduler, shown as it stands, and no job beyond it."""

from contracts.budgets import BudgetMoved, BudgetSet
from contracts.jobs import JobSubmitted
from libs.months import month_of
from services.gateway.bootstrap import bootstrap
from tests.integration.gateway.conftest import PEPPER, Gateway, now


async def test_a_job_is_refused_when_the_month_is_spent_and_accepted_when_an_owner_raises_it(gateway: Gateway) -> None:
    http = gateway.http
    assert (await http.get("/v1/budget")).json()["monthly"] is None
    assert (await http.put("/v1/budget", json={"monthly": -1})).status_code == 400
    made = (await http.put("/v1/budget", json={"monthly": 10, "time_zone": "Europe/Berlin"})).json()
    assert (made["monthly"], made["spent"], made["left"]) == (10.0, 0.0, 10.0)
    [told] = await gateway.world.told(BudgetSet)
    assert (told.limit, told.zone) == (10.0, "Europe/Berlin")
    job = await gateway.submit()
    month = month_of(now(), "Europe/Berlin")
    moved = BudgetMoved(
        tenant="studio", at=now(), version=2, month=month, limit=10.0, spent=9.75, held=0.25, used_up=True
    )
    await gateway.world.tell(moved)
    stands = await gateway.until("/v1/budget", lambda found: found["used_up"])
    assert (stands["spent"], stands["held"], stands["left"]) == (9.75, 0.25, 0.0)
    body = {"model": "SmolLM2-135M-Instruct", "training_file": job["training_file"]}
    refused = await http.post("/v1/fine_tuning/jobs", json=body, headers={"Idempotency-Key": "again"})
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "monthly_budget_spent"
    assert "woodshed budget set" in refused.json()["error"]["message"]
    assert len(await gateway.world.told(JobSubmitted)) == 1
    rivals = await bootstrap(gateway.platform.db, "rival", PEPPER)
    theirs = await http.get("/v1/budget", headers={"Authorization": f"Bearer {rivals}"})
    assert theirs.json()["monthly"] is None
    await http.put("/v1/budget", json={"monthly": 20})
    assert (await http.post("/v1/fine_tuning/jobs", json=body, headers={"Idempotency-Key": "again"})).status_code == 200
