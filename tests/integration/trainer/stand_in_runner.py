"""A runner as a process of its own, with the real line and a child that pretends: ``… stand_in_runner [DEVICES]``."""

import asyncio
import signal
import sys
from pathlib import Path

from libs.bus import Bus
from libs.settings import load
from services.trainer.line import DeviceFound
from services.trainer.runner.app import live
from services.trainer.settings import RunnerSettings

MEMORY = 8_000_000_000


def stand_in(spec: Path, device: DeviceFound) -> list[str]:
    """What starts a child that only pretends."""
    return [sys.executable, "-m", "tests.integration.trainer.stand_in", str(spec)]


def device(runner: str, number: int = 0, memory_bytes: int = MEMORY) -> DeviceFound:
    """A device nobody measured."""
    return DeviceFound(
        device_id=f"{runner}-cpu{number}",
        kind="stand-in",
        precision="float32",
        threads=1,
        memory_bytes=memory_bytes,
        flops=1e9,
        torch_device="cpu",
    )


async def main() -> None:
    settings = load(RunnerSettings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    devices = tuple(device(settings.runner_name, number) for number in range(count))
    bus = await Bus.connect(settings, "runner")
    await live(settings.runner_name, devices, settings, bus, stop, stand_in)
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main())
