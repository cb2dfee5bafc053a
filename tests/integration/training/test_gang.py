"""Two processes train one model under ``accelerate launch``: sharded, interrupted, resumed, the same bytes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from libs.lm.adapters import WEIGHTS
from libs.lm.sharing import SHARED_CORES
from services.trainer.line import DeviceFound
from services.trainer.runner.launching import SHUTDOWN, command
from services.trainer.training import checkpoints, metrics
from services.trainer.training.protocol import AttemptSpec, Finished, Line, Saved, read_line
from tests.integration.training.runs import carry_out, changed

ROOT = Path(__file__).parents[3]

PAIR = DeviceFound(
    device_id="bench-cpu",
    kind="cpu",
    precision="bfloat16",
    threads=1,
    memory_bytes=1,
    flops=1.0,
    torch_device="cpu",
    processes=2,
)


@pytest.fixture
def pair(spec: AttemptSpec) -> AttemptSpec:
    """Without dropout, so that the loss can be held against one process's."""
    recipe = msgspec.structs.replace(spec.recipe, dropout=0.0)
    return changed(spec, recipe=recipe, processes=2, threads=1, micro_tokens=128)


class Launched:
    """A gang as the runner starts it."""

    def __init__(self, spec: AttemptSpec) -> None:
        folder = Path(spec.work_dir)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"spec-{spec.fence}.json"
        file.write_bytes(msgspec.json.encode(spec))
        self.errors = folder / f"stderr-{spec.fence}.log"
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                command(file, PAIR), stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, process_group=0,
                env=os.environ | SHARED_CORES | SHUTDOWN,
            )  # fmt: skip

    def lines(self) -> Iterator[Line]:
        assert self.process.stdout
        return (read_line(line) for line in self.process.stdout)

    def until(self, kind: type[Line]) -> Line:
        return next(line for line in self.lines() if isinstance(line, kind))

    def ends(self) -> Line:
        heard = list(self.lines())
        assert heard, self.errors.read_text()
        self.process.wait(300)
        return heard[-1]


def _left(spec: AttemptSpec) -> list[bytes]:
    return [(Path(spec.work_dir) / "adapter" / name).read_bytes() for name in (WEIGHTS, metrics.FILE)]


@pytest.mark.timeout(1500)
def test_two_processes_interrupted_give_the_bytes_of_two_undisturbed(pair: AttemptSpec, tmp_path: Path) -> None:
    """The undisturbed run trains beside the others: most of their time is starting up."""
    calm = changed(pair, work_dir=str(tmp_path / "calm"))
    undisturbed = Launched(calm)

    killed = Launched(changed(pair, checkpoint_every=1))
    saved = killed.until(Saved)
    assert isinstance(saved, Saved)
    processes = psutil.Process(killed.process.pid).children(recursive=True)
    assert len(processes) >= 2
    os.killpg(killed.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, 60)
    assert not alive, "a killed launcher takes its processes along"

    manifest = checkpoints.verify(Path(saved.path))
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(manifest.files)
    resumed = Launched(changed(pair, attempt=2, fence=2, resume_from=saved.path)).ends()
    assert isinstance(resumed, Finished)
    assert isinstance(undisturbed.ends(), Finished)
    assert _left(pair) == _left(calm)

    alone = changed(pair, processes=1, work_dir=str(tmp_path / "alone"))
    carry_out(alone)
    ours, theirs = (metrics.read(Path(each.work_dir) / "adapter") for each in (pair, alone))
    assert [point.tokens for point in ours] == [point.tokens for point in theirs]
    for point, other in zip(ours, theirs, strict=True):
        assert point.train_loss == pytest.approx(other.train_loss, rel=2e-3)
        assert point.grad_norm == pytest.approx(other.grad_norm, rel=2e-2)
