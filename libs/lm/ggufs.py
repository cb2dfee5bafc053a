"""Base models and adapters in the format that llama.cpp reads (GGUF), made here of the safetensors they come as.

Only Llama's own architecture (SmolLM2 is one) is known; whoever needs another keeps to transformers. No vocabulary is
written: conversations become tokens elsewhere (``libs.lm.chat``), and llama.cpp sees only these. Imports no torch.

Sources: the GGUF specification of ggml-org, and the order of rows in which llama.cpp keeps queries and keys of Llama
(``conversion/llama.py``, MIT): pairs that a rotation turns lie beside each other there, and half a head apart here.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from libs.lm.adapters import WEIGHTS, BadAdapter, check
from libs.lm.models import RECORD, record_of, revision_of, weights_of

FORMAT = "F16"
"""Number format of a base's matrices; vectors stay in 32 bits, adapters too."""
_MADE_BY = "1"
"""Raise it when the same weights become another file."""

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
Values = NDArray[Any]
_PART = 128
"""Rows that are merged at once: 0.6 processor seconds for the shipped model, against 2.5 in whole matrices."""
_TYPES: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Rope(Struct, frozen=True):
    """How positions turn queries and keys."""

    rope_theta: float = 10_000.0
    rope_type: str = "default"


class Shape(Struct, frozen=True, kw_only=True):
    """The part of a Llama's ``config.json`` that GGUF carries, and what has to be as it is for that to be enough."""

    architectures: tuple[str, ...]
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    vocab_size: int
    rms_norm_eps: float
    head_dim: int | None = None
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    rope_parameters: Rope = Rope()
    rope_scaling: Any = None
    rope_theta: float | None = None

    @property
    def known(self) -> bool:
        """Whether GGUF says all of it."""
        return (
            self.architectures == ("LlamaForCausalLM",)
            and self.hidden_act == "silu"
            and not (self.attention_bias or self.mlp_bias or self.rope_scaling)
            and self.rope_parameters.rope_type == "default"
            and self.head_dim in (None, self.hidden_size // self.num_attention_heads)
        )


def shape_of(base: Path) -> Shape | None:
    """Read a model's shape; None when it is not one that can be converted."""
    try:
        shape = msgspec.json.decode((base / "config.json").read_bytes(), type=Shape)
    except msgspec.MsgspecError:
        return None
    return shape if shape.known else None


def base_file(base: Path, cache: Path) -> Path:
    """Return a base's GGUF, made once for its weights and its configuration. ``ValueError`` for another architecture.

    It appears whole or not at all, and two who make it at once make the same.
    """
    shape = shape_of(base)
    if shape is None:
        raise ValueError(f"{base.name} has an architecture that is not converted here.")
    revision = record_of(base).revision if (base / RECORD).is_file() else revision_of(base)
    made_of = f"{_MADE_BY} {FORMAT} {revision} {(base / 'config.json').read_text()}"
    file = cache / f"{base.name}-{FORMAT}-{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.gguf"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with _appearing(file) as partial:
            _write_base(partial, base, shape)
    return file


class Lora(NamedTuple):
    """An adapter in llama.cpp's words: ``rows`` by name, a layer's with ``.lora_a`` and ``.lora_b`` behind it."""

    rows: dict[str, Values]
    alpha: int
    rank: int

    @property
    def scale(self) -> np.float32:
        """What the adapter's product is multiplied by."""
        return np.float32(self.alpha / self.rank)


def lora_of(adapter: Path, base: Path) -> Lora:
    """Read an adapter. ``BadAdapter`` when it is not of our shape, does not fit the base, or is damaged."""
    shape = shape_of(base)
    assert shape
    config = check(adapter)
    weights = {name: values.astype(np.float32) for name, values in _tensors(adapter / WEIGHTS)}
    _fits(weights, shape, config.r, config.target_modules)
    rows = {}
    for name, values in sorted(weights.items()):
        place, side = name.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".lora_", 1)
        turned = _turned(place, values, shape) if side == "B" else values
        rows[f"{_named(place)}.weight.lora_{side.lower()}"] = np.ascontiguousarray(turned)
    return Lora(rows, config.lora_alpha, config.r)


def write_adapter(lora: Lora, file: Path) -> None:
    """Write an adapter's GGUF."""
    writer = _writer(file)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(lora.alpha))
    for name, rows in lora.rows.items():
        writer.add_tensor(name, rows)
    _finish(writer)


