"""What people may ask, and what is refused with its name."""

import math
from typing import Any

import msgspec
import pytest

from contracts.jobs import Overrides
from contracts.recipes import SHIPPED_MODEL
from libs.errors import Rejected
from services.gateway.domain import wishes
from services.scheduler.domain.recipe import RANGES


def wish(**changes: Any) -> wishes.JobWish:
    return msgspec.convert({"model": SHIPPED_MODEL, "training_file": "file-1"} | changes, wishes.JobWish)


def test_auto_and_absent_leave_the_preset_as_it_is() -> None:
    asked = wish(hyperparameters={"n_epochs": "auto", "batch_size": 8})
    overrides = wishes.overrides_of(asked)
    assert (overrides.epochs, overrides.batch_size, overrides.rank) == (None, 8, None)


def test_every_weight_is_trained_only_where_that_is_asked_for() -> None:
    assert wishes.overrides_of(wish()).method is None
    assert wishes.overrides_of(wish(training="full")).method == "full"


def test_method_goes_before_the_older_field() -> None:
    asked = wish(
        hyperparameters={"n_epochs": 1},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
    )
    assert wishes.overrides_of(asked).epochs == 5


def test_the_older_field_counts_where_the_method_says_nothing_of_it() -> None:
    for method in ({"type": "supervised"}, {"type": "supervised", "supervised": {}}):
        assert wishes.overrides_of(wish(hyperparameters={"n_epochs": 7}, method=method)).epochs == 7


def test_a_base_in_four_bits_is_asked_for_beside_a_lora_only() -> None:
    asked = wish(quantization="nf4")
    wishes.check_job(asked)
    assert wishes.overrides_of(asked) == Overrides(quantization="nf4")
    with pytest.raises(Rejected, match="only a LoRA beside them"):
        wishes.check_job(wish(quantization="nf4", training="full"))


def test_settings_of_dpo_come_from_its_own_place() -> None:
    settings = {"beta": 0.5, "n_epochs": 4, "batch_size": 2, "learning_rate_multiplier": 2.0}
    asked = wish(method={"type": "dpo", "dpo": {"hyperparameters": settings}}, hyperparameters={"n_epochs": 9})
    wishes.check_job(asked)
    assert wishes.overrides_of(asked) == Overrides(
        objective="dpo", beta=0.5, epochs=4, batch_size=2, learning_rate_multiplier=2.0
    )
    automatic = wish(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": "auto"}}})
    assert wishes.overrides_of(automatic) == Overrides(objective="dpo")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}},
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.1}}}},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}}},
        {"presett": "quick"},
        {"hyperparameters": {"n_epochs": 0}},
        {"hyperparameters": {"n_epochs": "many"}},
        {"seed": -1},
        {"suffix": ""},
        {"priority": "urgent"},
        {"metadata": {"k": "x" * 513}},
        {"metadata": {str(n): "" for n in range(17)}},
        {"learning_rate": 0},
        {"training": "magic"},
    ],
)
def test_a_wish_of_the_wrong_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        wish(**changes)


