"""llama.cpp in this process, on a Llama of two layers with random numbers: what memories hold, and how they go."""

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from libs.lm import ggufs, llama
from libs.lm.pace import Pace
from tests.integration.evaluator.conftest import SIZES, adapter
from tests.unit.lm.test_ggufs import LLAMA

pytestmark = pytest.mark.skipif(not llama.available(), reason="this machine has no llama.cpp")
BLOCK = 128


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, chance = tmp_path_factory.mktemp("base"), np.random.default_rng(3)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    weights = {"model.embed_tokens.weight": (100, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        place = f"model.layers.{layer}"
        weights |= {f"{place}.{each}.weight": (64,) for each in ("input_layernorm", "post_attention_layernorm")}
        for name, (inputs, outputs) in SIZES.items():
            part = "mlp" if 128 in (inputs, outputs) else "self_attn"
            weights[f"{place}.{part}.{name}_proj.weight"] = (outputs, inputs)
    made = {name: chance.normal(0, 0.3, size).astype(np.float32) for name, size in weights.items()}
    save_file(made, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def files(base: Path) -> tuple[Path, Path]:
    ggufs.write_adapter(ggufs.lora_of(adapter(base / "adapter", 0.3), base), base / "adapter.gguf")
    return ggufs.base_file(base, base / "cache"), base / "adapter.gguf"


@pytest.fixture
def weights(files: tuple[Path, Path]) -> llama.Weights:
    return llama.Weights(files[0])


@pytest.fixture
def tuned(weights: llama.Weights, files: tuple[Path, Path]) -> llama.Adapter:
    return llama.Adapter(weights, files[1])


class Steady(Pace):
    """Lets so many threads speak wherever it is free to choose."""

    def __init__(self, threads: int) -> None:
        super().__init__(2, alone=True)
        self._steady = threads

    @property
    def threads(self) -> int:
        return self._steady


def memory(weights: llama.Weights, on: llama.Adapter | None = None) -> llama.Memory:
    return llama.Memory(weights, on, pace=Pace(2, alone=True), block=BLOCK)


def read(into: llama.Memory, ids: list[int]) -> Any:
    return [into.read(ids[at : at + BLOCK]) for at in range(0, len(ids), BLOCK)][-1]


IDS = [int(each) for each in np.random.default_rng(4).integers(0, 100, 3 * llama.ROOM)]


def test_a_memory_grows_and_what_another_read_is_recalled_to_the_last_bit(
    weights: llama.Weights, tuned: llama.Adapter
) -> None:
    whole = memory(weights, tuned)
    scores = read(whole, IDS)
    again = memory(weights, tuned)
    again.recall(whole.state(), 2 * BLOCK)
    assert (read(again, IDS[2 * BLOCK :]) == scores).all()
    assert scores.shape == (100,)


def test_an_adapter_is_on_where_it_was_put_and_nowhere_else(weights: llama.Weights, tuned: llama.Adapter) -> None:
    plain, other = read(memory(weights), IDS[:9]), read(memory(weights, tuned), IDS[:9])
    assert np.abs(plain - other).max() > 0.01
    assert (read(memory(weights), IDS[:9]) == plain).all()


def test_one_thread_says_what_two_say_to_the_last_bit(weights: llama.Weights, tuned: llama.Adapter) -> None:
    one, other = (llama.Memory(weights, tuned, pace=Steady(each), block=BLOCK) for each in (1, 2))
    assert (read(one, IDS) == read(other, IDS)).all()
    assert all((one.read([token]) == other.read([token])).all() for token in IDS[:9])


def test_an_adapter_merged_into_its_base_says_what_it_says_beside_it(
    base: Path, weights: llama.Weights, tuned: llama.Adapter, files: tuple[Path, Path]
) -> None:
    ggufs.write_merged(ggufs.lora_of(base / "adapter", base), files[0], base / "merged.gguf")
    merged, beside = read(memory(llama.Weights(base / "merged.gguf")), IDS[:9]), read(memory(weights, tuned), IDS[:9])
    assert np.abs(merged - beside).max() < 0.05 < np.abs(merged - read(memory(weights), IDS[:9])).max()


def test_all_can_go_at_once_in_any_order(files: tuple[Path, Path]) -> None:
    """Python lets go of things that hold each other in an order of its own; llama.cpp dies of a wrong one."""
    for turn in range(4):
        weights: Any = llama.Weights(files[0])
        on: Any = llama.Adapter(weights, files[1])
        mind: Any = memory(weights, on)
        circle = [weights, on, mind][:: 1 if turn % 2 else -1]
        weights.circle = on.circle = mind.circle = circle
        del weights, on, mind, circle
        gc.collect()


def test_what_it_cannot_do_is_said(weights: llama.Weights, tmp_path: Path) -> None:
    with pytest.raises(llama.NoLlama, match="could not read 1 tokens"):
        memory(weights).read([100])
    with pytest.raises(llama.NoLlama, match="missing"):
        llama.Weights(tmp_path / "nothing.gguf")
    (tmp_path / "nonsense.gguf").write_bytes(b"nonsense")
    with pytest.raises(llama.NoLlama, match="put the adapter on"):
        llama.Adapter(weights, tmp_path / "nonsense.gguf")


def test_another_version_is_no_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "VERSION", "1.0")
    assert llama._library.__wrapped__() is None
