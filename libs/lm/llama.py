"""llama.cpp in this process, through the C interface of the library inside xllamacpp's wheel.

Only what replies need: one base in memory (mapped from its file), adapters put on it whenever they are wanted, and for
each conversation a memory of its own that one adapter, or none, reads and speaks from. xllamacpp's own server takes
adapters only when it starts, and batches whoever speaks; with the C interface a reply does not depend on who else is
asked. Structures are passed by value, so their layout has to be that of exactly one build: another version, a library
without these functions or a machine without the wheel have no llama.cpp (:func:`available`). Imports no torch.

Source of the layouts: ``include/llama.h`` of the llama.cpp in xllamacpp 2026.10.11549 (MIT).
"""

import ctypes
import sys
import time
import weakref
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from libs.lm.pace import Pace
from libs.lm.sampling import Logits

VERSION = "2026.10.11549"
"""Of xllamacpp: the build whose structures are described here."""
ROOM = 512
"""Tokens a memory holds at first; it doubles when it is full."""
ALONE = 2**30
"""Bytes of weights up to which one thread speaks first: for a token of a small model several wait for each other longer
than they compute (the shipped model, 0.27 GB, on two busy cores: 43 tokens a second by one thread, 22 by two)."""
PLAIN = 0
"""No flash attention: for longer conversations it divides a token's sums among threads, so that their number shows in
the last bits, and it costs a token of a short one 3 % more (a prompt 6 % less)."""
ERROR = 4
HALF = 1
"""The number format of keys and values, 16 bits, by ggml's numbers."""


class NoLlama(RuntimeError):
    """llama.cpp could not do what it was asked; the message says what."""


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("devices", "overrides")),
        *((name, c_int32) for name in ("gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")),
        *((name, c_void_p) for name in ("tensor_split", "progress", "progress_data", "kv_overrides")),
        *((name, c_bool) for name in ("vocab_only", "check", "extra_bufts", "no_host", "no_alloc", "load_mtp")),
    )