@pytest.mark.parametrize("key", ["trust_remote_code", "auto_map", "target_modules", "script", "output_dir", "revision"])
def test_a_recipe_has_no_place_for_a_path_or_for_code(key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        wish(**{key: "x"})
    for name in ("../../etc/passwd", "https://evil.example/model", f"./{SHIPPED_MODEL}", f"{SHIPPED_MODEL}\0"):
        with pytest.raises(Rejected):
            wishes.chosen_model(name, (SHIPPED_MODEL,))


@pytest.mark.parametrize(
    "changes",
    [
        {"hyperparameters": {"n_epochs": 51}},
        {"hyperparameters": {"batch_size": 257}},
        {"rank": 257},
        {"max_length": 131_073},
        {"time_limit": 86_401},
        {"budget": 1_000_001},
    ],
)
def test_what_multiplies_work_has_a_bound(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        wish(**changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": {"type": "dpo"}, "training": "full"}, "training"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"learning_rate": 1e-4, "hyperparameters": {"learning_rate_multiplier": 2.0}}, "learning_rate"),
    ],
)
def test_what_this_version_cannot_do_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        wishes.check_job(wish(**changes))
    assert refused.value.field == field


WANDB = {"type": "wandb", "wandb": {"project": "p"}}


@pytest.mark.parametrize(
    ("integrations", "key_is_set", "said"),
    [
        ([WANDB], False, "PUT /v1/wandb_key"),
        ([WANDB, {"type": "mlflow"}], True, "'mlflow'"),
        ([{"type": "mlflow"}], False, "'mlflow'"),
        ([{"type": "wandb"}], True, "wandb: {project"),
        ([WANDB, WANDB], True, "one integration"),
    ],
)
def test_a_tracker_that_cannot_be_told_is_refused(
    integrations: list[dict[str, Any]], key_is_set: bool, said: str
) -> None:
    with pytest.raises(Rejected, match=said) as refused:
        wishes.wandb_of(wish(integrations=integrations), key_is_set=key_is_set)
    assert (refused.value.field, refused.value.code) == ("integrations", "unsupported_integration")


def test_where_a_tracker_shows_a_job_is_a_project_and_perhaps_more() -> None:
    found = wishes.wandb_of(wish(integrations=[WANDB]), key_is_set=True)
    assert found == wishes.WishedWandb(project="p")
    assert wishes.wandb_of(wish(), key_is_set=False) is None
    for bad in ({}, {"project": ""}, {"project": "p", "tags": ["x" * 65]}, {"project": "p", "api_key": "k"}):
        with pytest.raises(msgspec.ValidationError):
            wish(integrations=[{"type": "wandb", "wandb": bad}])


def test_unknown_preset_and_model_list_what_there_is() -> None:
    with pytest.raises(Rejected, match=r"conservative \(or quick\), balanced"):
        wishes.chosen_preset("fast")
    with pytest.raises(Rejected, match=SHIPPED_MODEL):
        wishes.chosen_model("gpt-5", (SHIPPED_MODEL,))


def test_staff_name_of_a_preset_means_the_same() -> None:
    assert wishes.chosen_preset("quick").name == "conservative"


def test_a_validation_file_leaves_nothing_to_cut_off() -> None:
    assert wishes.split_of(None, has_validation_file=True).validation == 0.0
    with pytest.raises(Rejected):
        wishes.split_of(wishes.WishedSplit(validation=0.6, test=0.5), has_validation_file=False)


def test_near_duplicates_are_dropped_unless_somebody_wants_them_kept() -> None:
    assert wishes.split_of(None, has_validation_file=False).near_duplicates == "drop"
    kept = wishes.split_of(wishes.WishedSplit(near_duplicates="keep"), has_validation_file=True)
    assert (kept.near_duplicates, kept.validation) == ("keep", 0.0)


def test_what_is_described_of_a_number_is_what_can_be_trained() -> None:
    """What the gateway takes and the scheduler refused would be a job that fails for a number nobody warned of."""
    named = {
        "epochs": wishes.Epochs,
        "batch_size": wishes.BatchSize,
        "learning_rate": wishes.LearningRate,
        "learning_rate_multiplier": wishes.Multiplier,
        "rank": wishes.Rank,
        "time_limit": wishes.TimeLimit,
        "max_length": wishes.MaxLength,
        "budget": wishes.Budget,
        "beta": wishes.Beta,
    }
    described = {name: msgspec.json.schema(kind) for name, kind in named.items()}
    least = {name: each.get("minimum", math.ulp(0.0)) for name, each in described.items()}
    assert {name: (least[name], each["maximum"]) for name, each in described.items()} == {
        name: (allowed.low, allowed.high) for name, allowed in RANGES.items()
    }
