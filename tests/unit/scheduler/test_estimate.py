"""What a training will take, and how finished runs correct it."""

import math
import random

import pytest
from msgspec.structs import replace

from services.scheduler.domain.estimate import (
    Calibration,
    Data,
    Device,
    Observed,
    Rate,
    calculated_memory,
    calculated_seconds,
    estimate,
    learn,
    learned_as,
    steps_of,
    tokens_of,
)
from services.scheduler.domain.recipe import wished
from services.scheduler.queries_estimates import learned_under
from tests.unit.scheduler.facts import submitted

CPU = Device(kind="Xeon", precision="bfloat16", memory_bytes=24_000_000_000, flops=2.7e12, processor="cpu")
GPU = replace(CPU, processor="cuda")
DATA = Data(train_examples=100, train_tokens=15_300)
RECIPE = replace(wished(submitted()), batch_size=3)
RATE = Rate(per_hour=3.6, currency="EUR")


def observed(seconds: float, tokens: int = 30_600, start_up: float = 20.0, memory: int = 2_000_000_000) -> Observed:
    return Observed(tokens=tokens, train_seconds=seconds, device_seconds=seconds + start_up, memory_bytes=memory)


def test_steps_and_tokens_count_every_epoch() -> None:
    assert steps_of(RECIPE, DATA) == 34 * 2
    assert tokens_of(RECIPE, DATA) == 2 * 15_300


def test_steps_and_tokens_of_a_shortened_recipe_are_its_share() -> None:
    shorter = replace(RECIPE, max_steps=17)
    assert steps_of(shorter, DATA) == 17
    assert tokens_of(shorter, DATA) == 15_300 // 2


def test_the_first_estimate_agrees_with_what_was_measured_on_two_cores() -> None:
    """Packed, in bfloat16: 436 tokens/s at 0.82 TFLOP/s; a CPU's share is counted on a little less."""
    seconds = calculated_seconds(RECIPE.base_model, 10_000, replace(CPU, flops=0.82e12))
    assert 1 / 1.6 < 10_000 / seconds / 436 < 1


def test_a_cpus_share_of_its_products_is_counted_on_a_cpu_only() -> None:
    calculated = {
        processor: calculated_seconds(RECIPE.base_model, 10_000, replace(CPU, processor=processor))
        for processor in ("cpu", "cuda", "")
    }
    assert calculated["cuda"] == calculated[""] == pytest.approx(2 * calculated["cpu"])


@pytest.mark.parametrize(("precision", "measured"), [("bfloat16", 1.88e9), ("float32", 2.56e9)])
def test_the_first_estimate_of_memory_is_a_little_more_than_was_measured(precision: str, measured: float) -> None:
    """A CPU, rank 16, rows of at most 768 tokens in bfloat16; in float32 the longest had 610."""
    calculated = calculated_memory(replace(RECIPE, rank=16), DATA, replace(CPU, precision=precision))
    assert measured < calculated < 1.3 * measured


def test_what_a_lora_keeps_of_its_inputs_is_counted_where_it_keeps_them() -> None:
    lean = calculated_memory(RECIPE, DATA, CPU)
    for device in (GPU, replace(CPU, processor="")):
        assert calculated_memory(RECIPE, DATA, device) > 1.3 * lean
    assert calculated_memory(replace(RECIPE, quantization="nf4"), DATA, CPU) > lean


def test_training_every_weight_takes_half_as_long_again_and_state_for_each() -> None:
    whole = replace(RECIPE, method="full")
    lora, full = (calculated_seconds(RECIPE.base_model, 10_000, CPU, each.method) for each in (RECIPE, whole))
    assert full / lora == pytest.approx(1.5)
    more = calculated_memory(whole, DATA, GPU) - calculated_memory(RECIPE, DATA, GPU)
    assert 134_515_008 * 24 < more < 134_515_008 * 28


def test_pairs_take_half_as_long_again_a_token_and_are_learned_from_apart() -> None:
    pairs = replace(RECIPE, objective="dpo")
    lora, dpo = (calculated_seconds(RECIPE.base_model, 10_000, CPU, learned_as(each)) for each in (RECIPE, pairs))
    assert dpo / lora == pytest.approx(1.5)
    assert learned_under(pairs, CPU) != learned_under(RECIPE, CPU)


def test_a_base_in_four_bits_takes_a_quarter_of_its_memory_and_is_learned_from_apart() -> None:
    bits = replace(RECIPE, base_model="Qwen2.5-7B-Instruct", quantization="nf4")
    usual = replace(bits, quantization="none")
    saved = calculated_memory(usual, DATA, GPU) - calculated_memory(bits, DATA, GPU)
    assert saved / 15.2e9 == pytest.approx(0.69, abs=0.03)
    assert len({learned_as(each) for each in (bits, usual, replace(bits, objective="dpo"))}) == 3


def test_the_first_estimate_counts_what_four_bits_cost_on_a_cpu_and_only_there() -> None:
    """On a CPU 273 tokens/s at 0.83 TFLOP/s; a little less is counted on."""
    bits = replace(RECIPE, quantization="nf4")
    cpu = replace(CPU, flops=0.83e12)
    told = estimate(bits, DATA, cpu, Calibration(), RATE)
    assert 1 / 1.6 < told.tokens / told.seconds / 273 < 1
    for device in (GPU, replace(CPU, processor="")):
        four, usual = (estimate(each, DATA, device, Calibration(), RATE).seconds for each in (bits, RECIPE))
        assert four == pytest.approx(usual)


