"""What the organisation may spend in a month: said here, kept by the scheduler, which gives devices away."""

from datetime import UTC, datetime

from litestar import Router, delete, get, put
from litestar.params import JSONBody

from contracts.budgets import BudgetSet
from services.gateway.dependencies import TheCaller, Tx
from services.gateway.domain import budgets
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import budgets as queries
from services.gateway.trail import note

ABOUT = "budget"


@get("/", operation_id="retrieveBudget", opt=needs("budgets.read"), summary="How the month stands",
     responses=documented())  # fmt: skip
async def retrieve_budget(tx: Tx) -> budgets.Budget:
    """Say what a month may cost, and what of this one is spent and held for running jobs."""
    return budgets.budget_of(await queries.get(tx) or budgets.NO_BUDGET, datetime.now(UTC))


@put("/", operation_id="setBudget", opt=needs("budgets.write"), summary="Limit what a month may cost",
     responses=documented(422))  # fmt: skip
async def set_budget(data: JSONBody[budgets.BudgetWish], caller: TheCaller, tx: Tx) -> budgets.Budget:
    """Limit what a month may cost. What it has cost so far counts; jobs that have a device go on as they are."""
    budgets.check(data)
    at = datetime.now(UTC)
    row = await queries.set_limit(tx, data.monthly, data.time_zone)
    await tx.tell(BudgetSet(tenant=tx.tenant, at=at, limit=data.monthly, zone=data.time_zone))
    await note(tx, caller, "budget.set", ABOUT, monthly=data.monthly)
    return budgets.budget_of(row, at)


@delete("/", operation_id="removeBudget", opt=needs("budgets.write"), summary="Lift the limit", status_code=200,
        responses=documented())  # fmt: skip
async def remove_budget(caller: TheCaller, tx: Tx) -> budgets.Budget:
    """Let a month cost what it likes."""
    at = datetime.now(UTC)
    row = await queries.set_limit(tx, 0.0, "UTC")
    await tx.tell(BudgetSet(tenant=tx.tenant, at=at, limit=0.0))
    await note(tx, caller, "budget.lifted", ABOUT)
    return budgets.budget_of(row, at)


router = Router("/v1/budget", route_handlers=[retrieve_budget, set_budget, remove_budget], tags=["Budget"])
