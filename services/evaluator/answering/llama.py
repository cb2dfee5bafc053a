"""Models that speak through llama.cpp. Imports no torch.

A small base is copied for each adapter, which is merged into it; a larger one is mapped once for all adapters on it.
"""

import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from libs.lm import ggufs, llama
from libs.lm.adapters import BadAdapter
from libs.lm.chat import ChatFormat
from libs.lm.pace import Pace
from libs.lm.sampling import Logits
from services.evaluator.answering.models import Key, fingerprint
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.engines import LLAMA
from services.evaluator.domain.recalling import BLOCK, Readings, whole

MERGED = 2**29
"""Bytes of a base up to which an adapter is merged into a copy of it: the products it would add to every matrix take an
eighth of a small model's token; of a larger one a copy for each adapter takes more memory than that is worth."""
Read = TypeVar("Read")


class LlamaModel:
    """A base, or an adapter on it."""

    side_by_side = True

    def __init__(
        self, key: Key, weights: llama.Weights, adapter: llama.Adapter | None, pace: Pace, readings: Readings[Key, Any]
    ) -> None:
        self.key = key
        self.chat = ChatFormat.load(Path(key.base))
        shape = ggufs.shape_of(Path(key.base))
        assert shape
        self.context = shape.max_position_embeddings
        place = "beside" if adapter else "merged"
        self.fingerprint = fingerprint(key, LLAMA, llama.VERSION, ggufs.FORMAT, place, platform.machine())
        self._weights = weights
        self._adapter = adapter
        self._pace = pace
        self._readings = readings

    def recall(self, ids: list[int]) -> tuple[llama.Memory, int]:
        """Return a memory with what was read before of a prompt that begins so, and how many tokens that is."""
        memory = llama.Memory(self._weights, self._adapter, pace=self._pace, block=BLOCK)
        found = self._readings.recall(self.key, ids)
        if found is None:
            return memory, 0
        memory.recall(found.kept, found.tokens)
        return memory, found.tokens

    def read(self, ids: list[int], memory: llama.Memory, share: int = 0) -> Logits:
        """Read tokens after those in a memory; return the scores of what follows."""
        return memory.read(ids, share)

    def remember(self, ids: list[int], memory: llama.Memory) -> None:
        """Keep the whole blocks of a prompt that was just read."""
        if read := whole(len(ids)):
            state = memory.state()
            self._readings.keep(self.key, ids[:read], state, len(state.octets))


class Llama:
    """llama.cpp as an engine."""

    def __init__(self, spec: Spec, readings: Readings[Key, Any]) -> None:
        self._spec = spec
        self._readings = readings
        self._bases: WeakValueDictionary[str, llama.Weights] = WeakValueDictionary()
        self._paces: dict[tuple[str, bool], Pace] = {}

    def load(self, key: Key) -> LlamaModel:
        """Load a model, its base's file made first if need be; ``BadAdapter`` when its adapter does not fit."""
        base = ggufs.base_file(Path(key.base), Path(self._spec.cache))
        lora = ggufs.lora_of(Path(key.adapter), Path(key.base)) if key.adapter else None
        if lora and base.stat().st_size <= MERGED:
            merged = self._read(lambda file: ggufs.write_merged(lora, base, file), llama.Weights)
            return self._model(key, merged, None)
        weights = self._bases.get(key.base) or llama.Weights(base)
        self._bases[key.base] = weights
        adapter = self._put_on(weights, lora) if lora else None
        return self._model(key, weights, adapter)

    def drop(self, model: LlamaModel) -> None:
        """Let a model go: memory is given back when nothing speaks from it."""

    def _model(self, key: Key, weights: llama.Weights, adapter: llama.Adapter | None) -> LlamaModel:
        """Make a model; those whose tokens cost the same share what was learnt about threads."""
        new = Pace(self._spec.threads, alone=weights.size <= llama.ALONE)
        pace = self._paces.setdefault((key.base, adapter is None), new)
        return LlamaModel(key, weights, adapter, pace, self._readings)

    def _put_on(self, weights: llama.Weights, lora: ggufs.Lora) -> llama.Adapter:
        try:
            return self._read(lambda file: ggufs.write_adapter(lora, file), lambda file: llama.Adapter(weights, file))
        except llama.NoLlama as error:
            raise BadAdapter(str(error)) from error

    def _read(self, write: Callable[[Path], None], read: Callable[[Path], Read]) -> Read:
        """Let llama.cpp read a file that is written for that alone; what it mapped of it stays."""
        with tempfile.TemporaryDirectory(dir=self._spec.cache) as folder:
            file = Path(folder) / "read.gguf"
            write(file)
            return read(file)
