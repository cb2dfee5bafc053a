"""What the database does for the services, in memory: transactions, inbox, outbox, the unique open lease, the fence.

A reaction runs to its end or not at all, since nothing else runs meanwhile; that is what a transaction and its row
locks give. ``guards`` says which protections are in force: tests take one out and expect a violation.
"""

from typing import Any

from msgspec import Struct

from contracts.base import Event
from services.trainer.domain import run_states


class Violation(Exception):
    """Something that must never be true is true: what."""


class Guards(Struct, frozen=True):
    """The protections under test."""

    fence: bool = True
    inbox: bool = True


class Schema:
    """What every service's schema has: an inbox, an outbox, and the facts it told so far."""

    def __init__(self, name: str, guards: Guards) -> None:
        self.name = name
        self.guards = guards
        self.inbox: set[str] = set()
        self.outbox: list[tuple[str, Event]] = []
        self.told = 0

    def claim(self, event_id: str) -> bool:
        """Enter an event. ``False``: its effect is already here."""
        if not self.guards.inbox:
            return True
        known = event_id in self.inbox
        self.inbox.add(event_id)
        return not known

    def tell(self, fact: Event) -> None:
        """Add a fact to the outbox."""
        self.told += 1
        self.outbox.append((f"{self.name}-{self.told}", fact))


class Job:
    """A row of the scheduler's jobs."""

    __slots__ = (
        "begun", "cost", "job_id", "memory", "offer", "priority", "run_id", "started_at", "state", "submitted_at",
        "wish", "wish_version",
    )  # fmt: skip

    def __init__(self, job_id: str, state: Any) -> None:
        self.job_id = job_id
        self.state = state
        self.wish: Any = None
        self.wish_version = 0
        self.priority = "medium"
        self.submitted_at: Any = None
        self.started_at: Any = None
        self.memory = 0
        self.run_id: str | None = None
        self.offer: Any = None
        self.begun = False
        self.cost: int | None = None


class Device:
    """A row of the trainer's devices."""

    __slots__ = ("device_id", "leaving", "memory", "offer_id", "offered", "online", "runner", "session", "shared")

    def __init__(self, device_id: str, runner: str, memory: int, *, shared: bool) -> None:
        self.device_id = device_id
        self.runner = runner
        self.memory = memory
        self.shared = shared
        self.session = -1
        self.online = self.leaving = False
        self.offer_id: str | None = None
        self.offered = 0


class Run:
    """A row of the trainer's runs."""

    __slots__ = (
        "attempt", "barren", "every", "interruptions", "job_id", "losses", "memory", "micro_tokens", "not_before",
        "offer_id", "paused", "run_id", "state", "stop_asked", "told_started",
    )  # fmt: skip

    def __init__(self, run_id: str, job_id: str, every: int, memory: int) -> None:
        self.run_id = run_id
        self.memory = memory
        self.not_before = 0
        self.job_id = job_id
        self.every = every
        self.state: run_states.State = "starting"
        self.attempt = 0
        self.barren = 0
        self.interruptions = 0
        self.micro_tokens = 0
        self.losses: dict[str, int] = {}
        self.offer_id: str | None = None
        self.stop_asked = False
        self.told_started = False
        self.paused = False


class Lease:
    """A row of the trainer's leases. Times are what the clocks of the controls said, in microseconds."""

    __slots__ = (
        "device_id", "ended_at", "ended_how", "fence", "granted_at", "launched", "memory", "run_id", "runner",
        "session",
    )  # fmt: skip

    def __init__(self, fence: int, run: Run, device: Device, granted_at: int) -> None:
        self.fence = fence
        self.memory = run.memory
        self.session = device.session
        self.ended_how = ""
        self.run_id = run.run_id
        self.device_id = device.device_id
        self.runner = device.runner
        self.granted_at = granted_at
        self.ended_at: int | None = None
        self.launched = False


class Checkpoint:
    """A row of the trainer's checkpoints."""

    __slots__ = ("fence", "quarantined", "step", "uri")

    def __init__(self, uri: str, fence: int, step: int) -> None:
        self.uri = uri
        self.fence = fence
        self.step = step
        self.quarantined = False


class TrainerSchema(Schema):
    """The trainer's tables, and the statements that are guarded by the fence."""

    def __init__(self, guards: Guards) -> None:
        super().__init__("trainer", guards)
        self.devices: dict[str, Device] = {}
        self.runs: dict[str, Run] = {}
        self.run_of: dict[str, str] = {}
        self.leases: dict[int, Lease] = {}
        self.open: dict[int, Lease] = {}
        self.checkpoints: dict[str, list[Checkpoint]] = {}
        self.called_off: set[str] = set()
        self.fence = 0

    def free(self, device: Device) -> int:
        """Return the memory of a device that a lease could have: 0 when nobody else may use it."""
        held = [lease.memory for lease in self.open.values() if lease.device_id == device.device_id]
        return 0 if held and not device.shared else device.memory - sum(held)

    def grant(self, run: Run, device: Device, at: int) -> Lease | None:
        """Give a device, or its share of one, to a run under the next fence; ``None``: it does not fit, or is taken."""
        if run.state not in ("starting", "recovering", "paused") or run.stop_asked or not device.online:
            return None
        if run.memory > self.free(device) or any(lease.run_id == run.run_id for lease in self.open.values()):
            return None
        self.fence += 1
        lease = Lease(self.fence, run, device, at)
        self.leases[lease.fence] = self.open[lease.fence] = lease
        self._fits(device)
        return lease

    def _fits(self, device: Device) -> None:
        held = [lease.memory for lease in self.open.values() if lease.device_id == device.device_id]
        if sum(held) > device.memory or (len(held) > 1 and not device.shared):
            raise Violation(f"{device.device_id} is held {len(held)} times, for {sum(held)} of {device.memory} bytes")

    def holder(self, fence: int) -> Run | None:
        """Return the run that holds this fence; ``None``: nobody does any more."""
        lease = (self.open if self.guards.fence else self.leases).get(fence)
        return self.runs[lease.run_id] if lease else None

    def end_lease(self, fence: int, at: int, how: str) -> None:
        """Free the device; a clock that was set back makes no lease shorter than nothing."""
        if lease := self.open.pop(fence, None):
            lease.ended_at = max(at, lease.granted_at)
            lease.ended_how = how

    def spent(self, run_id: str) -> int:
        """Return Σ lease microseconds of a run."""
        leases = (lease for lease in self.leases.values() if lease.run_id == run_id)
        return sum((lease.ended_at or 0) - lease.granted_at for lease in leases if lease.ended_at is not None)

    def write(self, run: Run, fence: int, what: str) -> None:
        """Note a durable write under a fence, and refuse to go on when its holder is not the effective one."""
        holders = [lease.fence for lease in self.open.values() if lease.run_id == run.run_id]
        if fence not in holders:
            raise Violation(f"{what} of {run.run_id} was accepted under fence {fence} while {holders} was held")

    def resumable(self, run_id: str) -> list[Checkpoint]:
        """Return what a run may resume from, newest first."""
        rows = [row for row in self.checkpoints.get(run_id, ()) if not row.quarantined]
        return sorted(rows, key=lambda row: (-row.step, -row.fence))
