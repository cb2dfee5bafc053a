"""What a runner offers of what was measured on its machine."""

from pathlib import Path
from typing import Any

from contracts.recipes import SHIPPED_MODEL, Recipe
from services.trainer.line import Launch, mark_of
from services.trainer.runner.app import named
from services.trainer.runner.attempts import Attempts
from services.trainer.settings import RunnerSettings


def measured(torch_device: str) -> dict[str, Any]:
    return {
        "torch_device": torch_device,
        "kind": "any",
        "precision": "bfloat16",
        "memory_bytes": 9_000,
        "flops": 1e12,
        "features": ["dpo"],
    }


def test_a_cpu_is_one_device_with_every_thread() -> None:
    [device] = named("host", [measured("cpu")], threads=8, shares=1)
    assert (device.device_id, device.threads, device.memory_bytes) == ("host-cpu", 8, 9_000)
    assert device.features == ("dpo",), "who does not say it understands pairs gets none"


def test_a_cpu_offered_as_several_devices_divides_threads_and_memory() -> None:
    devices = named("host", [measured("cpu")], threads=8, shares=3)
    assert [device.device_id for device in devices] == ["host-cpu0", "host-cpu1", "host-cpu2"]
    assert {(device.threads, device.memory_bytes, device.torch_device) for device in devices} == {(2, 3_000, "cpu")}


def test_each_gpu_is_a_device_and_none_is_divided() -> None:
    devices = named("host", [measured("cuda:0"), measured("cuda:1")], threads=8, shares=4)
    assert [device.device_id for device in devices] == ["host-cuda0", "host-cuda1"]
    assert {(device.threads, device.memory_bytes) for device in devices} == {(8, 9_000)}


def test_an_order_for_another_process_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    devices = named("host", [measured("cpu")], threads=1, shares=1)
    nothing: Any = None
    attempts = Attempts("host", devices, RunnerSettings(data_dir=str(tmp_path)), nothing, nothing)
    launch = Launch(
        tenant="acme", run_id="run-1", job_id="job-1", attempt=1, fence=1, device_id="host-cpu",
        recipe=Recipe(base_model=SHIPPED_MODEL), dataset_uri="", dataset_digest="", checkpoint_every=1, micro_tokens=0,
        mark=mark_of("session-of-another"),
    )  # fmt: skip
    assert not attempts.begin(launch)
    assert not attempts.held