def test_once_four_bits_were_seen_the_runs_alone_are_believed() -> None:
    """Of what was learned before the format counted, too: nothing of it changes its meaning."""
    bits = replace(RECIPE, quantization="nf4")
    learned = learn(Calibration(), observed(300.0), bits, DATA, CPU)
    assert estimate(bits, DATA, CPU, learned, RATE).seconds == pytest.approx(300.0)


def test_in_float32_the_first_estimate_agrees_with_what_was_measured_on_one_core() -> None:
    one_core = replace(CPU, precision="float32", flops=0.2e12)
    assert 10_000 / calculated_seconds(RECIPE.base_model, 10_000, one_core) == pytest.approx(95, rel=0.1)


def test_a_large_model_uses_more_of_a_devices_speed_than_a_small_one() -> None:
    gpu = replace(CPU, flops=5e14, processor="cuda")
    small, large = (calculated_seconds(name, 1000, gpu) for name in (RECIPE.base_model, "Qwen2.5-7B-Instruct"))
    assert large / small < 7_615 / 135 / 2.5


def test_cost_is_device_time_with_start_up_at_the_rate() -> None:
    told = estimate(RECIPE, DATA, CPU, Calibration(runs=3, start_up=100.0), RATE)
    assert told.cost == pytest.approx((told.seconds + 100) * 0.001, abs=1e-4)
    assert told.currency == "EUR"


def test_a_bill_is_own_device_time_at_the_rate_and_the_rent_to_the_millionth() -> None:
    assert RATE.bill(10.0, 0.0111284) == 0.021128
    assert RATE.bill(0.0, 0.25) == 0.25


def test_before_the_first_run_the_interval_is_wide() -> None:
    told = estimate(RECIPE, DATA, CPU, Calibration(), RATE)
    assert told.seconds_high / told.seconds == pytest.approx(2.5)
    assert told.seconds / told.seconds_low == pytest.approx(2.5)


def test_one_run_brings_the_next_estimate_to_what_it_took() -> None:
    learned = learn(Calibration(), observed(400.0), RECIPE, DATA, CPU)
    told = estimate(RECIPE, DATA, CPU, learned, RATE)
    assert told.seconds == pytest.approx(400.0)
    assert told.memory_bytes == pytest.approx(2_000_000_000)
    assert learned.start_up == pytest.approx(20.0)


def test_what_was_learned_carries_over_to_twice_the_data_on_a_machine_twice_as_fast() -> None:
    learned = learn(Calibration(), observed(400.0), RECIPE, DATA, CPU)
    twice = replace(CPU, flops=2 * CPU.flops), Data(train_examples=200, train_tokens=30_600)
    assert estimate(RECIPE, twice[1], twice[0], learned, RATE).seconds == pytest.approx(400.0)


def test_a_run_that_counted_nothing_teaches_nothing() -> None:
    before = Calibration(runs=4, log_ratio=0.3, spread=0.1)
    assert learn(before, observed(0.0), RECIPE, DATA, CPU) == before
    assert learn(before, observed(10.0, tokens=0), RECIPE, DATA, CPU) == before


def test_a_run_without_a_memory_figure_leaves_memory_as_it_was() -> None:
    assert learn(Calibration(memory_ratio=1.3), observed(10.0, memory=0), RECIPE, DATA, CPU).memory_ratio == 1.3


def test_the_interval_never_claims_less_than_ten_percent() -> None:
    learned = Calibration()
    for _ in range(50):
        learned = learn(learned, observed(400.0), RECIPE, DATA, CPU)
    told = estimate(RECIPE, DATA, CPU, learned, RATE)
    assert told.seconds_high / told.seconds == pytest.approx(1.1)


def test_a_machine_that_became_slower_is_followed_within_ten_runs() -> None:
    learned = Calibration()
    for seconds in [400.0] * 20 + [800.0] * 10:
        learned = learn(learned, observed(seconds), RECIPE, DATA, CPU)
    assert estimate(RECIPE, DATA, CPU, learned, RATE).seconds == pytest.approx(800.0, rel=0.05)


@pytest.mark.parametrize("noise", [0.05, 0.10, 0.15])
def test_nine_runs_in_ten_fall_in_the_interval(noise: float) -> None:
    """Runs vary by ±5 to ±15 % around five times the calculated time; the first ten are left out."""
    dice, learned, inside, counted = random.Random(3), Calibration(), 0, 0
    for turn in range(1000):
        truth = 5 * calculated_seconds(RECIPE.base_model, 30_600, CPU) * math.exp(dice.gauss(0, noise))
        told = estimate(RECIPE, DATA, CPU, learned, RATE)
        if turn >= 10:
            inside += told.seconds_low <= truth <= told.seconds_high
            counted += 1
        learned = learn(learned, observed(truth), RECIPE, DATA, CPU)
    assert 0.85 <= inside / counted <= 1.0
