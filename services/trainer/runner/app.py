"""Makes the runner's parts and lives through its day: hello, beats, orders, goodbye."""

import asyncio
import os
import re
import signal
import socket
import sys

import msgspec
import structlog

from libs.bus import Bus
from libs.errors import Rejected
from libs.health import Health
from libs.storage import Storage
from libs.telemetry import observe
from services.trainer.line import DeviceFound
from services.trainer.runner.attempts import Attempts
from services.trainer.runner.dial import Dial
from services.trainer.settings import RunnerSettings

log = structlog.get_logger()


async def serve(settings: RunnerSettings) -> None:
    """Run until SIGTERM or SIGINT; children then save at the end of their step before this returns."""
    observe(settings, "runner")
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    name = settings.runner_name or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    threads = settings.threads or len(os.sched_getaffinity(0))
    devices = await find_devices(name, threads)
    bus = await Bus.connect(settings, "runner")
    health = await Health.listen(settings.health_port, lambda: bus.connected)
    attempts = Attempts(name, devices, settings, bus, Storage.open(settings.storage_url))
    dial = Dial(name, devices, settings, bus, attempts)
    try:
        async with asyncio.TaskGroup() as tasks:
            attempts.tasks = tasks
            beating = tasks.create_task(dial.run())
            log.info("ready", runner=name, devices=[device.device_id for device in devices])
            await stop.wait()
            log.info("stopping", attempts=len(attempts.held))
            await attempts.stop_all()
            beating.cancel()
    finally:
        await health.close()
        await bus.close()


async def find_devices(runner: str, threads: int) -> tuple[DeviceFound, ...]:
    """Measure this machine's devices in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer.training.measure", str(threads),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    if process.returncode:
        raise Rejected(f"The devices of this machine could not be measured: {errors.decode()[-2000:]}")
    measured = msgspec.json.decode(output)
    return tuple(
        DeviceFound(
            device_id=f"{runner}-{found['torch_device'].replace(':', '')}",
            kind=found["kind"],
            precision=found["precision"],
            threads=threads,
            memory_bytes=found["memory_bytes"],
            flops=found["flops"],
            torch_device=found["torch_device"],
        )
        for found in measured
    )
