"""The trainer's control, as its ``handlers.py`` and ``control.py`` have it, on rows in memory.

Two controls share the rows; each has its own sense of silence, as two processes have.
"""

from typing import Any, ClassVar

from contracts.base import Event
from contracts.jobs import JobCancelled, JobDispatched, JobStopping
from contracts.runs import (
    CheckpointCommitted,
    DeviceOffered,
    DeviceWithdrawn,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunPaused,
    RunRecovered,
    RunStarted,
    WriteFenced,
)
from services.trainer.domain import run_states
from services.trainer.domain.failures import Failure
from services.trainer.domain.liveness import Silence
from services.trainer.domain.recovery import PREEMPTED, Backoff, History, after_loss, is_hopeless
from services.trainer.domain.saving import interval
from tests.simulation.carrying import Bus, Line
from tests.simulation.clockwork import SECOND, Clockwork
from tests.simulation.looping import POLL, Loops
from tests.simulation.running import Runner
from tests.simulation.scheduling import BEGAN, DIGEST, TENANT
from tests.simulation.store import Checkpoint, Device, Lease, Run, TrainerSchema, Violation

LEASE_SECONDS = 15.0
TAKE_OVER = 5 * SECOND
LOSSES = 3600.0
SAVE = 0.2
BACKOFF = Backoff(first=2.0, last=20.0)


