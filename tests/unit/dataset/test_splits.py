"""Splits follow seed and content alone, come as near to their sizes as units allow, and are never silently empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.datasets import SplitPlan
from libs.errors import Rejected
from services.dataset.domain import splits
from services.dataset.domain.splits import TEST, TRAIN, VALIDATION, Sizes

shares = st.floats(0, 0.45)


def singles(count: int) -> list[tuple[str, int]]:
    return [(str(number), 1) for number in range(count)]


@given(st.integers(10, 3_000), shares, shares)
def test_single_conversations_fill_the_sizes_exactly(count: int, validation: float, test: float) -> None:
    aim = splits.sizes(count, SplitPlan(validation=validation, test=test))
    placed = [split for _, _, split in splits.divide(singles(count), aim)]
    assert (placed.count(VALIDATION), placed.count(TEST)) == (aim.validation, aim.test)
    assert (aim.validation > 0, aim.test > 0) == (validation > 0, test > 0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), shares, shares)
def test_large_units_overshoot_by_at_most_half_of_one(counts: list[int], validation: float, test: float) -> None:
    aim = Sizes(int(sum(counts) * validation), int(sum(counts) * test))
    placed = list(splits.divide([(str(at), count) for at, count in enumerate(counts)], aim))
    assert [count for _, count, _ in placed] == counts
    for split, size in ((VALIDATION, aim.validation), (TEST, aim.test)):
        assert sum(count for _, count, where in placed if where == split) <= size + max(counts) / 2


@pytest.mark.parametrize(
    ("examples", "sizes"), [(5, (1, 1)), (10, (1, 1)), (14, (1, 1)), (100, (10, 10)), (124, (12, 12))]
)
def test_small_data_still_gets_an_example_to_validate_and_one_to_test(examples: int, sizes: tuple[int, int]) -> None:
    aim = splits.sizes(examples, SplitPlan())
    assert (aim.validation, aim.test) == sizes


@pytest.mark.parametrize("examples", [0, 1, 4])
def test_a_split_that_would_be_empty_is_refused_with_a_way_out(examples: int) -> None:
    with pytest.raises(Rejected, match="Add examples until there are 10") as caught:
        splits.sizes(examples, SplitPlan())
    assert caught.value.code == "empty_split"


def test_a_split_nobody_asked_for_may_be_empty() -> None:
    assert splits.sizes(3, SplitPlan(validation=0, test=0)) == Sizes(0, 0)


@pytest.mark.parametrize("plan", [SplitPlan(by="moon"), SplitPlan(validation=0.5, test=0.5)])
def test_a_plan_no_data_can_follow_is_refused(plan: SplitPlan) -> None:
    with pytest.raises(Rejected) as caught:
        splits.check(plan)
    assert caught.value.code == "bad_split"


def test_a_validation_file_is_shared_in_the_plans_proportion() -> None:
    assert splits.proof_of(10, SplitPlan()) == Sizes(0, 5)
    assert splits.proof_of(30, SplitPlan(validation=0.2, test=0.1)) == Sizes(0, 10)
    assert splits.proof_of(7, SplitPlan(test=0)) == Sizes(0, 0)
    with pytest.raises(Rejected, match="validation split would be empty"):
        splits.proof_of(1, SplitPlan())


def test_the_order_of_division_depends_on_the_seed() -> None:
    names = [str(number) for number in range(50)]
    orders = [sorted(names, key=lambda name: splits.sort_key(seed, name)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert TRAIN not in splits.wanted(Sizes(1, 1))