class _Context(ctypes.Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        *((name, c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch")),
        *((name, c_int) for name in ("kind", "rope_scaling", "pooling", "attention", "flash_attention")),
        *((name, c_float) for name in ("rope_base", "rope_scale", "yarn_ext", "yarn_attn", "yarn_fast", "yarn_slow")),
        ("yarn_orig", c_uint32),
        ("defrag", c_float),
        *((name, c_void_p) for name in ("on_eval", "on_eval_data")),
        *((name, c_int) for name in ("type_k", "type_v")),
        ("moe_cache", c_size_t),
        *((name, c_void_p) for name in ("abort", "abort_data")),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("other", c_void_p),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


_Heard = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (_Heard, c_void_p)),
    "llama_model_default_params": (_Model, ()),
    "llama_context_default_params": (_Context, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, _Model)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_adapter_lora_free": (None, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, _Context)),
    "llama_free": (None, (c_void_p,)),
    "llama_set_adapters_lora": (c_int32, (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float))),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_batch_get_one": (_Batch, (POINTER(c_int32), c_int32)),
    "llama_decode": (c_int32, (c_void_p, _Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
}


def available() -> bool:
    """Tell whether this machine has the llama.cpp described here."""
    return _library() is not None


@cache
def _library() -> Any:
    spec = find_spec("xllamacpp")
    try:
        if spec is None or spec.origin is None or version("xllamacpp") != VERSION:
            return None
        (file,) = Path(spec.origin).parent.glob("xllamacpp*.so")
        return _described(ctypes.CDLL(str(file)))
    except (OSError, ValueError, AttributeError, PackageNotFoundError):
        return None


def _described(library: Any) -> Any:
    """Say of each function what it takes and gives; None where the defaults it names are not where they should be."""
    for name, (gives, takes) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    usual = library.llama_context_default_params()
    if (usual.n_ctx, usual.n_batch, usual.n_seq_max, usual.type_k, usual.type_v) != (512, 2048, 1, HALF, HALF):
        return None
    library.llama_log_set(_HEARD, None)
    library.llama_backend_init()
    return library


def _on_log(level: int, text: bytes, _data: object) -> None:
    if level == ERROR:
        sys.stderr.write(text.decode(errors="replace"))


_HEARD = _Heard(_on_log)


class Weights:
    """A base model in memory. ``NoLlama`` when the file is none that llama.cpp reads."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise NoLlama(f"{file} is missing.")
        lib = _library()
        settings = lib.llama_model_default_params()
        settings.gpu_layers = 0
        self.size = file.stat().st_size
        self.handle = _made(lib.llama_model_load_from_file(str(file).encode(), settings), f"read {file.name}")
        self.vocabulary = int(lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.handle)))
        _freed_with(self, lib.llama_model_free, self.handle)


class Adapter:
    """An adapter in memory, for one base. ``NoLlama`` when it does not fit; its file is not needed afterwards."""

    def __init__(self, weights: Weights, file: Path) -> None:
        lib = _library()
        self.weights = weights
        self.handle = _made(lib.llama_adapter_lora_init(weights.handle, str(file).encode()), "put the adapter on")
        _freed_with(self, lib.llama_adapter_lora_free, self.handle, weights)


class State(NamedTuple):
    """What a memory holds, and of how many tokens."""

    octets: bytes
    tokens: int


class Memory:
    """What one conversation's model has read, in blocks of up to ``block`` tokens, and may go on from."""

    def __init__(self, weights: Weights, adapter: Adapter | None, *, pace: Pace, block: int) -> None:
        self._weights = weights
        self._adapter = adapter
        self._pace = pace
        self._block = block
        self._room = ROOM
        self._used = 0
        self._closing: Callable[[], object] | None = None
        self._open()

    def read(self, ids: list[int], share: int = 0) -> Logits:
        """Read tokens after what was read; return the scores of what follows. ``MemoryError`` when there is no room.

        ``share`` is the most threads it may take while other memories read too, each in a thread of Python's; 0:
        nothing else reads, a prompt takes all, and for a token its ``pace`` chooses.
        """
        self._hold(self._used + len(ids))
        if failed := self._go_on(ids, share):
            raise NoLlama(f"llama.cpp could not read {len(ids)} tokens after {self._used} ({failed}).")
        self._used += len(ids)
        found = np.ctypeslib.as_array(_library().llama_get_logits_ith(self._handle, -1), (self._weights.vocabulary,))
        return found.copy()

    def _go_on(self, ids: list[int], share: int) -> int:
        most = share or self._pace.most
        _library().llama_set_n_threads(self._handle, min(self._pace.threads, most), most)
        return self._paced(ids) if len(ids) == 1 and not share else self._decode(ids)

    def _paced(self, ids: list[int]) -> int:
        began = time.perf_counter()
        failed = self._decode(ids)
        self._pace.took(time.perf_counter() - began)
        return failed

    def _decode(self, ids: list[int]) -> int:
        lib, given = _library(), (c_int32 * len(ids))(*ids)
        return int(lib.llama_decode(self._handle, lib.llama_batch_get_one(given, len(ids))))

    def state(self) -> State:
        """Return what was read, for another memory of the same model."""
        lib = _library()
        size = lib.llama_state_seq_get_size(self._handle, 0)
        kept = (c_uint8 * size)()
        written = lib.llama_state_seq_get_data(self._handle, kept, size, 0)
        return State(bytes(memoryview(kept)[:written]), self._used)

    def recall(self, state: State, tokens: int) -> None:
        """Begin with the first ``tokens`` of what another memory had read."""
        self._hold(state.tokens)
        self._take(state)
        lib = _library()
        lib.llama_memory_seq_rm(lib.llama_get_memory(self._handle), 0, tokens, -1)
        self._used = tokens

    def _take(self, state: State) -> None:
        given = (c_uint8 * len(state.octets)).from_buffer_copy(state.octets)
        if not _library().llama_state_seq_set_data(self._handle, given, len(state.octets), 0):
            raise NoLlama("llama.cpp could not recall what it had read.")

    def _hold(self, tokens: int) -> None:
        """Make room for so many tokens in all."""
        if tokens <= self._room:
            return
        state = self.state() if self._used else None
        while self._room < tokens:
            self._room *= 2
        self._open()
        if state:
            self._take(state)

    def _open(self) -> None:
        lib = _library()
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = self._room, self._block, self._block
        settings.n_outputs_max = 1
        settings.n_threads = settings.n_threads_batch = self._pace.most
        settings.flash_attention = PLAIN
        settings.type_k = settings.type_v = HALF
        settings.no_perf = True
        if self._closing:
            self._closing()
        self._handle = lib.llama_init_from_model(self._weights.handle, settings)
        if not self._handle:
            raise MemoryError(f"llama.cpp found no memory for a conversation of {self._room} tokens.")
        self._closing = _freed_with(self, lib.llama_free, self._handle, self._weights, self._adapter)
        if self._adapter:
            lib.llama_set_adapters_lora(self._handle, (c_void_p * 1)(self._adapter.handle), 1, (c_float * 1)(1.0))


def _freed_with(owner: object, free: Callable[[int], None], handle: int, *needs: object) -> Callable[[], object]:
    """Free what llama.cpp made when its owner goes, and before anything that it needs, in whatever order all go."""
    closing = weakref.finalize(owner, lambda handle, *_: free(handle), handle, *needs)
    closing.atexit = False
    return closing


def _made(handle: int | None, what: str) -> int:
    if not handle:
        raise NoLlama(f"llama.cpp could not {what}.")
    return handle