def write_merged(lora: Lora, base: Path, file: Path) -> None:
    """Write a base's GGUF (``base``) again with what an adapter adds to its weights, summed up in 32 bits."""
    from gguf import GGUFReader

    given = np.memmap(base, np.uint8, "r")
    copied = 0
    with file.open("wb") as stream:
        for each in GGUFReader(base).tensors:
            if f"{each.name}.lora_a" in lora.rows:
                stream.write(given[copied : each.data_offset].data)
                a, b = (lora.rows[f"{each.name}.lora_{side}"] for side in "ab")
                for rows in _merged(each.data, a, b * lora.scale):
                    stream.write(rows.data)
                copied = each.data_offset + int(each.n_bytes)
        stream.write(given[copied:].data)


def _merged(given: Values, a: Values, b: Values) -> Iterator[Values]:
    """Yield rows with ``b @ a`` added to them, in parts small enough to stay near the processor."""
    for at in range(0, len(given), _PART):
        rows = slice(at, at + _PART)
        yield (b[rows] @ a + given[rows]).astype(given.dtype)


@contextmanager
def _appearing(file: Path) -> Iterator[Path]:
    """Give a file to be written beside ``file``, which it becomes; what is not written to its end leaves nothing."""
    number, name = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
    os.close(number)
    try:
        yield Path(name)
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def _write_base(file: Path, base: Path, shape: Shape) -> None:
    writer = _writer(file)
    heads = shape.num_attention_heads
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_rope_dimension_count(shape.hidden_size // heads)
    writer.add_rope_freq_base(shape.rope_theta or shape.rope_parameters.rope_theta)
    writer.add_tokenizer_model("no_vocab")
    for source in weights_of(base):
        for name, values in _tensors(source):
            place = name.removesuffix(".weight")
            if place != "lm_head" or not shape.tie_word_embeddings:
                kind = np.float16 if values.ndim == 2 else np.float32
                rows = _turned(place, values, shape)
                writer.add_tensor(f"{_named(place)}.weight", np.ascontiguousarray(rows, kind))
    _finish(writer)


def _writer(file: Path) -> Any:
    from gguf import GGUFWriter

    return GGUFWriter(file, "llama")


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _named(place: str) -> str:
    """Return what llama.cpp calls a layer's part."""
    if found := _LAYER.fullmatch(place):
        return f"blk.{found[1]}.{_NAMES[found[2]]}"
    return _NAMES[place]


def _turned(place: str, values: Values, shape: Shape) -> Values:
    """Put the rows of queries and keys in llama.cpp's order."""
    part = place.rsplit(".", 1)[-1]
    if part not in ("q_proj", "k_proj"):
        return values
    heads = shape.num_attention_heads if part == "q_proj" else shape.num_key_value_heads
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tensors(file: Path) -> Iterator[tuple[str, Values]]:
    """Yield a safetensors file's tensors, mapped from it; 16-bit brain floats are widened."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    octets = np.memmap(file, np.uint8, "r", offset=8 + length)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values: Values = octets[begin:end].view(_TYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        yield name, values.reshape(entry["shape"])


def _fits(weights: dict[str, Values], shape: Shape, rank: int, targets: Sequence[str]) -> None:
    """Raise ``BadAdapter`` unless the tensors are those that an adapter of this base has, and numbers."""
    wanted = {
        f"base_model.model.model.layers.{layer}.{place}.lora_{side}.weight": size
        for layer in range(shape.num_hidden_layers)
        for place, (inputs, outputs) in _sizes(shape).items()
        if place.rsplit(".", 1)[-1] in targets
        for side, size in (("A", (rank, inputs)), ("B", (outputs, rank)))
    }
    given = {name: values.shape for name, values in weights.items()}
    wrong = next((name for name in sorted(wanted | given) if wanted.get(name) != given.get(name)), None)
    if wrong is not None:
        raise BadAdapter(f"{wrong} is {given.get(wrong)} in the adapter and {wanted.get(wrong)} in the base model.")
    wrong = next((name for name, values in weights.items() if not np.isfinite(values).all()), None)
    if wrong is not None:
        raise BadAdapter(f"{wrong} holds numbers that are none (NaN or infinite): the adapter is damaged.")


def _sizes(shape: Shape) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of a block's linear layers."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    keys = hidden // shape.num_attention_heads * shape.num_key_value_heads
    return {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
