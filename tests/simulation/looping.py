"""The control's work loops, as ``services/trainer/loops.py`` has them: place, order, prune, judge."""

from contracts.runs import DeviceOffered
from services.trainer.domain.liveness import Silence
from services.trainer.domain.saving import KEEP
from tests.simulation.carrying import Line, Service
from tests.simulation.clockwork import SECOND
from tests.simulation.running import Launch, Runner
from tests.simulation.store import Lease, TrainerSchema

POLL = 2_500_000
GRACE = 5 * SECOND


class Loops(Service):
    """What a control does unasked. Its reactions and the private line are in ``controlling.py``."""

    schema: TrainerSchema
    line: Line
    runners: "dict[str, Runner]"
    silence: Silence[int]
    silent_runners: Silence[str]
    ticked: int

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
        room = {name: free for name, device in db.devices.items() if device.online and (free := db.free(device)) > 0}
        for run in db.runs.values():
            if (
                run.state == "recovering"
                and not run.stop_asked
                and (not run.not_before or run.not_before <= self.wall())
            ):
                for name in [name for name, free in room.items() if free >= run.memory]:
                    if lease := db.grant(run, db.devices[name], self.wall()):
                        self._withdraw(db.devices[name])
                        self._begin(lease)
                        del room[name]
                        break
        for name, free in room.items():
            device = db.devices[name]
            if device.offer_id is None or device.offered != free:
                device.offer_id, device.offered = f"offer-{self.schema.told}", free
                self._tell_of_device(DeviceOffered, device, memory_bytes=free)

    def _order(self) -> None:
        for lease in list(self.schema.open.values()):
            run = self.schema.runs[lease.run_id]
            runner = self.runners[lease.runner]
            if run.state == "starting" and not lease.launched:
                saved = [(row.step, row.uri) for row in self.schema.resumable(run.run_id)]
                launch = Launch(run.run_id, run.job_id, lease.fence, lease.session, run.every, run.micro_tokens, saved)
                self.line.ask(self, runner, runner.launch, (launch,), lambda answer, lease=lease: _taken(lease, answer))
            if run.state in ("stopping", "pausing"):
                order = (lease.fence, GRACE)
                self.line.ask(self, runner, runner.stop, order, lambda held, fence=lease.fence: self._held(fence, held))

    def _held(self, fence: int, held: bool | None) -> None:
        """The runner knows nothing of an attempt it was asked to stop, so nothing of it runs: its device is free."""
        run = self.schema.holder(fence) if held is False and not self._away() else None
        if run:
            self.schema.end_lease(fence, self.wall(), "stopped")
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
        online = {device.runner for device in self.schema.devices.values() if device.online}
        for name in self.silent_runners.tick(online, elapsed, connected=self.connected):
            self._offline(name, leaving=False)


def _taken(lease: Lease, answer: bool | None) -> None:
    if answer:
        lease.launched = True
