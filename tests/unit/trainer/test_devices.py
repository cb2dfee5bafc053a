"""What a runner offers of what was measured on its machine."""

from typing import Any

from services.trainer.runner.app import named


def measured(torch_device: str) -> dict[str, Any]:
    return {"torch_device": torch_device, "kind": "any", "precision": "bfloat16", "memory_bytes": 9_000, "flops": 1e12}


def test_a_cpu_is_one_device_with_every_thread() -> None:
    [device] = named("host", [measured("cpu")], threads=8, shares=1)
    assert (device.device_id, device.threads, device.memory_bytes) == ("host-cpu", 8, 9_000)


def test_a_cpu_offered_as_several_devices_divides_threads_and_memory() -> None:
    devices = named("host", [measured("cpu")], threads=8, shares=3)
    assert [device.device_id for device in devices] == ["host-cpu0", "host-cpu1", "host-cpu2"]
    assert {(device.threads, device.memory_bytes, device.torch_device) for device in devices} == {(2, 3_000, "cpu")}


def test_each_gpu_is_a_device_and_none_is_divided() -> None:
    devices = named("host", [measured("cuda:0"), measured("cuda:1")], threads=8, shares=4)
    assert [device.device_id for device in devices] == ["host-cuda0", "host-cuda1"]
    assert {(device.threads, device.memory_bytes) for device in devices} == {(8, 9_000)}
