"""The states of a run and what leads from one to the next: one table.

starting → running → succeeded; lost attempts go through recovering back to starting;
a cancelled job leads through stopping to cancelled; a run that has to let its device go leads
through pausing to paused, and is dispatched again from there. Final states are final.
"""

from typing import Literal

State = Literal[
    "starting", "running", "recovering", "stopping", "pausing", "paused", "succeeded", "failed", "cancelled"
]
Happening = Literal[
    "child_up",
    "attempt_lost",
    "lease_granted",
    "adapter_stored",
    "hopeless",
    "stop_asked",
    "pause_asked",
    "stopped",
]

FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})

TRANSITIONS: dict[tuple[State, Happening], State] = {
    ("starting", "child_up"): "running",
    ("starting", "attempt_lost"): "recovering",
    ("starting", "adapter_stored"): "succeeded",
    ("starting", "hopeless"): "failed",
    ("starting", "stop_asked"): "stopping",
    ("starting", "pause_asked"): "pausing",
    ("running", "adapter_stored"): "succeeded",
    ("running", "attempt_lost"): "recovering",
    ("running", "hopeless"): "failed",
    ("running", "stop_asked"): "stopping",
    ("running", "pause_asked"): "pausing",
    ("recovering", "lease_granted"): "starting",
    ("recovering", "hopeless"): "failed",
    ("recovering", "stop_asked"): "cancelled",
    ("recovering", "pause_asked"): "paused",
    ("stopping", "stopped"): "cancelled",
    ("stopping", "attempt_lost"): "cancelled",
    ("stopping", "hopeless"): "cancelled",
    ("stopping", "adapter_stored"): "cancelled",
    ("pausing", "pause_asked"): "pausing",
    ("pausing", "stopped"): "paused",
    ("pausing", "attempt_lost"): "paused",
    ("pausing", "hopeless"): "failed",
    ("pausing", "adapter_stored"): "succeeded",
    ("pausing", "stop_asked"): "stopping",
    ("paused", "lease_granted"): "starting",
    ("paused", "stop_asked"): "cancelled",
}


def after(state: State, happening: Happening) -> State | None:
    """Return the next state, or ``None`` when this cannot happen there (a repeated or late report)."""
    return TRANSITIONS.get((state, happening))
