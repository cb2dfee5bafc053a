"""Presets, overrides and the choices Woodshed makes for a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.jobs import Overrides, model_name
from contracts.recipes import DPO_RATE, OBJECTIVES, PAIR_FORMATS, PRESETS, Preset
from libs.errors import Rejected
from services.scheduler.domain.recipe import RANGES, for_data, refusal_of, suitable_batch, wished, wrong_kind
from tests.unit.scheduler.facts import submitted


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_both_names_of_a_preset_give_the_same_recipe(preset: Preset) -> None:
    recipe = wished(submitted(preset=preset.name))
    assert recipe == wished(submitted(preset=preset.staff_name))
    assert (recipe.rank, recipe.alpha, recipe.epochs) == (preset.rank, 2 * preset.rank, preset.epochs)
    assert (recipe.learning_rate, recipe.time_limit) == (preset.learning_rate, preset.time_limit)


def test_overrides_replace_what_they_name_and_nothing_else() -> None:
    plain = wished(submitted())
    changed = wished(submitted(overrides=Overrides(epochs=5, rank=4, time_limit=60.0)))
    assert (changed.epochs, changed.rank, changed.alpha, changed.time_limit) == (5, 4, 8, 60.0)
    assert (changed.learning_rate, changed.seed, changed.base_model) == (plain.learning_rate, 7, plain.base_model)


def test_the_multiplier_scales_the_rate_of_the_preset() -> None:
    assert wished(submitted(overrides=Overrides(learning_rate_multiplier=2.0))).learning_rate == pytest.approx(2e-4)


def test_a_whole_model_is_trained_with_a_tenth_of_the_rate_unless_a_rate_is_asked_for() -> None:
    plain, whole = wished(submitted()), wished(submitted(overrides=Overrides(method="full")))
    assert (plain.method, whole.method) == ("lora", "full")
    assert whole.learning_rate == pytest.approx(plain.learning_rate / 10)
    assert wished(submitted(overrides=Overrides(method="full", learning_rate=1e-4))).learning_rate == 1e-4


def test_pairs_train_a_lora_gently_and_without_dropout() -> None:
    plain, pairs = wished(submitted()), wished(submitted(overrides=Overrides(objective="dpo", beta=0.3)))
    assert (plain.objective, pairs.objective, pairs.method, pairs.beta) == ("supervised", "dpo", "lora", 0.3)
    assert pairs.learning_rate == pytest.approx(plain.learning_rate * DPO_RATE)
    assert (plain.dropout, pairs.dropout) == (0.05, 0.0)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (Overrides(objective="dpo", method="full"), "training"),
        (Overrides(quantization="nf4", method="full"), "quantization"),
        (Overrides(quantization="int2"), "quantization"),
        (Overrides(beta=0.1), "beta"),
        (Overrides(objective="dpo", beta=2.5), "beta"),
        (Overrides(objective="magic"), "method.type"),
    ],
)
def test_what_does_not_go_with_an_objective_is_refused(overrides: Overrides, field: str) -> None:
    refusal = refusal_of(submitted(overrides=overrides))
    assert refusal is not None
    assert refusal.field == field
    assert refusal.fix


def test_a_method_that_does_not_learn_from_a_file_names_the_one_that_does() -> None:
    supervised, dpo = (wished(submitted(overrides=Overrides(objective=each))) for each in OBJECTIVES)
    assert wrong_kind(supervised, "openai") is None
    for format in PAIR_FORMATS:
        assert wrong_kind(dpo, format) is None
        refusal = wrong_kind(supervised, format)
        assert refusal
        assert "method.type=dpo" in str(refusal.fix)
    refusal = wrong_kind(dpo, "openai")
    assert refusal
    assert "method supervised" in str(refusal.fix)


def test_a_method_nobody_knows_is_refused_with_the_known_ones() -> None:
    refusal = refusal_of(submitted(overrides=Overrides(method="magic")))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("unknown_method", "method")
    assert "full" in str(refusal.fix)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    refusal = refusal_of(submitted(preset="gigantic"))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("unknown_preset", "preset")
    assert all(name in str(refusal.fix) for preset in PRESETS for name in (preset.name, preset.staff_name))


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    refusal = refusal_of(submitted(base_model="gpt-99"))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("unknown_model", "base_model")
    assert "SmolLM2-135M-Instruct" in refusal.message


@pytest.mark.parametrize("name", RANGES)
def test_an_override_outside_its_range_is_refused_by_name(name: str) -> None:
    low, high, _ = RANGES[name]
    kind = int if name in ("epochs", "batch_size", "rank") else float
    for value in (kind(low - 1), kind(high + 1), float("nan")):
        with pytest.raises(Rejected) as refused:
            wished(submitted(overrides=Overrides(**{name: value})))
        assert refused.value.field == name
        assert f"between {low:g} and {high:g}" in str(refused.value.fix)


def test_a_multiplier_that_leads_out_of_range_names_one_that_does_not() -> None:
    with pytest.raises(Rejected, match="makes the learning rate") as refused:
        wished(submitted(preset="deep", overrides=Overrides(learning_rate_multiplier=100.0)))
    assert refused.value.field == "learning_rate_multiplier"
    assert "33.3333" in str(refused.value.fix)


def test_a_rate_and_a_multiplier_contradict_each_other() -> None:
    both = Overrides(learning_rate=1e-4, learning_rate_multiplier=2.0)
    with pytest.raises(Rejected, match="contradict"):
        wished(submitted(overrides=both))


def test_an_unknown_priority_is_refused() -> None:
    refusal = refusal_of(submitted(priority="urgent"))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("unknown_priority", "priority")


def test_a_sound_wish_is_not_refused() -> None:
    assert refusal_of(submitted(priority="high")) is None


@pytest.mark.parametrize(("examples", "batch"), [(1, 1), (31, 1), (100, 3), (300, 9), (512, 16), (100_000, 16)])
def test_small_data_gets_small_batches(examples: int, batch: int) -> None:
    assert suitable_batch(examples) == batch


@given(st.integers(1, 10**6))
def test_from_32_examples_on_an_epoch_has_at_least_32_steps(examples: int) -> None:
    steps = -(-examples // suitable_batch(examples))
    assert steps >= min(32, examples)


def test_a_batch_size_that_was_asked_for_stands() -> None:
    assert for_data(wished(submitted()), Overrides(batch_size=5), 100_000).batch_size == 5


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("", "ft:SmolLM2:acme::7p4xure2"),
        ("Money Coach", "ft:SmolLM2:acme:money-coach:7p4xure2"),
        ("<!channel>:x", "ft:SmolLM2:acme:channel-x:7p4xure2"),
    ],
)
def test_a_model_is_named_in_five_parts(suffix: str, name: str) -> None:
    assert model_name("SmolLM2", "acme", suffix, "ftjob-0abc7p4xure2") == name
    assert name.count(":") == 4
