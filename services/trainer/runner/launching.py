"""How a training child is started: alone, or several processes together by ``accelerate launch``.

And which of a machine's devices are one device together. No torch here.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from services.trainer.line import DeviceFound

Command = Callable[[Path, DeviceFound], list[str]]
"""What starts a child for a spec on a device."""
CHILD = "services.trainer.training"
SHUTDOWN = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "86400"}
"""The launcher passes SIGTERM on to its processes and would kill them after 30 s; how long they have is ours to say."""


def command(spec: Path, device: DeviceFound) -> list[str]:
    """Return what starts the child for this spec; standard output is its alone, whatever starts it.

    Sharding (FSDP2) is the child's own: accelerate's plugin for it refuses CPUs, so ``--multi_gpu`` here means no more
    than one process a device.
    """
    if device.processes == 1:
        return [*alone(), str(spec)]
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1",
        "--num_processes", str(device.processes), "--num_cpu_threads_per_process", str(device.threads),
        "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--module", CHILD, str(spec),
    ]  # fmt: skip


def alone() -> list[str]:
    """Return what starts a child that trains alone, but for its spec."""
    return [sys.executable, "-m", CHILD]


def ahead() -> list[str]:
    """Return what starts such a child before its spec is known."""
    return [sys.executable, "-m", f"{CHILD}.warm"]


def could_wait(command: list[str], device: DeviceFound, quantization: str = "none") -> bool:
    """Whether what a command starts for a device may have been started ahead: alone, on a CPU, and not in four bits.

    What a GPU's child may see, and whether it trains in four bits, is decided before its imports.
    """
    return quantization == "none" and device.torch_device == "cpu" and command[:-1] == alone()


def together(found: Sequence[DeviceFound], processes: int) -> tuple[DeviceFound, ...]:
    """Make one device of every ``processes`` GPUs, in order, or share a CPU's threads among so many; GPUs left over
    stay alone.
    """
    if processes == 1:
        return tuple(found)
    cpus = [_split(each, processes) for each in found if each.torch_device == "cpu"]
    gpus = [each for each in found if each.torch_device != "cpu"]
    whole = len(gpus) - len(gpus) % processes
    return (*cpus, *(_one(gpus[at : at + processes]) for at in range(0, whole, processes)), *gpus[whole:])


def _one(group: Sequence[DeviceFound]) -> DeviceFound:
    numbers = [each.torch_device.removeprefix("cuda:") for each in group]
    return msgspec.structs.replace(
        group[0],
        device_id="-".join([group[0].device_id, *numbers[1:]]),
        kind=f"{len(group)} × {group[0].kind}",
        threads=max(1, group[0].threads // len(group)),
        memory_bytes=sum(each.memory_bytes for each in group),
        flops=sum(each.flops for each in group),
        torch_device="cuda:" + ",".join(numbers),
        processes=len(group),
        features=_shared(group[0]),
    )


def _split(cpu: DeviceFound, processes: int) -> DeviceFound:
    return msgspec.structs.replace(
        cpu, threads=max(1, cpu.threads // processes), processes=processes, features=_shared(cpu)
    )


def _shared(device: DeviceFound) -> tuple[str, ...]:
    """Return what several processes that share a model understand together: weights in four bits are not divided."""
    return tuple(each for each in device.features if each != "nf4")
