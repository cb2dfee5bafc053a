"""What a runner may say: everything a true one says, and nothing that cannot be true."""

from typing import Any

import msgspec
import pytest

from services.trainer.domain.trust import Granted, flaw_of_beat, flaw_of_hello, flaw_of_progress, flaw_of_report
from services.trainer.line import (
    Beat,
    Broken,
    DeviceFound,
    Done,
    Halted,
    Hello,
    ProgressReport,
    Quarantined,
    Reached,
    Report,
    Uploaded,
    What,
)
from services.trainer.training.protocol import Progressed

SHA = "a" * 64
LEASE = Granted(fence=7, runner="bench", session="session-1", tenant="acme", run_id="run-1", steps=90)
PREFIX = "acme/runs/run-1/fence-7"
UPLOADED = Uploaded(step=30, uri=f"{PREFIX}/step-30", size=1000, sha256=SHA)
DONE = Done(
    adapter_uri=f"{PREFIX}/adapter",
    sha256=SHA,
    size=1000,
    steps=90,
    tokens=1000,
    trained_tokens=500,
    train_loss=1.5,
    eval_loss=None,
    train_seconds=10.0,
    memory_bytes=1 << 30,
)
BROKEN = Broken(kind="", message="", exit_code=-9, stderr="", step=30)
SEEN = Progressed(
    step=30,
    total_steps=90,
    epoch=0.3,
    loss=1.5,
    learning_rate=1e-4,
    grad_norm=1.0,
    tokens=1000,
    trained_tokens=500,
    tokens_per_second=10.0,
    samples_per_second=1.0,
    eta_seconds=60.0,
)
DEVICE = DeviceFound(
    device_id="bench-cpu",
    kind="Zen",
    precision="bfloat16",
    threads=2,
    memory_bytes=1 << 34,
    flops=1e12,
    torch_device="cpu",
)


def said(what: What, **changes: Any) -> Report:
    given = {"runner": "bench", "session": "session-1", "run_id": "run-1", "fence": 7, "what": what}
    return Report(**(given | changes))


def changed(struct: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(struct, **changes)


TRUE: list[What] = [
    UPLOADED,
    DONE,
    BROKEN,
    Reached(stage="starting"),
    Reached(stage="training", step=30),
    Halted(step=30, exit_code=0, stderr="warning"),
    Quarantined(step=30, uri="acme/runs/run-1/fence-3/step-30", reason="flipped"),
]


@pytest.mark.parametrize("what", TRUE, ids=lambda what: type(what).__name__)
def test_what_a_true_runner_says_is_believed(what: What) -> None:
    assert flaw_of_report(said(what), LEASE) is None


@pytest.mark.parametrize(
    ("report", "lease"),
    [
        (said(UPLOADED), None),
        (said(UPLOADED, runner="other"), LEASE),
        (said(UPLOADED, run_id="run-2"), LEASE),
        (said(UPLOADED, session="session-2"), LEASE),
    ],
    ids=["no such lease", "another runner's", "another run's", "another process's"],
)
def test_a_lease_is_claimed_only_by_its_holder(report: Report, lease: Granted | None) -> None:
    assert flaw_of_report(report, lease)


LIES: list[What] = [
    changed(UPLOADED, step=-1),
    changed(UPLOADED, step=91),
    changed(UPLOADED, step=1 << 60),
    changed(UPLOADED, size=-1),
    changed(UPLOADED, size=1 << 52),
    changed(UPLOADED, sha256="A" * 64),
    changed(UPLOADED, sha256=""),
    changed(UPLOADED, uri="acme/runs/run-1/fence-6/step-30"),
    changed(UPLOADED, uri="acme/runs/run-2/fence-7/step-30"),
    changed(UPLOADED, uri="globex/runs/run-1/fence-7/step-30"),
    changed(UPLOADED, uri=f"{PREFIX}/../../run-2/fence-8/step-30"),
    changed(UPLOADED, uri=f"{PREFIX}-/step-30"),
    changed(UPLOADED, uri=f"{PREFIX}/"),
    changed(UPLOADED, uri="file:///etc/passwd"),
    changed(DONE, adapter_uri="globex/models/best"),
    changed(DONE, steps=91),
    changed(DONE, tokens=-5),
    changed(DONE, train_loss=float("inf")),
    changed(DONE, train_seconds=float("nan")),
    changed(DONE, memory_bytes=1 << 62),
    changed(BROKEN, exit_code=-9999),
    changed(BROKEN, exit_code=1 << 40),
    changed(BROKEN, kind="Out Of Memory"),
    changed(BROKEN, stderr="a\0b"),
    changed(BROKEN, message="x" * (1 << 19)),
    Reached(stage="training\nRUN FAILED"),
    Reached(stage="training", step=1000),
    Halted(step=-3),
]


@pytest.mark.parametrize("what", LIES, ids=repr)
def test_what_cannot_be_true_is_not_believed(what: What) -> None:
    assert flaw_of_report(said(what), LEASE)


def test_a_look_is_believed_of_the_holder_alone_and_within_the_run() -> None:
    true = ProgressReport(runner="bench", session="session-1", run_id="run-1", fence=7, seen=SEEN)
    assert flaw_of_progress(true, LEASE) is None
    for lie in (
        changed(true, runner="other"),
        changed(true, run_id="run-2"),
        changed(true, session="session-2"),
        changed(true, seen=changed(SEEN, step=91)),
        changed(true, seen=changed(SEEN, tokens=-1)),
        changed(true, seen=changed(SEEN, loss=float("inf"))),
    ):
        assert flaw_of_progress(lie, LEASE)


def test_a_run_of_unknown_length_has_no_last_step() -> None:
    assert flaw_of_report(said(changed(UPLOADED, step=5000)), changed(LEASE, steps=0)) is None


def test_a_runner_brings_only_devices_of_its_own_that_can_exist() -> None:
    true = Hello(runner="bench", devices=(DEVICE,))
    assert flaw_of_hello(true) is None
    for lie in (
        changed(true, runner="*"),
        changed(true, runner="a.b"),
        changed(true, runner=""),
        changed(true, devices=()),
        changed(true, devices=(DEVICE,) * 65),
        *(
            changed(true, devices=(changed(DEVICE, **wrong),))
            for wrong in (
                {"device_id": "other-cpu"},
                {"device_id": "bench-cpu.x"},
                {"memory_bytes": -1},
                {"memory_bytes": 0},
                {"memory_bytes": 1 << 60},
                {"threads": 0},
                {"flops": float("nan")},
                {"flops": 0.0},
                {"kind": "a\0b"},
                {"features": ("No word",)},
                {"features": ("dpo",) * 65},
            )
        ),
    ):
        assert flaw_of_hello(lie), lie


def test_a_beat_comes_from_something_that_has_a_name() -> None:
    assert flaw_of_beat(Beat(runner="bench")) is None
    assert flaw_of_beat(Beat(runner="be nch"))
