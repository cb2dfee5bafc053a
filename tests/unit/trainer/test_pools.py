"""The file of pools, and what is decided about machines."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Rejected
from services.trainer.domain import machines
from services.trainer.domain.machines import BELIEF, Capacity, Machine
from services.trainer.providers import pools
from services.trainer.providers.pools import KubernetesPool, SpotPool

AT = datetime(2026, 11, 21, tzinfo=UTC)

FILE = """
[spot]
provider = "spot"
environment = "runner.env"
price = 0.02
lifetime = [10.0, 20.0]

[cluster]
provider = "kubernetes"
most = 8
namespace = "tuning"
queue = "gpus"
image = "woodshed/runner:1"
secret = "woodshed-runner"
"""
RUNPOD = """
[rented]
provider = "runpod"
gpus = ["NVIDIA RTX A6000"]
image = "woodshed/runner:1"
price = 0.5
environment = {{ WOODSHED_NATS_PASSWORD = "{}" }}
"""


def written(folder: Path, text: str) -> str:
    (folder / "pools.toml").write_text(text)
    return str(folder / "pools.toml")


def machine(**changes: object) -> Machine:
    given: dict[str, object] = {
        "key": "ws-1", "pool": "p", "kind": "k", "handle": "h", "state": "running", "wanted": True, "doubts": 0,
        "tries": 0, "ask_at": AT, "asked_at": AT, "heard_at": AT, "busy_at": AT,
    }  # fmt: skip
    return Machine(**(given | changes))  # type: ignore[arg-type]


def test_pools_are_read_in_the_order_they_are_preferred(tmp_path: Path) -> None:
    found = pools.read(written(tmp_path, FILE))
    assert list(found) == ["spot", "cluster"]
    assert isinstance(found["spot"], SpotPool)
    assert isinstance(found["cluster"], KubernetesPool)
    assert found["spot"].lifetime == (10.0, 20.0)
    assert pools.read("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[a]\nprovider = "moon"\n', "moon"),
        ('[a]\nprovider = "local"\nenvironment = "e"\nmosst = 2\n', "mosst"),
        ('[Not-A-Name]\nprovider = "local"\nenvironment = "e"\n', "matching regex"),
        ('[a]\nprovider = "local"\nenvironment = "e"\nleast = 3\n', "at most 1"),
        ("[a\n", "does not fit"),
        (RUNPOD.format("hunter2"), "WOODSHED_NATS_PASSWORD"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Rejected, match=said) as refused:
        pools.read(written(tmp_path, text))
    assert "hunter2" not in refused.value.message


def test_a_reference_to_a_secret_may_stand_in_the_file(tmp_path: Path) -> None:
    assert pools.read(written(tmp_path, RUNPOD.format("{{ RUNPOD_SECRET_nats }}")))
    with pytest.raises(Rejected, match="cannot be read"):
        pools.read(str(tmp_path / "none.toml"))


@given(
    least=st.integers(0, 4), more=st.integers(0, 6), devices=st.integers(1, 8), busy=st.integers(0, 10),
    waiting=st.integers(0, 40),
)  # fmt: skip
def test_a_pool_stays_within_its_limits_and_never_drops_work(
    least: int, more: int, devices: int, busy: int, waiting: int
) -> None:
    pool = Capacity(least=least, most=least + more, devices=devices)
    [number] = machines.wanted([pool], [busy], [waiting])
    assert number >= max(least, busy)
    assert number <= max(pool.most, busy)
    if waiting == 0:
        assert number == max(least, busy)
    if busy < number and number > least:
        assert (number - busy - 1) * devices < waiting


def test_the_preferred_pool_is_filled_first() -> None:
    small, large = Capacity(least=0, most=2, devices=1), Capacity(least=0, most=9, devices=4)
    assert machines.wanted([small, large], [1, 0], [7, 7]) == [2, 2]
    assert machines.wanted([small, large], [0, 0], [2, 0]) == [2, 0]


@pytest.mark.parametrize(
    ("looks", "ended"),
    [
        (["exited", "running", "exited", "running"], False),
        (["exited", "unknown", "unknown", "unknown"], False),
        (["unknown"] * 50, False),
        (["gone", "gone"], True),
        (["exited", "unknown", "gone"], True),
    ],
)
def test_a_provider_is_believed_when_it_says_so_twice_in_a_row(looks: list[str], ended: bool) -> None:
    doubts = 0
    for seen in looks:
        doubts = machines.doubts_after(doubts, seen, heard=False, certain=False)
    assert (doubts >= BELIEF) == ended


def test_a_runner_that_was_heard_outweighs_its_provider() -> None:
    assert machines.doubts_after(1, "gone", heard=True, certain=False) == 0
    assert machines.doubts_after(0, "exited", heard=True, certain=True) == BELIEF
    assert machines.doubts_after(0, "unknown", heard=False, certain=True) == 0


def test_a_machine_whose_runner_never_dials_in_is_given_up_after_its_time() -> None:
    silent = machine(heard_at=None)
    assert not machines.never_came(silent, AT + timedelta(seconds=900), 900)
    assert machines.never_came(silent, AT + timedelta(seconds=901), 900)
    assert not machines.never_came(machine(), AT + timedelta(days=9), 900)
    assert not machines.never_came(machine(heard_at=None, state="pending"), AT + timedelta(days=9), 900)


def test_pauses_grow_while_machines_come_to_nothing() -> None:
    pauses = [machines.pause(number) for number in range(12)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == machines.LONGEST_PAUSE


def test_the_longest_idle_is_given_back_and_no_more_than_there_are_too_many() -> None:
    old, new = machine(key="old"), machine(key="new", busy_at=AT + timedelta(seconds=30))
    leaving, busy = machine(key="leaving", wanted=False), machine(key="busy")
    at = AT + timedelta(seconds=100)
    chosen = machines.to_give_back([new, old, leaving, busy], {"busy"}, 2, at, 60)
    assert [each.key for each in chosen] == ["old"]
    assert [each.key for each in machines.to_give_back([new, old, busy], {"busy"}, 0, at, 60)] == ["old", "new"]
    assert machines.to_give_back([new, old], set(), 0, at, 200) == []


@pytest.mark.parametrize(
    ("known", "orphan"),
    [(None, True), (("pod1", True), False), ((None, True), False), (("pod2", True), True), (("pod1", False), True)],
)
def test_what_no_open_row_stands_for_is_nobodys(known: tuple[str | None, bool] | None, orphan: bool) -> None:
    assert machines.is_orphan("pod1", known) == orphan
