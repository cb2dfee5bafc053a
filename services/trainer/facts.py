"""How a fact about a run begins: whose it is, and when it was told."""

from typing import Any

from contracts.base import Event
from libs.db.database import now


def of_run(kind: type[Event], run: Any, **fields: Any) -> Event:
    """Make a fact of this kind about a run; ``run`` is its row."""
    return kind(tenant=run["tenant"], at=now(), run_id=run["run_id"], job_id=run["job_id"], **fields)  # type: ignore[call-arg]
