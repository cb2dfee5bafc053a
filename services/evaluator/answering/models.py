"""The models that are in memory, and the engine that each of them speaks through.

llama.cpp speaks where it knows the architecture and the machine has no graphics card; what it cannot do, and what was
released through transformers, is transformers'. An engine is imported when the first model needs it. What was released
through llama.cpp never speaks through another unless the setting says transformers, which is what it was compared with.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from libs.lm import ggufs, llama
from libs.lm.adapters import WHOLE
from libs.lm.chat import ChatFormat
from libs.lm.models import RECORD, record_of
from libs.lm.sampling import Logits
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.engines import LLAMA, TRANSFORMERS
from services.evaluator.domain.keeping import Shelf
from services.evaluator.domain.recalling import Readings

GRAPHICS = ("/dev/nvidiactl", "/dev/kfd")
"""There where a graphics card's driver is: transformers speaks from the card, and faster than a processor."""


class Key(NamedTuple):
    """A model by its folders: a base, and the adapter on it, if any; and the engine it has to speak through, if any."""

    base: str
    adapter: str
    engine: str = ""


class Model(Protocol):
    """A model that can speak: its format, its context in tokens, its fingerprint.

    A memory holds what one conversation's model has read; it is the engine's own and goes when nobody holds it.
    """

    @property
    def chat(self) -> ChatFormat: ...

    @property
    def context(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def side_by_side(self) -> bool:
        """Whether several of its memories may be read at the same time."""

    def recall(self, ids: list[int]) -> tuple[Any, int]:
        """Return a memory with what was read before of a prompt that begins so, and how many tokens that is."""

    def read(self, ids: list[int], memory: Any, share: int = 0) -> Logits:
        """Read tokens after those in a memory; return the scores of what follows.

        ``share`` is how many threads it may take while other memories are read; 0: it is alone.
        """

    def remember(self, ids: list[int], memory: Any) -> None:
        """Keep what was just read of a prompt."""


class Engine(Protocol):
    """Loads models; what it keeps of them goes with the last one that needs it."""

    def load(self, key: Key) -> Model:
        """Load a model; ``BadAdapter`` when its adapter does not fit."""

    def drop(self, model: Any) -> None:
        """Let a model go."""


class Models:
    """Up to ``kept`` models, whatever they speak through."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._readings: Readings[Key, Any] = Readings(spec.prompt_bytes)
        self._engines: dict[str, Engine] = {}
        self._shelf: Shelf[Key, tuple[Engine, Model]] = Shelf(spec.kept)

    def get(self, key: Key, speaking: set[Key]) -> Model:
        """Return a model, loaded if it is not there. ``Full`` when it has to wait for one of those ``speaking``."""
        return self._shelf.get(key, lambda: self._load(key), self._drop, speaking)[1]

    @property
    def kept(self) -> tuple[Key, ...]:
        """The models in memory, the one asked for last at the end."""
        return self._shelf.kept

    def _load(self, key: Key) -> tuple[Engine, Model]:
        if not speaks_llama(self._spec.engine, key):
            return self._through(TRANSFORMERS, key)
        try:
            return self._through(LLAMA, key)
        except (llama.NoLlama, OSError) as error:
            if key.engine:
                raise
            print(f"transformers speaks for {Path(key.base).name}: {error}", file=sys.stderr, flush=True)
            return self._through(TRANSFORMERS, key)

    def _through(self, name: str, key: Key) -> tuple[Engine, Model]:
        if name not in self._engines:
            self._engines[name] = _MAKERS[name](self._spec, self._readings)
        return self._engines[name], self._engines[name].load(key)

    def _drop(self, key: Key, loaded: tuple[Engine, Model]) -> None:
        self._readings.forget(key)
        engine, model = loaded
        engine.drop(model)


def speaks_llama(wanted: str, key: Key) -> bool:
    """Tell whether llama.cpp is to speak for a model, and can: ``wanted`` is the setting."""
    return (
        wanted != TRANSFORMERS
        and key.engine in ("", LLAMA)
        and (LLAMA in (wanted, key.engine) or not any(Path(each).exists() for each in GRAPHICS))
        and llama.available()
        and ggufs.shape_of(Path(key.base)) is not None
        and not (Path(key.adapter) / WHOLE).is_file()
    )


def fingerprint(key: Key, *made_of: str) -> str:
    """Return what is the same as long as equal seeds give equal replies."""
    base = Path(key.base)
    revision = record_of(base).revision if (base / RECORD).is_file() else key.base
    parts = (revision, Path(key.adapter).name, *made_of)
    return f"fp_{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _llama(spec: Spec, readings: Readings[Key, Any]) -> Engine:
    from services.evaluator.answering.llama import Llama

    return Llama(spec, readings)


def _transformers(spec: Spec, readings: Readings[Key, Any]) -> Engine:
    from services.evaluator.answering.transformer import Transformers

    return Transformers(spec, readings)


_MAKERS: dict[str, Callable[[Spec, Readings[Key, Any]], Engine]] = {LLAMA: _llama, TRANSFORMERS: _transformers}
