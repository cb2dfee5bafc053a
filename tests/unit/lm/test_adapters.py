"""Only the adapter's closed shape is taken; whatever could run or surprise is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from libs.lm.adapters import CONFIG, WEIGHTS, AdapterConfig, BadAdapter, check, write_config

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
OURS = AdapterConfig(base_model_name_or_path="SmolLM2-135M-Instruct", r=8, lora_alpha=16)


def _weights(folder: Path, tensors: dict[str, Any]) -> None:
    header = json.dumps(tensors).encode()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_config(tmp_path, OURS)
    _weights(tmp_path, {NAME: {"dtype": "F32", "shape": [8, 576], "data_offsets": [0, 0]}})
    return tmp_path


def test_our_own_adapter_is_taken(adapter: Path) -> None:
    assert check(adapter) == OURS


@pytest.mark.parametrize(
    "change",
    [
        {"auto_mapping": {"parent_library": "os"}},
        {"base_model_name_or_path": "/etc/passwd"},
        {"base_model_name_or_path": "../model"},
        {"peft_type": "PROMPT_TUNING"},
        {"target_modules": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"r": 100_000},
        {"bias": "all"},
    ],
)
def test_a_configuration_that_says_more_is_refused(adapter: Path, change: dict[str, Any]) -> None:
    config = json.loads((adapter / CONFIG).read_text()) | change
    (adapter / CONFIG).write_text(json.dumps(config))
    with pytest.raises(BadAdapter, match=CONFIG):
        check(adapter)


@pytest.mark.parametrize(
    "tensors",
    [
        {"base_model.model.lm_head.weight": {"dtype": "F32", "shape": [8, 8]}},
        {NAME: {"dtype": "I64", "shape": [8, 576]}},
        {NAME: {"dtype": "F32", "shape": [9, 576]}},
        {NAME: {"dtype": "F32", "shape": [8]}},
    ],
)
def test_weights_that_are_no_lora_of_this_rank_are_refused(adapter: Path, tensors: dict[str, Any]) -> None:
    _weights(adapter, tensors)
    with pytest.raises(BadAdapter):
        check(adapter)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle" * 9, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0no"])
def test_a_file_that_is_no_safetensors_is_refused(adapter: Path, data: bytes) -> None:
    (adapter / WEIGHTS).write_bytes(data)
    with pytest.raises(BadAdapter, match=WEIGHTS):
        check(adapter)


def _file(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


HOSTILE = {
    "a header larger than any": _file(b"{}", 2**40),
    "a header that is longer than the file": _file(b'{"a"', 2**20),
    "a header nested beyond reading": _file(b"[" * 100_000 + b"]" * 100_000),
    "a header that is a list": _file(b"[]"),
    "a name that is a path": _file(b'{"../../etc/passwd": {"dtype": "F32", "shape": [8, 576]}}'),
    "a name with a NUL": _file(b'{"base_model\\u0000": {"dtype": "F32", "shape": [8, 576]}}'),
    "a tensor that is no object": _file(b'{"%b": 5}' % NAME.encode()),
    "a shape of words": _file(b'{"%b": {"dtype": "F32", "shape": ["8", "576"]}}' % NAME.encode()),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_before_anything_is_read_of_its_values(adapter: Path, data: bytes) -> None:
    (adapter / WEIGHTS).write_bytes(data)
    with pytest.raises(BadAdapter):
        check(adapter)


def test_pickled_weights_do_not_stand_in(adapter: Path) -> None:
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(BadAdapter, match="only safetensors"):
        check(adapter)
