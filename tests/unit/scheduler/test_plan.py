"""Keeping a time limit, and saying so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.scheduler.domain.estimate import TYPICAL, Calibration, Data, Device, Rate
from services.scheduler.domain.plan import PLANNED, not_quantised, plan, spoken, too_dear, too_large
from services.scheduler.domain.recipe import wished
from tests.unit.scheduler.facts import submitted

CPU = Device(kind="Xeon", precision="bfloat16", memory_bytes=24_000_000_000, flops=2.7e12)
RATE = Rate(per_hour=0.06, currency="USD")
SEEN = Calibration(runs=5, spread=0.1)
RECIPE = replace(wished(submitted()), batch_size=16)
SMALL = Data(train_examples=100, train_tokens=15_000)
LARGE = Data(train_examples=1600, train_tokens=250_000)


def test_a_training_that_fits_its_limit_is_left_alone() -> None:
    told = plan(RECIPE, SMALL, CPU, SEEN, RATE)
    assert told.recipe == RECIPE
    assert told.estimate.notes == ()


def test_a_training_over_its_limit_ends_early_and_says_what_that_means() -> None:
    told = plan(replace(RECIPE, time_limit=180.0), LARGE, CPU, SEEN, RATE)
    assert told.recipe.max_steps == 36
    assert told.estimate.steps == 36
    assert told.estimate.seconds <= 180.0
    assert told.estimate.notes == (
        "Your data would need about 17 minutes; this job stops after 3 minutes: 36% of one pass over your data, "
        "36 of 200 steps. A longer time limit trains on more of it.",
    )


def test_a_training_over_its_budget_ends_before_it_and_says_what_that_means() -> None:
    told = plan(RECIPE, LARGE, CPU, SEEN, RATE, budget=0.005)
    assert 0 < told.recipe.max_steps < 200
    assert told.estimate.cost <= PLANNED * 0.005
    assert plan(RECIPE, LARGE, CPU, SEEN, RATE, budget=5).recipe == RECIPE
    [note] = told.estimate.notes
    assert note.startswith("All your data would cost about 0.0169 USD; this job stops before 0.005 are spent: ")
    assert note.endswith(f"{told.recipe.max_steps} of 200 steps. A larger budget trains on more of it.")


def test_of_limit_and_budget_the_tighter_one_decides() -> None:
    limited = replace(RECIPE, time_limit=180.0)
    assert plan(limited, LARGE, CPU, SEEN, RATE, budget=0.01).recipe.max_steps == 36
    assert plan(limited, LARGE, CPU, SEEN, RATE, budget=0.001).recipe.max_steps < 36


def test_where_a_device_costs_nothing_no_budget_is_spent() -> None:
    assert plan(RECIPE, LARGE, CPU, SEEN, Rate(per_hour=0, currency="USD"), budget=0.01).recipe == RECIPE


def test_a_budget_that_pays_for_no_step_is_refused_with_what_one_costs() -> None:
    told = plan(RECIPE, LARGE, CPU, SEEN, RATE, budget=0.0001)
    refusal = too_dear(told, 0.0001)
    assert refusal is not None
    assert (refusal.code, f"{told.estimate.cost:.4f} USD" in refusal.message) == ("budget_too_small", True)
    assert too_dear(told, None) is None


def test_more_than_one_pass_is_told_in_passes() -> None:
    told = plan(replace(RECIPE, time_limit=750.0), LARGE, CPU, SEEN, RATE)
    assert "1.5 of 2 passes over your data" in told.estimate.notes[0]


def test_until_a_device_reports_itself_the_estimate_says_what_it_rests_on() -> None:
    told = plan(RECIPE, Data(train_examples=10, train_tokens=100), TYPICAL, Calibration(), RATE)
    assert "No device has reported its speed yet" in told.estimate.notes[0]


def test_before_the_first_run_the_estimate_says_so() -> None:
    told = plan(RECIPE, Data(train_examples=10, train_tokens=100), CPU, Calibration(), RATE)
    assert "Nothing was trained on this kind of device yet" in told.estimate.notes[0]


def test_a_device_that_is_too_small_is_named_before_the_job_waits_for_ever() -> None:
    small = replace(CPU, memory_bytes=1_000_000_000)
    told = plan(RECIPE, Data(train_examples=10, train_tokens=100), small, SEEN, RATE)
    assert "the device has 1.0 GB" in told.estimate.notes[0]


def test_only_all_weights_are_refused_for_their_size_and_only_by_the_largest_device_known() -> None:
    data = Data(train_examples=10, train_tokens=100)
    full = plan(replace(RECIPE, method="full"), data, CPU, SEEN, RATE)
    needed = full.estimate.memory_bytes
    refusal = too_large(full, needed - 1)
    assert refusal
    assert (refusal.code, refusal.field) == ("too_large", "training")
    assert f"{needed / 1e9:.1f} GB" in refusal.message
    assert too_large(full, needed) is None
    assert too_large(full, None) is None
    assert too_large(plan(RECIPE, data, CPU, SEEN, RATE), 1) is None


@given(st.integers(1, 10**6), st.integers(1, 10**9), st.floats(10, 6e5), st.integers(1, 256), st.floats(1e9, 1e15))
def test_a_limit_is_kept_or_one_step_is_made(
    examples: int, tokens: int, limit: float, batch: int, flops: float
) -> None:
    data = Data(train_examples=examples, train_tokens=tokens)
    told = plan(replace(RECIPE, time_limit=limit, batch_size=batch), data, replace(CPU, flops=flops), SEEN, RATE)
    per_token = told.estimate.seconds / max(1, told.estimate.tokens)
    assert told.estimate.seconds <= limit + per_token or told.recipe.max_steps == 1
    assert told.estimate.steps >= 1


def test_a_plan_says_that_every_runner_is_too_old_for_it() -> None:
    pairs = replace(RECIPE, objective="dpo", time_limit=0.0)
    newer = replace(CPU, features=("dpo", "nf4"))
    assert "too old for dpo" in plan(pairs, SMALL, CPU, SEEN, RATE).estimate.notes[0]
    assert plan(pairs, SMALL, newer, SEEN, RATE).estimate.notes == ()


def test_four_bits_are_refused_only_where_it_is_known_that_nobody_has_them() -> None:
    bits = replace(RECIPE, quantization="nf4")
    assert not_quantised(bits, None) is not_quantised(bits, {"dpo", "nf4"}) is not_quantised(RECIPE, set()) is None
    refusal = not_quantised(bits, {"dpo"})
    assert refusal
    assert refusal.field == "quantization"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (40, "40 seconds"), (180, "3 minutes"), (659, "11 minutes"), (12_600, "3.5 hours")],
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
