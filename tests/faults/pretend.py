"""A runner whose trainings only pretend, as a process: ``python -m tests.faults.pretend``. No torch, no model.

Line, leases, checkpoints, storage and facts are real, and the child speaks the real protocol, so what is not about
arithmetic can be broken in seconds: ``python -m tests.faults --pretend``. Its figures say nothing of real training.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import msgspec
from pyarrow.parquet import read_metadata

from libs.bus import Bus
from libs.settings import load
from libs.telemetry import observe
from libs.testing.family import TRAINING
from services.trainer.line import DeviceFound
from services.trainer.runner.app import live
from services.trainer.settings import RunnerSettings
from services.trainer.training import checkpoints
from services.trainer.training.channel import Channel
from services.trainer.training.checkpoints import Manifest
from services.trainer.training.plan import steps_of
from services.trainer.training.protocol import AttemptSpec, Stage, read_spec

SECONDS_A_STEP = 0.015
SECONDS_A_SAVE = 0.05
SECONDS_A_LOAD = 0.5


def command(spec: Path, device: DeviceFound) -> list[str]:
    """Return what starts a child that pretends."""
    return [sys.executable, "-m", "tests.faults.pretend", str(spec), TRAINING]


async def runner() -> None:
    """Live as a runner with one device nobody measured."""
    settings = load(RunnerSettings)
    observe(settings, "runner")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    name = settings.runner_name or "first"
    device = DeviceFound(
        device_id=f"{name}-cpu", kind="pretence", precision="float32", threads=1, memory_bytes=8_000_000_000,
        flops=1e12, torch_device="cpu",
    )  # fmt: skip
    bus = await Bus.connect(settings, "runner")
    await live(name, (device,), settings, bus, stop, command)
    await bus.close()


def child(path: Path) -> None:
    """Pretend to train as many steps as the job has; a save takes long enough to be hit."""
    os.environ["STAND_IN_STEP"] = str(SECONDS_A_STEP)
    from tests.integration.trainer import stand_in

    spec = read_spec(path.read_bytes())
    steps = steps_of(spec.recipe, read_metadata(spec.train).num_rows)
    recipe = msgspec.structs.replace(spec.recipe, max_steps=steps)
    _tell_stages(stand_in)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, recipe=recipe)))
    stand_in.main()


def _tell_stages(stand_in: ModuleType) -> None:
    """Let the stand-in load and save as long as it takes to hit it there."""
    stage, commit, finish = Channel.stage, checkpoints.commit, stand_in.finish

    def load_first(channel: Channel, name: Stage, detail: str = "") -> None:
        if name == "training":
            stage(channel, "loading_model")
            time.sleep(SECONDS_A_LOAD)
        stage(channel, name, detail)

    def save_first(spec: AttemptSpec, step: int, channel: Channel) -> None:
        stage(channel, "saving")
        time.sleep(SECONDS_A_LOAD)
        finish(spec, step, channel)

    def slowly(staged: Path, final: Path, manifest: Manifest) -> Manifest:
        time.sleep(SECONDS_A_SAVE)
        return commit(staged, final, manifest)

    Channel.stage, checkpoints.commit, stand_in.finish = load_first, slowly, save_first


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(Path(sys.argv[1]))
    else:
        asyncio.run(runner())
