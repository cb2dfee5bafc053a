"""Memory that runs out while a model is measured costs a smaller batch; what it costs at worst is a unit test."""

from pathlib import Path

import msgspec
import pytest

from contracts.evaluations import EvaluationFailed, ReportReady
from libs.storage import Storage
from services.evaluator.report.data import ReportData
from tests.integration.evaluator.conftest import PATIENCE, Bench
from tests.sabotage import spoiled

OUT_OF_MEMORY = """
def spoil(module):
    whole, told = module._batch, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes."

    def batch(model, encoded):
        if sum(len(each.ids) for each in encoded) > {limit}:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. " + told)
        return whole(model, encoded)

    module._batch = batch
"""


def runs_out_above(limit: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in spoiled(folder, "libs.lm.score", OUT_OF_MEMORY.format(limit=limit)).items():
        monkeypatch.setenv(name, value)


async def test_a_measurement_that_ran_out_of_memory_is_made_in_smaller_batches(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_out_above(600, tmp_path / "spoil", monkeypatch)
    async with bench.running(await bench.app()):
        await bench.world.tell(await bench.finished.run(1.0))
        (ready,) = await bench.world.told(ReportReady, timeout=PATIENCE)
    assert ready.verdict == "worse"
    assert await _conversations(bench.platform.storage, ready) == 12
    assert await bench.world.all_told(EvaluationFailed) == []


async def _conversations(storage: Storage, ready: ReportReady) -> int:
    data = msgspec.json.decode(await storage.get_bytes(ready.json_uri), type=ReportData)
    return next(each.items for each in data.scores if each.suite == "perplexity")
