"""In every small world all accepted jobs come to their one end, whatever goes wrong; without the guards they do not."""

import subprocess
import sys

import pytest

from contracts.budgets import BudgetSet
from contracts.catalogue import FACTS
from contracts.jobs import JobPaused, JobQueued, ModelDeleted
from contracts.runs import LeaseGranted, RunCancelled
from tests.simulation.__main__ import kept, told
from tests.simulation.controlling import Control
from tests.simulation.goodput import Parts, goodput
from tests.simulation.many import live_all, live_at_once
from tests.simulation.scheduling import Scheduler
from tests.simulation.store import Guards
from tests.simulation.worlds import live

WORLDS = 20_000
PROCESSES = 2
LEFT_OUT = {BudgetSet, JobPaused, JobQueued, LeaseGranted, ModelDeleted, RunCancelled}
"""What here nothing depends on: machines that are rented when jobs wait, who makes way after a run has moved, and what
is thrown away when everything is over; and money by the month."""
BITES = (
    "runner crash", "child killed", "runner frozen", "runner cut off", "spot notice", "control crash", "control frozen",
    "scheduler crash", "broker outage", "database outage", "clock step", "checkpoint lost", "bad checkpoints",
    "repeated facts", "published twice", "crashes after commit", "lost attempts", "silent leases", "stale reports",
    "stale writes refused", "set aside", "made way", "preempted", "shared devices", "names taken",
    "beats heard without a database",
    "jobs succeeded", "jobs failed", "jobs cancelled",
)  # fmt: skip


def test_worlds_that_failed_once_hold() -> None:
    failed, _ = live_all(kept())
    assert not failed, told(failed[0].seed)


def test_every_world_comes_to_rest_with_one_end_for_each_job_and_every_misfortune_bites() -> None:
    failed, counts = live_at_once(list(range(WORLDS)), PROCESSES)
    assert not failed, told(failed[0].seed)
    assert [what for what in BITES if not counts[what]] == []


def test_the_command_lives_them_in_several_processes() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "4", "--processes", "2"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "0 failed" in said


@pytest.mark.parametrize("guards", [Guards(fence=False), Guards(inbox=False)])
def test_without_a_guard_a_violation_is_found_within_two_hundred_worlds(guards: Guards) -> None:
    assert any(live(seed, guards).violation for seed in range(200))


def test_every_fact_that_scheduler_and_trainer_hear_is_lived_through() -> None:
    lived = {"scheduler": set(Scheduler.reactions), "trainer": set(Control.reactions)}
    heard = {(reader, fact.kind) for fact in FACTS for reader in fact.readers if reader in lived}
    missing = {kind for reader, kind in heard if kind not in lived[reader]}
    assert missing == LEFT_OUT


def test_a_seed_tells_the_same_story_twice() -> None:
    once, again = (live(7, trace=True) for _ in range(2))
    assert once.lines == again.lines
    assert len(once.lines) > 10


@pytest.mark.parametrize("notice", [True, False])
@pytest.mark.parametrize("regular", [True, False])
def test_goodput_is_above_95_percent_with_a_loss_every_half_hour(notice: bool, regular: bool) -> None:
    assert goodput(Parts(), 1800.0, notice=notice, regular=regular) >= 0.95


def test_goodput_falls_with_everything_a_loss_costs() -> None:
    best = goodput(Parts(), 1800.0, notice=True)
    worse = [Parts(restart=60.0), Parts(save=5.0), Parts(step=60.0)]
    assert all(goodput(parts, 1800.0, notice=True) < best for parts in worse)
    assert goodput(Parts(), 1800.0, notice=False) < best
    assert goodput(Parts(), 300.0, notice=False) < goodput(Parts(), 1800.0, notice=False)
