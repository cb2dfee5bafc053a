"""What is converted for llama.cpp, and what is not; that the numbers are right, tests on real models show."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from libs.lm import ggufs
from libs.lm.adapters import BadAdapter
from tests.integration.evaluator.conftest import adapter

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 100,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip


def base(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | changes))
    save_file({"model.norm.weight": np.ones(64, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["Qwen2ForCausalLM"]},
        {"attention_bias": True},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}},
        {"head_dim": 32},
        {"hidden_act": "gelu"},
        {"hidden_size": "sixty-four"},
    ],
)
def test_what_gguf_would_not_say_is_not_converted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert ggufs.shape_of(base(tmp_path / "base", **changes)) is None
    with pytest.raises(ValueError, match="architecture"):
        ggufs.base_file(tmp_path / "base", tmp_path / "cache")


def test_a_base_is_converted_once_for_its_weights_and_its_configuration(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = ggufs.base_file(base(tmp_path / "base"), cache)
    made = first.stat().st_mtime_ns
    assert ggufs.base_file(tmp_path / "base", cache) == first
    assert first.stat().st_mtime_ns == made
    assert ggufs.base_file(base(tmp_path / "base", max_position_embeddings=1024), cache) != first
    assert len(list(cache.iterdir())) == 2


def test_half_a_base_leaves_nothing(tmp_path: Path) -> None:
    save_file({"model.unheard_of.weight": np.ones(64, np.float32)}, base(tmp_path / "base") / "model.safetensors")
    with pytest.raises(KeyError):
        ggufs.base_file(tmp_path / "base", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_brain_floats_are_widened(tmp_path: Path) -> None:
    body = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + body)
    assert [(name, values.tolist()) for name, values in ggufs._tensors(tmp_path / "x")] == [("x", [1.5, -2.0])]


def test_an_adapter_that_does_not_fit_or_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    small = base(tmp_path / "base", num_hidden_layers=1)
    with pytest.raises(BadAdapter, match="None in the base model"):
        ggufs.lora_of(adapter(tmp_path / "other", 1.0), small)
    with pytest.raises(BadAdapter, match="NaN"):
        ggufs.lora_of(adapter(tmp_path / "nan", float("nan")), base(tmp_path / "base"))
