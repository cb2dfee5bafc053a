"""What the trainer decides about runs, losses, silence and saving."""

import itertools
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.domain import run_states
from services.trainer.domain.failures import Failure, evidence_of
from services.trainer.domain.liveness import Silence
from services.trainer.domain.recovery import BARREN_ATTEMPTS, BUDGETS, Backoff, GoOn, History, after_loss, wait_before

STATES = typing.get_args(run_states.State)
HAPPENINGS = typing.get_args(run_states.Happening)


def history(losses: dict[str, int] | None = None, barren: int = 0, micro_tokens: int = 768) -> History:
    return History(losses=losses or {}, barren=barren, micro_tokens=micro_tokens)


def test_nothing_leads_out_of_a_final_state() -> None:
    for state, happening in itertools.product(run_states.FINAL, HAPPENINGS):
        assert run_states.after(state, happening) is None


def test_every_state_can_reach_an_end() -> None:
    reachable = set(run_states.FINAL)
    for _ in STATES:
        reachable |= {before for (before, _), after in run_states.TRANSITIONS.items() if after in reachable}
    assert reachable == set(STATES)


def test_a_stopping_run_ends_cancelled_whatever_its_attempt_reports() -> None:
    ends = {after for (before, _), after in run_states.TRANSITIONS.items() if before == "stopping"}
    assert ends == {"cancelled"}


def test_a_pausing_run_is_paused_or_truly_over_and_a_cancellation_overtakes_it() -> None:
    ends = {happening: after for (before, happening), after in run_states.TRANSITIONS.items() if before == "pausing"}
    assert ends == {
        "stopped": "paused",
        "attempt_lost": "paused",
        "adapter_stored": "succeeded",
        "hopeless": "failed",
        "pause_asked": "pausing",
        "stop_asked": "stopping",
    }


@given(st.lists(st.sampled_from(HAPPENINGS)))
def test_in_any_order_of_happenings_a_cancelled_run_holds_nothing_but_its_end(
    order: list[run_states.Happening],
) -> None:
    state, cancelled = "starting", False
    for happening in order:
        cancelled = cancelled or (happening == "stop_asked" and state not in run_states.FINAL)
        state = run_states.after(state, happening) or state  # type: ignore[arg-type]
        assert not cancelled or state in ("stopping", "cancelled")


@pytest.mark.parametrize(("kind", "cause"), [("lost_worker", "lost_worker"), ("infrastructure", "infrastructure")])
def test_a_lost_attempt_goes_on_until_its_budget_is_used_up(kind: str, cause: str) -> None:
    budget = BUDGETS[cause]  # type: ignore[index]
    for times in range(budget):
        assert isinstance(after_loss(kind, "", "", history({cause: times})), GoOn)
    verdict = after_loss(kind, "killed by SIGKILL", "", history({cause: budget}))
    assert isinstance(verdict, Failure)
    assert verdict.reason == cause
    assert verdict.evidence == "killed by SIGKILL"


def test_a_preempted_run_goes_on_for_ever_and_is_never_called_barren() -> None:
    verdict = after_loss("preempted", "", "", history({"preempted": 1000}, barren=BARREN_ATTEMPTS - 1))
    assert verdict == GoOn(cause="preempted", micro_tokens=768, barren=False)


def test_only_the_infrastructure_is_given_time() -> None:
    waits = {
        kind: verdict.wait
        for kind in ("preempted", "lost_worker", "infrastructure", "out_of_memory")
        if isinstance(verdict := after_loss(kind, "", "", history()), GoOn)
    }
    assert waits.pop("infrastructure") >= 60
    assert set(waits.values()) == {0.0}


@given(run_id=st.text(max_size=40), lost=st.integers(0, 9))
def test_the_wait_doubles_between_one_minute_and_thirty_and_is_the_same_when_asked_again(
    run_id: str, lost: int
) -> None:
    wait = wait_before(run_id, lost)
    assert wait == wait_before(run_id, lost)
    assert min(60 * 2**lost, 900) <= wait <= min(120 * 2**lost, 1800)


def test_runs_that_failed_together_come_back_apart() -> None:
    waits = sorted(wait_before(f"run-{number}", 0) for number in range(100))
    assert waits[-1] - waits[0] > 50
    assert len(set(waits)) == 100
    assert wait_before("run-1", 3, Backoff(first=0.0, last=0.0)) == 0.0


def test_out_of_memory_halves_the_forward_pass_twice_then_gives_up() -> None:
    first = after_loss("out_of_memory", "", "", history())
    assert first == GoOn(cause="out_of_memory", micro_tokens=384)
    second = after_loss("out_of_memory", "", "", history({"out_of_memory": 1}, micro_tokens=384))
    assert second == GoOn(cause="out_of_memory", micro_tokens=192)
    assert isinstance(after_loss("out_of_memory", "", "", history({"out_of_memory": 2}, micro_tokens=192)), Failure)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("lost_worker", True), ("out_of_memory", True), ("infrastructure", False), ("preempted", False)],
)
def test_an_attempt_counts_as_barren_if_it_says_something_about_the_run(kind: str, counts: bool) -> None:
    verdict = after_loss(kind, "", "", history())
    assert isinstance(verdict, GoOn)
    assert verdict.barren == counts
    last = after_loss(kind, "", "", history(barren=BARREN_ATTEMPTS - 1))
    assert isinstance(last, Failure) == counts


def test_attempts_without_a_checkpoint_make_no_progress() -> None:
    verdict = after_loss("lost_worker", "", "", history(barren=BARREN_ATTEMPTS - 1))
    assert isinstance(verdict, Failure)
    assert verdict.reason == "no_progress"


@pytest.mark.parametrize("kind", ["user_data", "diverged", "no_learning", "unknown_model", "bug", "never heard of"])
def test_what_cannot_succeed_is_not_tried_again(kind: str) -> None:
    verdict = after_loss(kind, "exit code 1", "It said so.", history())
    assert isinstance(verdict, Failure)
    assert "It said so." in verdict.message
    assert verdict.fix


def test_evidence_names_the_signal_and_keeps_the_last_lines() -> None:
    said = evidence_of(-9, "\n".join(f"line {number}" for number in range(50)))
    assert said.startswith("killed by SIGKILL")
    assert said.endswith("line 49")
    assert "line 29\n" not in said


def test_silence_counts_only_while_connected() -> None:
    silence: Silence[int] = Silence(15.0)
    for _ in range(40):
        assert silence.tick({1}, 1.0, connected=False) == []
    for _ in range(15):
        assert silence.tick({1}, 1.0, connected=True) == []
    assert silence.tick({1}, 1.0, connected=True) == [1]


def test_a_beat_starts_the_count_anew_and_a_sleeping_arbiter_counts_nothing() -> None:
    silence: Silence[int] = Silence(15.0)
    silence.tick({1}, 2.9, connected=True)
    assert silence.tick({1}, 3600.0, connected=True) == []
    for _ in range(7):
        silence.tick({1}, 2.0, connected=True)
    silence.heard(1)
    assert silence.tick({1}, 2.0, connected=True) == []
