"""Models that speak through transformers and PEFT: the adapter as training left it, on any architecture.

A base is loaded once for all its adapters, and switching between these moves no weights. A model trained as a whole
has weights of its own. Imports torch.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from libs.lm.adapters import WHOLE
from libs.lm.chat import ChatFormat
from libs.lm.generate import attach, become
from libs.lm.sampling import Logits
from services.evaluator.answering.models import Key, fingerprint
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.recalling import Readings, whole
from services.evaluator.scoring.machine import precision_for

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, shape (1, heads, tokens, width)."""


class Weights:
    """Weights in memory, with the adapters on them."""

    def __init__(self, causal: Any) -> None:
        self.causal = causal.eval()
        self._adapted: Any = None
        self._on: str | None = None

    def add(self, adapter: str) -> None:
        """Put an adapter on; ``BadAdapter`` when it does not fit."""
        below = self.causal if self._adapted is None else self._adapted
        self._adapted = attach(below, Path(adapter), _name(adapter)).eval()
        self._on = None

    def remove(self, adapter: str) -> None:
        """Take an adapter off."""
        self._adapted.delete_adapter(_name(adapter))
        self._on = None

    def use(self, adapter: str) -> None:
        """Let the next tokens be those of this adapter, or of the base."""
        if self._adapted is None or self._on == adapter:
            return
        if adapter:
            self._adapted.base_model.enable_adapter_layers()
            self._adapted.base_model.set_adapter(_name(adapter), inference_mode=True)
        else:
            self._adapted.base_model.disable_adapter_layers()
        self._on = adapter


class TransformersModel(NamedTuple):
    """Weights, and the adapter on them. ``key`` is its own among those whose prompts ``readings`` keeps."""

    key: Key
    weights: Weights
    adapter: str
    chat: ChatFormat
    context: int
    fingerprint: str
    readings: Readings[Key, Layers]

    @property
    def side_by_side(self) -> bool:
        """One at a time: adapters on the same weights are switched before each token."""
        return False

    def read(self, ids: list[int], memory: Any, share: int = 0) -> Logits:
        """Read tokens after those in a memory; return the scores of what follows. All threads are torch's."""
        self.weights.use(self.adapter)
        causal = self.weights.causal
        given = torch.tensor([ids], device=causal.device)
        with torch.inference_mode():
            said = causal(input_ids=given, past_key_values=memory, use_cache=True, logits_to_keep=1)
        scores: Logits = said.logits[0, -1].float().cpu().numpy()
        return scores

    def recall(self, ids: list[int]) -> tuple[DynamicCache, int]:
        """Return a memory with what was read before of a prompt that begins so, and how many tokens that is."""
        cache = DynamicCache(config=self.weights.causal.config)
        found = self.readings.recall(self.key, ids)
        if found is None:
            return cache, 0
        for number, (keys, values) in enumerate(found.kept):
            cache.update(keys[:, :, : found.tokens], values[:, :, : found.tokens], number)
        return cache, found.tokens

    def remember(self, ids: list[int], memory: DynamicCache) -> None:
        """Keep what was just read of a prompt, unless some layer of the model forgets as it reads.

        A cache grows by making new tensors, so what is kept are those it has now, and nothing is copied.
        """
        if any(memory.is_sliding):
            return
        layers = [(layer.keys, layer.values) for layer in memory.layers]
        size = sum(each.untyped_storage().nbytes() for pair in layers for each in pair)
        self.readings.keep(self.key, ids[: whole(len(ids))], layers, size)


class Transformers:
    """transformers as an engine; bases stay as long as one of its models needs them."""

    def __init__(self, spec: Spec, readings: Readings[Key, Any]) -> None:
        torch.set_num_threads(spec.threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._precision = precision_for(spec.precision, self._device)
        self._readings = readings
        self._bases: dict[str, Weights] = {}
        self._loaded: set[Key] = set()

    @property
    def bases(self) -> tuple[str, ...]:
        """The base models in memory."""
        return tuple(self._bases)

    def load(self, key: Key) -> TransformersModel:
        """Load a model; ``BadAdapter`` when its adapter does not fit."""
        whole = bool(key.adapter) and (Path(key.adapter) / WHOLE).is_file()
        weights = Weights(become(self._read(key.base), Path(key.adapter))) if whole else self._on_base(key)
        self._loaded.add(key)
        return TransformersModel(
            key,
            weights,
            "" if whole else key.adapter,
            ChatFormat.load(Path(key.base)),
            weights.causal.config.max_position_embeddings,
            fingerprint(key, self._device, self._precision, torch.__version__),
            self._readings,
        )

    def drop(self, model: TransformersModel) -> None:
        """Take a model's adapter off, and let its base go with the last of its models."""
        self._loaded.discard(model.key)
        if model.adapter:
            model.weights.remove(model.adapter)
        if not any(each.base == model.key.base for each in self._loaded):
            self._bases.pop(model.key.base, None)

    def _on_base(self, key: Key) -> Weights:
        weights = self._bases.get(key.base) or Weights(self._read(key.base))
        if key.adapter:
            weights.add(key.adapter)
        self._bases[key.base] = weights
        return weights

    def _read(self, base: str) -> Any:
        dtype = getattr(torch, self._precision)
        return AutoModelForCausalLM.from_pretrained(base, dtype=dtype).to(self._device)


def _name(adapter: str) -> str:
    """Return what an adapter is called among others: its folder is named after its weights' hash."""
    return Path(adapter).name.replace(".", "_")