class Control(Loops):
    """One process of the control."""

    def __init__(self, world: Clockwork, name: str, bus: Bus, line: Line, schema: TrainerSchema) -> None:
        super().__init__(world, name)
        self.bus = bus
        self.line = line
        self.schema: TrainerSchema = schema
        self.runners: dict[str, Runner] = {}
        self.objects: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        self.silence: Silence[int] = Silence(LEASE_SECONDS)
        self.silent_runners: Silence[str] = Silence(LEASE_SECONDS)
        self.living: dict[str, tuple[int, int]] = {}
        self.its_own: dict[str, list[int]] = {}
        self.ticked = self.world.now
        self.at(self.world.between(0, POLL), self.tick)

    def lease_device(self, job: JobDispatched) -> None:
        db = self.schema
        device = db.devices.get(job.device_id)
        lease = None
        stands = device is not None and device.online and device.offer_id == job.offer_id
        called_off = job.offer_id in db.called_off
        db.called_off.discard(job.offer_id)
        if device and stands:
            device.offer_id = None
        if device and stands and not called_off:
            run = db.runs.get(db.run_of.setdefault(job.job_id, job.run_id))
            if run is None:
                memory = min(job.estimate.memory_bytes, device.memory)
                run = db.runs[job.run_id] = Run(job.run_id, job.job_id, interval(job.estimate, LOSSES, SAVE), memory)
            if self._take_up(run, job):
                lease = db.grant(run, device, self.wall())
        if lease is None:
            self._forget(job)
            self._tell(DispatchDeclined, job.run_id, job.job_id, device_id=job.device_id)
            return
        self._begin(lease)

    def _forget(self, job: JobDispatched) -> None:
        run = self.schema.runs.get(job.run_id)
        if run and run.attempt == 0:
            del self.schema.runs[job.run_id], self.schema.run_of[job.job_id]

    def _take_up(self, run: Run, job: JobDispatched) -> bool:
        """Let a new or a paused run live by this dispatch. ``False``: it lives by another one, or is over."""
        if run.run_id == job.run_id and (run.state == "paused" or (run.attempt == 0 and run.offer_id is None)):
            run.offer_id = job.offer_id
            return True
        return False

    def let_go(self, order: JobStopping) -> None:
        run = self.schema.runs.get(self.schema.run_of.get(order.job_id, ""))
        if run is None or run.offer_id != order.offer_id:
            self.schema.called_off.add(order.offer_id)
            return
        state = run_states.after(run.state, "pause_asked")
        if state is None:
            return
        run.state = state
        if state == "paused":
            self._set_aside(run)

    def _set_aside(self, run: Run) -> None:
        run.state, run.told_started, run.paused = "paused", False, True
        self.world.counts["set aside"] += 1
        self._tell(
            RunPaused, run.run_id, run.job_id, step=0, lost_steps=0, why="pause",
            device_seconds=self.schema.spent(run.run_id) / SECOND,
        )  # fmt: skip

    def stop_run(self, job: JobCancelled) -> None:
        run = self.schema.runs.get(self.schema.run_of.get(job.job_id, ""))
        if run is None and job.offer_id:
            self.schema.called_off.add(job.offer_id)
        if run is None or run.state in run_states.FINAL:
            return
        state = run_states.after(run.state, "stop_asked")
        if state is None:
            return
        run.state, run.stop_asked = state, True
        if state == "cancelled":
            self._cancelled(run)

    def hello(self, runner: Runner, session: int) -> bool | None:
        if self._away():
            return None
        living, at = self.living.get(runner.name, (session, 0))
        if living != session and self.world.now - at < TAKE_OVER:
            self.world.counts["names taken"] += 1
            return False
        its_own = [device for device in self.schema.devices.values() if device.runner == runner.name]
        if not any(device.session == session and not device.leaving for device in its_own):
            for fence in self._leases_of(runner):
                self.lose(fence, "lost_worker")
            self._offline(runner.name, leaving=True)
        for device_id, memory in runner.devices.items():
            fresh = Device(device_id, runner.name, memory, shared=runner.shared)
            known = self.schema.devices.setdefault(device_id, fresh)
            known.online, known.leaving, known.session = True, False, session
        self.silent_runners.heard(runner.name)
        self.living[runner.name] = (session, self.world.now)
        self.bus.relay(self.schema)
        return True

    def beat(self, runner: Runner, session: int, holds: list[int], leaving: bool) -> tuple[list[int], bool] | None:
        if self._away():
            return self._as_before(runner, session, holds, leaving)
        devices = [device for device in self.schema.devices.values() if device.runner == runner.name]
        if not any(device.session == session for device in devices):
            return holds, False
        self.silent_runners.heard(runner.name)
        self.living[runner.name] = (session, self.world.now)
        if leaving:
            del self.living[runner.name]
            self._leave(runner, holds)
        its_own = self.its_own[runner.name] = self._leases_of(runner)
        stale = [fence for fence in holds if fence not in its_own]
        if not (stale or leaving):
            for device in devices:
                device.online = device.online or not device.leaving
        for fence in holds:
            if fence in its_own:
                self.silence.heard(fence)
        self.bus.relay(self.schema)
        return stale, True

    def _as_before(
        self, runner: Runner, session: int, holds: list[int], leaving: bool
    ) -> tuple[list[int], bool] | None:
        """Hear a runner while the database is away: who claims nothing new still holds it."""
        living, _ = self.living.get(runner.name, (None, 0))
        if living != session or leaving or not set(holds) <= set(self.its_own.get(runner.name, ())):
            return None
        self.world.counts["beats heard without a database"] += 1
        self.silent_runners.heard(runner.name)
        self.living[runner.name] = (session, self.world.now)
        for fence in holds:
            self.silence.heard(fence)
        return [], True

    def _leave(self, runner: Runner, holds: list[int]) -> None:
        """A machine is being taken away: offer it no more, and start elsewhere what it has not begun."""
        self._offline(runner.name, leaving=True)
        for fence in self._leases_of(runner):
            if not self.schema.open[fence].launched and fence not in holds:
                self.lose(fence, PREEMPTED)

    def _leases_of(self, runner: Runner) -> list[int]:
        return [lease.fence for lease in self.schema.open.values() if lease.runner == runner.name]

    def _offline(self, runner: str, *, leaving: bool) -> None:
        for device in self.schema.devices.values():
            if device.runner == runner and (device.online or leaving):
                device.online, device.leaving = False, leaving
                self._withdraw(device)

    def report(self, run_id: str, fence: int, session: int, what: tuple[Any, ...]) -> bool | None:
        """Apply what happened to an attempt, if its fence still holds."""
        if self._away():
            return None
        if self.schema.leases[fence].session != session:
            return False
        run = self.schema.holder(fence)
        if run is None or run.run_id != run_id:
            return self._late(run_id, fence, what)
        self.silence.heard(fence)
        self.world.note(self, f"hears of fence {fence} of {run_id} ({run.state}): {what[0]} {what[1:2]}")
        getattr(self, f"_{what[0]}")(run, fence, *what[1:])
        self.bus.relay(self.schema)
        return True

    def _late(self, run_id: str, fence: int, what: tuple[Any, ...]) -> bool:
        """A report under an ended lease: taken if it only repeats what was done, else refused; refused data is told."""
        self.world.counts["stale reports"] += 1
        rows = self.schema.checkpoints.get(run_id, ())
        lease = self.schema.leases[fence]
        repeats = (what[0] == "uploaded" and any(row.uri == what[2] and row.fence == fence for row in rows)) or (
            what[0] == "done" and lease.ended_how == "done"
        )
        if not repeats and what[0] in ("uploaded", "done"):
            self.world.counts["stale writes refused"] += 1
            self.schema.tell(WriteFenced(tenant=TENANT, at=BEGAN, run_id=run_id, fence=fence, what=what[0]))
            self.bus.relay(self.schema)
        return repeats

    def _reached(self, run: Run, fence: int, stage: str, step: int) -> None:
        run.state = run_states.after(run.state, "child_up") or run.state
        if not run.told_started:
            self.schema.write(run, fence, "RunStarted")
            run.told_started = True
            self._tell(RunStarted, run.run_id, run.job_id, device_id="d", fence=fence)
        if stage == "training" and (run.interruptions or run.paused):
            self._tell(
                RunRecovered,
                run.run_id,
                run.job_id,
                fence=fence,
                step=step,
                seconds=0.0,
                interruptions=run.interruptions,
            )

    def _uploaded(self, run: Run, fence: int, step: int, uri: str) -> None:
        rows = self.schema.checkpoints.setdefault(run.run_id, [])
        if any(row.uri == uri for row in rows):
            return
        self.schema.write(run, fence, "a checkpoint")
        rows.append(Checkpoint(uri, fence, step))
        run.barren = 0
        self._tell(CheckpointCommitted, run.run_id, run.job_id, fence=fence, step=step, uri=uri, size=0, sha256=DIGEST)

    def _quarantined(self, run: Run, fence: int, uri: str) -> None:
        for row in self.schema.checkpoints.get(run.run_id, ()):
            row.quarantined = row.quarantined or row.uri == uri

    def _done(self, run: Run, fence: int, weights: tuple[int, ...]) -> None:
        state = run_states.after(run.state, "adapter_stored")
        if state == "succeeded":
            self.schema.write(run, fence, "an adapter")
        self.schema.end_lease(fence, self.wall(), "done")
        if state != "succeeded":
            self._cancelled(run)
            return
        run.state = state
        self.objects[f"adapter of {run.run_id}"] = weights
        self._tell(
            RunFinished, run.run_id, run.job_id, fence=fence, base_model="m", dataset_id="ds", dataset_digest=DIGEST,
            dataset_uri="u", adapter_uri="u", sha256=DIGEST, size=0, steps=len(weights), tokens=0, trained_tokens=0,
            device_seconds=self.schema.spent(run.run_id) / SECOND, train_seconds=0.0, memory_bytes=0, train_loss=0.0,
            interruptions=run.interruptions, seed=0,
        )  # fmt: skip

    def _halted(self, run: Run, fence: int, step: int) -> None:
        if run.state not in ("stopping", "pausing"):
            self.lose(fence, PREEMPTED)
            return
        self.schema.end_lease(fence, self.wall(), "stopped")
        self._stopped(run)

    def _stopped(self, run: Run) -> None:
        """The device is free as was asked: the run is over, or waits."""
        if run.state == "pausing":
            self._set_aside(run)
        else:
            self._cancelled(run)

    def _broken(self, run: Run, fence: int, kind: str) -> None:
        self.lose(fence, kind)

    def lose(self, fence: int, kind: str) -> None:
        """An attempt is over without a result: free its device, then go on or give up."""
        run = self.schema.holder(fence)
        if run is None:
            return
        lease = self.schema.leases[fence]
        self.schema.end_lease(fence, self.wall(), "lost")
        self.world.counts["lost attempts"] += 1
        if kind == "lost_worker" and self.schema.devices[lease.device_id].leaving:
            kind = PREEMPTED
        self.world.counts["preempted"] += kind == PREEMPTED
        if run.state == "stopping" or (run.state == "pausing" and not is_hopeless(kind)):
            self._stopped(run)
            return
        tokens = run.micro_tokens or 1024
        history = History(losses=run.losses, barren=run.barren, micro_tokens=tokens, run_id=run.run_id)
        verdict = after_loss(kind, "", "", history, BACKOFF)
        self.world.note(self, f"lost fence {fence} of {run.run_id} ({kind}): {type(verdict).__name__}")
        if isinstance(verdict, Failure):
            run.state = run_states.after(run.state, "hopeless") or _impossible(run, "hopeless")
            spent = self.schema.spent(run.run_id) / SECOND
            self._tell(
                RunFailed, run.run_id, run.job_id, reason=verdict.reason, evidence="", message="", fix="",
                device_seconds=spent,
            )  # fmt: skip
            return
        run.state = run_states.after(run.state, "attempt_lost") or _impossible(run, "attempt_lost")
        run.losses[verdict.cause] = run.losses.get(verdict.cause, 0) + 1
        run.interruptions += 1
        run.barren += verdict.barren
        run.not_before = self.wall() + int(verdict.wait * SECOND) if verdict.wait else 0
        run.micro_tokens = verdict.micro_tokens
        self._tell(
            RunInterrupted, run.run_id, run.job_id, fence=fence, cause=verdict.cause, evidence="", step=0, lost_steps=0
        )

    def _begin(self, lease: Lease) -> None:
        run = self.schema.runs[lease.run_id]
        run.attempt += 1
        run.state = "starting"
        on_it = sum(other.device_id == lease.device_id for other in self.schema.open.values())
        self.world.counts["shared devices"] += on_it > 1
        self.world.note(self, f"grants {lease.device_id} to {run.run_id} under fence {lease.fence}")
        self._tell(
            LeaseGranted, run.run_id, run.job_id, device_id=lease.device_id, attempt=run.attempt, fence=lease.fence
        )

    def _cancelled(self, run: Run) -> None:
        run.state = "cancelled"
        self._tell(RunCancelled, run.run_id, run.job_id, device_seconds=self.schema.spent(run.run_id) / SECOND)

    def _withdraw(self, device: Device) -> None:
        if device.offer_id:
            self._tell_of_device(DeviceWithdrawn, device)
            device.offer_id = None

    def _tell_of_device(self, kind: type[Event], device: Device, **fields: Any) -> None:
        about = {"kind": "cpu", "precision": "fp32", "threads": 1, "flops": 1.0} if kind is DeviceOffered else {}
        self.schema.tell(
            kind(
                at=BEGAN,
                version=self.schema.told,
                device_id=device.device_id,
                offer_id=device.offer_id,
                **about,
                **fields,
            )  # type: ignore[call-arg]
        )

    def _tell(self, kind: type[Event], run_id: str, job_id: str, **fields: Any) -> None:
        self.schema.tell(kind(tenant=TENANT, at=BEGAN, run_id=run_id, job_id=job_id, **fields))  # type: ignore[call-arg]

    def _away(self) -> bool:
        return self.world.database_back_at > self.world.now

    reactions: ClassVar[Any] = {JobDispatched: lease_device, JobCancelled: stop_run, JobStopping: let_go}


def _impossible(run: Run, happening: str) -> run_states.State:
    raise Violation(f"{run.run_id} is {run.state} and met {happening}")
