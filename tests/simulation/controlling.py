"""The trainer's control, as its ``handlers.py``, ``control.py`` and ``loops.py`` have it, on rows in memory.

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
from services.trainer.domain.recovery import History, after_loss, is_hopeless
from services.trainer.domain.saving import KEEP, interval
from tests.simulation.carrying import Bus, Line, Service
from tests.simulation.clockwork import SECOND, Clockwork
from tests.simulation.running import Launch, Runner
from tests.simulation.scheduling import BEGAN, DIGEST, TENANT
from tests.simulation.store import Checkpoint, Device, Lease, Run, TrainerSchema, Violation

POLL = 2_500_000
LEASE_SECONDS = 15.0
GRACE = 5 * SECOND
LOSSES = 3600.0


class Control(Service):
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
        self.silence = Silence(LEASE_SECONDS)
        self.last_beat: dict[str, int] = {}
        self.ticked = self.world.now
        self.at(self.world.between(0, POLL), self.tick)

    # reactions

    def lease_device(self, job: JobDispatched) -> None:
        db = self.schema
        device = db.devices.get(job.device_id)
        lease = None
        stands = device and device.online and device.offer_id == job.offer_id and not db.held(job.device_id)
        if device and stands:
            device.offer_id = None
        called_off = job.offer_id in db.called_off
        db.called_off.discard(job.offer_id)
        if device and stands and not called_off:
            run = db.runs.get(db.run_of.setdefault(job.job_id, job.run_id))
            if run is None:
                run = db.runs[job.run_id] = Run(job.run_id, job.job_id, interval(job.estimate, LOSSES))
            if self._take_up(run, job):
                lease = db.grant(run, device, self.wall())
        if lease is None:
            self._tell(DispatchDeclined, job.run_id, job.job_id, device_id=job.device_id)
            return
        self._begin(lease)

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

    # the private line

    def hello(self, runner: Runner) -> bool | None:
        if self._away():
            return None
        for lease in list(self.schema.open.values()):
            if lease.runner == runner.name:
                self.lose(lease.fence, "lost_worker")
        for device_id, memory in runner.devices.items():
            known = self.schema.devices.setdefault(device_id, Device(device_id, runner.name, memory))
            known.online = True
        self.bus.relay(self.schema)
        return True

    def beat(self, runner: Runner, holds: list[int]) -> tuple[list[int], bool] | None:
        if self._away():
            return None
        self.last_beat[runner.name] = self.world.now
        for fence in holds:
            self.silence.heard(fence)
        known = any(device.online for device in self.schema.devices.values() if device.runner == runner.name)
        return [fence for fence in holds if fence not in self.schema.open], known

    def report(self, run_id: str, fence: int, what: tuple[Any, ...]) -> bool | None:
        """Apply what happened to an attempt, if its fence still holds."""
        if self._away():
            return None
        run = self.schema.holder(fence)
        if run is None or run.run_id != run_id:
            self.world.counts["stale reports"] += 1
            if what[0] in ("uploaded", "done"):
                self.world.counts["stale writes refused"] += 1
                self.schema.tell(WriteFenced(tenant=TENANT, at=BEGAN, run_id=run_id, fence=fence, what=what[0]))
                self.bus.relay(self.schema)
            return False
        self.silence.heard(fence)
        self.world.note(self, f"hears of fence {fence} of {run_id} ({run.state}): {what[0]} {what[1:2]}")
        getattr(self, f"_{what[0]}")(run, fence, *what[1:])
        self.bus.relay(self.schema)
        return True

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
        self.schema.end_lease(fence, self.wall())
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
            self.lose(fence, "lost_worker")
            return
        self.schema.end_lease(fence, self.wall())
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
        self.schema.end_lease(fence, self.wall())
        self.world.counts["lost attempts"] += 1
        if run.state == "stopping" or (run.state == "pausing" and not is_hopeless(kind)):
            self._stopped(run)
            return
        history = History(losses=run.losses, barren=run.barren, micro_tokens=run.micro_tokens or 1024)
        verdict = after_loss(kind, "", "", history)
        self.world.note(self, f"lost fence {fence} of {run.run_id} ({kind or 'no word'}): {type(verdict).__name__}")
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
        run.barren += 1
        run.micro_tokens = verdict.micro_tokens
        self._tell(
            RunInterrupted, run.run_id, run.job_id, fence=fence, cause=verdict.cause, evidence="", step=0, lost_steps=0
        )

    # work loops

    def tick(self) -> None:
        """Every two and a half seconds: place, order, prune, judge."""
        elapsed, self.ticked = self.world.now - self.ticked, self.world.now
        self.at(POLL, self.tick)
        if self.world.database_back_at > self.world.now:
            return
        self._place()
        self._order()
        self._prune()
        self._judge(elapsed / SECOND)
        self.bus.relay(self.schema)

    def _place(self) -> None:
        db = self.schema
        idle = [device for device in db.devices.values() if device.online and not db.held(device.device_id)]
        for run in db.runs.values():
            if run.state == "recovering" and not run.stop_asked and idle:
                device = idle.pop(0)
                if lease := db.grant(run, device, self.wall()):
                    self._withdraw(device)
                    self._begin(lease)
        for device in idle:
            if device.offer_id is None:
                device.offer_id = f"offer-{self.schema.told}"
                self._tell_of_device(DeviceOffered, device, memory_bytes=device.memory)

    def _order(self) -> None:
        for lease in list(self.schema.open.values()):
            run = self.schema.runs[lease.run_id]
            runner = self.runners[lease.runner]
            if run.state == "starting" and not lease.launched:
                saved = [(row.step, row.uri) for row in self.schema.resumable(run.run_id)]
                launch = Launch(run.run_id, run.job_id, lease.fence, run.every, run.micro_tokens, saved)
                self.line.ask(self, runner, runner.launch, (launch,), lambda answer, lease=lease: _taken(lease, answer))
            if run.state in ("stopping", "pausing"):
                order = (lease.fence, GRACE)
                self.line.ask(self, runner, runner.stop, order, lambda held, fence=lease.fence: self._held(fence, held))

    def _held(self, fence: int, held: bool | None) -> None:
        """The runner knows nothing of an attempt it was asked to stop, so nothing of it runs: its device is free."""
        run = self.schema.holder(fence) if held is False and not self._away() else None
        if run:
            self.schema.end_lease(fence, self.wall())
            self._stopped(run)
            self.bus.relay(self.schema)

    def _prune(self) -> None:
        for run_id in list(self.schema.checkpoints):
            for row in self.schema.resumable(run_id)[KEEP:]:
                self.objects.pop(row.uri, None)
                self.schema.checkpoints[run_id].remove(row)

    def _judge(self, elapsed: float) -> None:
        for fence in self.silence.tick(set(self.schema.open), elapsed, connected=self.connected):
            self.world.counts["silent leases"] += 1
            self.lose(fence, "lost_worker")
        if self.connected:
            for device in self.schema.devices.values():
                last = self.last_beat.setdefault(device.runner, self.world.now)
                if device.online and self.world.now - last > LEASE_SECONDS * SECOND:
                    device.online = False
                    self._withdraw(device)

    def _begin(self, lease: Lease) -> None:
        run = self.schema.runs[lease.run_id]
        run.attempt += 1
        run.state = "starting"
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


def _taken(lease: Lease, answer: bool | None) -> None:
    if answer:
        lease.launched = True


def _impossible(run: Run, happening: str) -> run_states.State:
    raise Violation(f"{run.run_id} is {run.state} and met {happening}")
