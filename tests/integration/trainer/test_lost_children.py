"""Children that hang, and storage that fails beside a healthy child: what the runner reports of them."""

import asyncio
import sys
from pathlib import Path
from typing import cast

import msgspec
import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.storage import Storage
from libs.storage.store import StorageFull, Stored
from services.trainer.domain.classifying import classified
from services.trainer.domain.failures import evidence_of
from services.trainer.domain.hanging import USUAL, Patience
from services.trainer.domain.recovery import GoOn, History, after_loss
from services.trainer.line import Broken, DeviceFound, Launch, Reached, Remark
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.reporting import Reporter
from services.trainer.training.protocol import Alive, AttemptSpec, Line, Remarked, Saved

CPU = DeviceFound(
    device_id="bench-cpu", kind="cpu", precision="float32", threads=1, memory_bytes=1, flops=1.0, torch_device="cpu"
)
HANGS = "import sys, time; print(sys.argv[1], flush=True); time.sleep(600)"

STUCK = """
import sys, threading
from services.trainer.training import __main__ as child
from services.trainer.training.protocol import Alive
def waits_for_a_lock(channel):
    channel.tell(Alive())
    threading.Event().wait()
def run(spec, channel, *_):
    channel.stage("training")
    waits_for_a_lock(channel)
child.run = run
sys.argv[1] = sys.argv[2]
sys.exit(child.main())
"""


class Heard:
    """Stands for the control and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def tell(self, what: object) -> None:
        self.told.append(what)


class Full(Storage):
    """A storage without room."""

    def __init__(self) -> None: ...

    async def put_file(self, key: str, path: Path) -> Stored:
        raise StorageFull("No room is left on the disk.")


def attempt(
    heard: Heard,
    folder: Path,
    says: Line,
    storage: Storage | None = None,
    *,
    patience: Patience = USUAL,
    command: str = HANGS,
) -> Attempt:
    """Prepare an attempt whose child says one line and then hangs."""
    launch = Launch(
        tenant="acme",
        run_id="run-1",
        job_id="job-1",
        attempt=1,
        fence=1,
        device_id=CPU.device_id,
        recipe=Recipe(base_model=SHIPPED_MODEL),
        dataset_uri="acme/datasets/d",
        dataset_digest="a" * 64,
        checkpoint_every=5,
        micro_tokens=0,
    )
    folder.mkdir()
    line = msgspec.json.encode(says).decode()
    return Attempt(
        launch,
        CPU,
        cast(Storage, storage),
        cast(Reporter, heard),
        command=lambda spec, device: [sys.executable, "-c", command, line, str(spec)],
        models=folder,
        folder=folder,
        patience=patience,
    )


def spec(folder: Path, seconds_left: float) -> AttemptSpec:
    return AttemptSpec(
        run_id="run-1", attempt=1, fence=1, recipe=Recipe(base_model=SHIPPED_MODEL), model_dir="", train="",
        work_dir=str(folder), seconds_left=seconds_left,
    )  # fmt: skip


async def test_a_child_that_hangs_beyond_its_time_is_ended_and_said_to_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.runner.overdue.PATIENCE", 1.0)
    heard, folder = Heard(), tmp_path / "work"
    said = Remarked(step=3, code="loss_spike", level="warn", message="It jumped.")
    await attempt(heard, folder, said)._run(spec(folder, seconds_left=0.5))
    [remark, broken] = heard.told
    assert remark == Remark(step=3, code="loss_spike", level="warn", message="It jumped.")
    assert isinstance(broken, Broken)
    assert (broken.kind, broken.exit_code) == ("time_limit", -9)


async def test_a_child_that_stops_making_progress_is_ended_and_its_stack_is_kept(tmp_path: Path) -> None:
    """The real child's main, with a training that waits for a lock for ever after its first forward pass."""
    heard, folder = Heard(), tmp_path / "work"
    hangs = attempt(heard, folder, Alive(), patience=Patience(least=0.5, first=300.0), command=STUCK)
    async with asyncio.timeout(300):
        await hangs._run(spec(folder, seconds_left=0.0))
    [reached, broken] = heard.told
    assert reached == Reached(stage="training")
    assert isinstance(broken, Broken)
    assert (broken.kind, broken.exit_code) == ("hung", -9)
    evidence = evidence_of(broken.exit_code, broken.stderr)
    assert "in waits_for_a_lock" in evidence
    verdict = after_loss(broken.kind, evidence, "", History(losses={}, barren=0, micro_tokens=768))
    assert isinstance(verdict, GoOn)
    assert verdict.cause == "hung"


async def test_a_storage_that_fails_beside_a_child_is_named_and_not_the_child(tmp_path: Path) -> None:
    heard, folder = Heard(), tmp_path / "work"
    (tmp_path / "step-5").mkdir()
    (tmp_path / "step-5" / "MANIFEST.json").write_text("{}")
    saved = Saved(step=5, path=str(tmp_path / "step-5"), size=2, seconds=0.1)
    broken_off = attempt(heard, folder, saved, Full())
    with pytest.raises(ExceptionGroup) as failure:
        await broken_off._run(spec(folder, seconds_left=0.0))
    await broken_off.give_up(failure.value)
    [broken] = heard.told
    assert isinstance(broken, Broken)
    assert broken.message == "StorageFull: No room is left on the disk."
    assert broken.exit_code == -9
    assert classified(broken.kind, broken.exit_code, broken.stderr, broken.message) == "storage_full"
