"""Which of a machine's devices train together, and how they are started."""

import sys
from pathlib import Path

import msgspec
import pytest

from services.trainer.line import DeviceFound
from services.trainer.runner.launching import command, together

GPU = DeviceFound(
    device_id="hall-cuda0",
    kind="H200",
    precision="bfloat16",
    threads=8,
    memory_bytes=10,
    flops=2.0,
    torch_device="cuda:0",
    features=("dpo", "nf4"),
)


def _gpus(count: int) -> list[DeviceFound]:
    return [
        msgspec.structs.replace(GPU, device_id=f"hall-cuda{number}", torch_device=f"cuda:{number}")
        for number in range(count)
    ]


def test_gpus_taken_together_are_one_device_with_all_their_memory() -> None:
    first, second, alone = together(_gpus(5), 2)
    assert (first.device_id, first.torch_device, first.processes) == ("hall-cuda0-1", "cuda:0,1", 2)
    assert (first.memory_bytes, first.flops, first.threads) == (20, 4.0, 4)
    assert second.torch_device == "cuda:2,3"
    assert (alone.torch_device, alone.processes) == ("cuda:4", 1)
    assert (first.features, alone.features) == (("dpo",), ("dpo", "nf4")), "four bits are not divided"


def test_a_cpu_shares_its_threads_among_processes() -> None:
    cpu = msgspec.structs.replace(GPU, device_id="hall-cpu", torch_device="cpu", threads=5)
    (found,) = together([cpu], 2)
    assert (found.device_id, found.threads, found.processes) == ("hall-cpu", 2, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_devices_stay_alone_unless_asked(count: int) -> None:
    assert together(_gpus(count), 1) == tuple(_gpus(count))


def test_one_process_is_started_directly_and_several_by_accelerate() -> None:
    spec = Path("/spec.json")
    assert command(spec, GPU) == [sys.executable, "-m", "services.trainer.training", "/spec.json"]
    started = command(spec, msgspec.structs.replace(GPU, processes=2))
    assert started[1:3] == ["-m", "accelerate.commands.launch"]
    assert started[started.index("--num_processes") + 1] == "2"
    assert started[-3:] == ["--module", "services.trainer.training", "/spec.json"]
