"""The shape of an adapter Woodshed accepts: ours, closed, and nothing that could run.

``adapter_config.json`` as PEFT reads it may name modules to import and paths to open; only the fields below, with
these values, are taken, and only weights in safetensors for the linear layers. Serves the trainer (which writes
adapters), the evaluator and whoever takes one from outside. No torch here.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
WHOLE = "model.safetensors"
"""The weights of a model trained as a whole; they lie where an adapter would and replace the base's."""
Target = Literal[
    "c_attn", "c_fc", "c_proj", "dense", "dense_4h_to_h", "dense_h_to_4h", "down_proj", "fc1", "fc2", "fc_in", "fc_out",
    "gate_proj", "gate_up_proj", "k_proj", "o_proj", "out_proj", "q_proj", "qkv_proj", "query_key_value", "up_proj",
    "v_proj",
]  # fmt: skip
"""The names that linear layers of a block have in transformers' architectures; never a head or an embedding."""
TARGETS: tuple[Target, ...] = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
"""All linear layers of a Llama, Mistral or Qwen block, in name order so that equal adapters have equal files."""

_TENSOR = re.compile(
    rf"base_model\.model\.(?:[a-z_]{{1,40}}\.){{1,3}}\d{{1,3}}\.(?:[a-z_]{{1,40}}\.){{0,3}}(?:{'|'.join(get_args(Target))})"
    r"\.lora_([AB])\.weight"
)
_HEADER_LIMIT = 16 * 2**20


class BadAdapter(ValueError):
    """An adapter is not of the shape Woodshed accepts; the message names the field, file or tensor."""


class AdapterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``adapter_config.json``, the part of PEFT's LoRA configuration that Woodshed writes and reads."""

    base_model_name_or_path: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    r: Annotated[int, Meta(ge=1, le=256)]
    lora_alpha: Annotated[int, Meta(ge=1, le=512)]
    lora_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    target_modules: tuple[Target, ...] = TARGETS
    peft_type: Literal["LORA"] = "LORA"
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"
    bias: Literal["none"] = "none"
    inference_mode: bool = True


def write_config(folder: Path, config: AdapterConfig) -> None:
    """Write ``adapter_config.json``; equal configurations give equal bytes."""
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def check(folder: Path) -> AdapterConfig:
    """Read an adapter's configuration and its weights' header; ``BadAdapter`` says what is not accepted.

    Values are checked by whoever loads them (NaN needs the numbers). Source of the header's layout: safetensors,
    8 bytes of little-endian length, then JSON.
    """
    config = _config(folder / CONFIG)
    for name, entry in _header(folder / WEIGHTS).items():
        _check_tensor(name, entry, config.r)
    return config


def _config(file: Path) -> AdapterConfig:
    try:
        return msgspec.json.decode(file.read_bytes(), type=AdapterConfig)
    except FileNotFoundError:
        raise BadAdapter(f"{file.name} is missing: give the folder that training wrote.") from None
    except msgspec.MsgspecError as error:
        raise BadAdapter(f"{file.name} is not one that Woodshed writes: {error}.") from error


def _header(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _HEADER_LIMIT:
                raise BadAdapter(f"{file.name} has a header of {length} bytes: it is no adapter.")
            header = json.loads(stream.read(length))
    except FileNotFoundError:
        raise BadAdapter(f"{file.name} is missing: only safetensors weights are accepted.") from None
    except (ValueError, RecursionError) as error:
        raise BadAdapter(f"{file.name} is not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise BadAdapter(f"{file.name} is not a safetensors file: its header is no object.")
    header.pop("__metadata__", None)
    return header


def _check_tensor(name: str, entry: object, rank: int) -> None:
    found = _TENSOR.fullmatch(name)
    if found is None:
        raise BadAdapter(f"The weights hold {name[:120]!r}, which is no LoRA weight of a linear layer.")
    if not isinstance(entry, dict):
        raise BadAdapter(f"{name} is described by no object.")
    shape = entry.get("shape")
    side = 0 if found[1] == "A" else 1
    if entry.get("dtype") not in ("F32", "BF16", "F16") or not isinstance(shape, list) or len(shape) != 2:
        raise BadAdapter(f"{name} is no matrix of floating-point numbers.")
    if shape[side] != rank:
        raise BadAdapter(f"{name} has rank {shape[side]}, the configuration says {rank}.")
