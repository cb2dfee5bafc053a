"""A runner and its attempts, as ``services/trainer/runner`` has them; a step appends its number to the weights.

Weights are thus the list of the steps that made them, which is what the delivered adapter is judged by.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.carrying import Line
from tests.simulation.clockwork import SECOND, Actor, Clockwork

if TYPE_CHECKING:
    from tests.simulation.controlling import Control

BEAT = 2_500_000
SELF_STOP = 10 * SECOND
PAUSE = SECOND // 2

Weights = tuple[int, ...]


class Launch(NamedTuple):
    """The order to carry an attempt out; ``saved`` are (step, uri), newest first."""

    run_id: str
    job_id: str
    fence: int
    session: int
    every: int
    micro_tokens: int
    saved: list[tuple[int, str]]


class Task(NamedTuple):
    """What a job trains: its steps, the time of one, and where it breaks by itself (``kind``, ``times``)."""

    steps: int
    step_time: int
    breaks_at: int
    kind: str
    times: int


class Attempt:
    """One attempt on its machine. Reports leave in order, each repeated until answered."""

    def __init__(self, runner: "Runner", launch: Launch) -> None:
        self.runner = runner
        self.launch = launch
        self.task = runner.tasks[launch.job_id]
        self.weights: Weights = ()
        self.reports: deque[tuple[Any, ...]] = deque()
        self.sending = False
        self.alive = True
        self.stopping = self.leaving = False
        self.tell("reached", "starting", 0)
        runner.at(runner.world.between(SECOND // 5, 2 * SECOND), self._fetch)

    def _fetch(self) -> None:
        for _, uri in self.launch.saved:
            weights = self.runner.objects.get(uri)
            if weights is not None:
                self.weights = weights
                break
            self.runner.world.counts["bad checkpoints"] += 1
            self.tell("quarantined", uri)
        if self.alive:
            self.tell("reached", "training", len(self.weights))
            self.runner.at(self.task.step_time, self._step)

    def _step(self) -> None:
        if not self.alive:
            return
        task, runner = self.task, self.runner
        step = len(self.weights) + 1
        if step == task.breaks_at and runner.broken[self.launch.job_id] < task.times:
            runner.broken[self.launch.job_id] += 1
            self.break_off(task.kind)
            return
        self.weights = (*self.weights, step)
        if step >= task.steps:
            self.alive = False
            self.tell("done", self.weights)
            return
        if step % self.launch.every == 0 or self.stopping:
            self.tell("uploaded", step, f"{self.launch.run_id}/{self.launch.fence}/{step}", self.weights)
        if self.stopping:
            self.alive = False
            self.tell("halted", step)
            return
        runner.at(task.step_time, self._step)

    def stop(self, grace: int, *, leaving: bool = False) -> None:
        """Ask it to save and end at the end of its step; killed after ``grace``."""
        self.leaving = self.leaving or leaving
        if self.alive and not self.stopping:
            self.stopping = True
            self.runner.at(grace, self._killed)

    def _killed(self) -> None:
        if self.alive:
            self.break_off("preempted" if self.leaving else "lost_worker")

    def break_off(self, kind: str) -> None:
        """The child ends without a result."""
        self.alive = False
        self.tell("broken", kind)

    def tell(self, *what: Any) -> None:
        """Report something after everything that was reported before."""
        self.reports.append(what)
        self._send()

    def _send(self) -> None:
        if self.sending or not self.reports:
            return
        self.sending = True
        what = self.reports[0]
        if what[0] == "uploaded":
            self.runner.objects[what[2]] = what[3]
            what = what[:3]
        runner = self.runner
        control = runner.world.rng.choice(runner.controls)
        args = (self.launch.run_id, self.launch.fence, runner.epoch, what)
        runner.line.ask(runner, control, control.report, args, self._answered)

    def _answered(self, accepted: bool | None) -> None:
        self.sending = False
        if not self.reports:
            return
        if accepted is None:
            self.sending = True
            self.runner.at(PAUSE, self._resend)
        elif not accepted:
            self.runner.drop(self)
        else:
            what = self.reports.popleft()
            if what[0] in ("done", "halted", "broken"):
                self.runner.drop(self)
            self._send()

    def _resend(self) -> None:
        self.sending = False
        self._send()


class Runner(Actor):
    """A machine with devices. It dials in, beats, takes orders, and ends its children when nobody answers."""

    def __init__(
        self,
        world: Clockwork,
        name: str,
        line: Line,
        devices: dict[str, int],
        shared: bool,
        tasks: dict[str, Task],
        objects: dict[str, Any],
    ) -> None:
        super().__init__(world, name)
        self.line = line
        self.devices = devices
        self.shared = shared
        self.tasks = tasks
        self.objects = objects
        self.broken: dict[str, int] = dict.fromkeys(tasks, 0)
        self.controls: list[Control] = []

    def start(self) -> None:
        self.held: dict[int, Attempt] = {}
        self.begun: set[int] = set()
        self.leaving = False
        self.answered = self.world.now
        self._hello(None)
        self.at(BEAT, self._beat)

    def _hello(self, answer: bool | None) -> None:
        if answer is False:
            self.at(BEAT // 4, self._hello, None)
        elif answer is None:
            control = self.world.rng.choice(self.controls)
            self.line.ask(self, control, control.hello, (self, self.epoch), self._hello)

    def _beat(self) -> None:
        self.at(BEAT, self._beat)
        heard = [
            control.beat(self, self.epoch, list(self.held), self.leaving)
            for control in self.controls
            if control.connected and self.connected and control.frozen_until <= self.world.now
        ]
        answers = [answer for answer in heard if answer is not None]
        if not answers or self.world.happens(self.line.trouble.lost):
            if self.world.now - self.answered > SELF_STOP:
                self.stop_all(8 * SECOND)
            return
        self.answered = self.world.now
        stale, known = self.world.rng.choice(answers)
        for fence in stale:
            self.drop(self.held.get(fence))
        if not (known or self.held or self.leaving):
            self._hello(None)

    def launch(self, launch: Launch) -> bool:
        """Start an attempt; one that was begun is left alone. ``False``: not here, or not any more."""
        if launch.fence not in self.begun:
            if self.leaving or launch.session != self.epoch:
                return False
            self.begun.add(launch.fence)
            self.held[launch.fence] = Attempt(self, launch)
        return True

    def stop(self, fence: int, grace: int) -> bool:
        """Ask an attempt to save and end. ``False``: there is none."""
        attempt = self.held.get(fence)
        if attempt:
            attempt.stop(grace)
        return attempt is not None

    def stop_all(self, grace: int) -> None:
        """End every attempt, saving where there is time: nobody answers, or the machine is going away."""
        for attempt in list(self.held.values()):
            attempt.stop(grace, leaving=True)

    def leave(self, notice: int) -> None:
        """Be gone within ``notice``: children save and end."""
        self.leaving = True
        self.stop_all(notice)

    def drop(self, attempt: Attempt | None) -> None:
        """Forget an attempt that is over, or whose lease is gone."""
        if attempt:
            attempt.alive = False
            attempt.reports.clear()
            self.held.pop(attempt.launch.fence, None)

    def lose_children(self) -> None:
        """Every child is killed; the runner lives and reports it."""
        for attempt in list(self.held.values()):
            if attempt.alive:
                attempt.break_off("lost_worker")
