"""Makes the runner's parts and lives through its day: hello, beats, orders, goodbye."""

import asyncio
import os
import re
import signal
import socket
import sys
from typing import Any

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
from services.trainer.runner.family import adopted
from services.trainer.runner.launching import Command, command, together
from services.trainer.settings import RunnerSettings

log = structlog.get_logger()


async def serve(settings: RunnerSettings) -> None:
    """Run until SIGTERM or SIGINT; then leave within the notice this machine is given."""
    observe(settings, "runner")
    name = settings.runner_name or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    threads = settings.threads or len(os.sched_getaffinity(0))
    devices = together(await find_devices(name, threads, settings.devices), settings.processes)
    bus = await Bus.connect(settings, "runner")
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):  # until here either ends the process at once: there is nothing to save
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    health = await Health.listen(settings.health_port, lambda: bus.connected)
    try:
        await live(name, devices, settings, bus, stop)
    finally:
        await health.close()
        await bus.close()


async def live(
    name: str,
    devices: tuple[DeviceFound, ...],
    settings: RunnerSettings,
    bus: Bus,
    stop: asyncio.Event,
    command: Command = command,
) -> None:
    """Take orders until ``stop``; then tell the control, and let what runs save and end before this returns.

    ``command`` says what carries out an attempt.
    """
    adopted.adopt()
    attempts = Attempts(name, devices, settings, bus, Storage.open(settings.storage_url), command)
    dial = Dial(name, devices, settings, bus, attempts)
    try:
        async with asyncio.TaskGroup() as tasks:
            attempts.tasks = tasks
            beating = tasks.create_task(dial.run())
            attempts.rest()
            log.info("ready", runner=name, devices=[device.device_id for device in devices])
            await stop.wait()
            log.info("leaving", attempts=len(attempts.held), notice=settings.notice_seconds)
            leaving = tasks.create_task(attempts.leave(settings.notice_seconds))
            await asyncio.sleep(0)
            await dial.beat(settings.beat_seconds)
            await leaving
            beating.cancel()
    finally:
        attempts.closing = True
        await attempts.warm.end()


async def find_devices(runner: str, threads: int, shares: int = 1) -> tuple[DeviceFound, ...]:
    """Measure this machine's devices in a process of its own: its GPUs, or the CPU in so many equal ``shares``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer.training.measure", str(max(1, threads // shares)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    if process.returncode:
        raise Rejected(f"The devices of this machine could not be measured: {errors.decode()[-2000:]}")
    return named(runner, msgspec.json.decode(output), threads, shares)


def named(runner: str, measured: list[dict[str, Any]], threads: int, shares: int) -> tuple[DeviceFound, ...]:
    """Name what was measured; a CPU, measured with its share of the threads, becomes so many equal devices."""
    split = shares > 1 and measured[0]["torch_device"] == "cpu"
    if split:
        measured = [measured[0] | {"memory_bytes": measured[0]["memory_bytes"] // shares}] * shares
    return tuple(
        DeviceFound(
            device_id=f"{runner}-{found['torch_device'].replace(':', '')}{number if split else ''}",
            kind=found["kind"],
            precision=found["precision"],
            threads=max(1, threads // shares) if split else threads,
            memory_bytes=found["memory_bytes"],
            flops=found["flops"],
            torch_device=found["torch_device"],
            features=tuple(found["features"]),
        )
        for number, found in enumerate(measured)
    )
