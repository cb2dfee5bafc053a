"""Which architectures take the fast path, and why another one does not: decided from a model's ``config.json`` alone.

The fast path packs conversations into one row, reads hidden states and multiplies them with a head that is nothing but
a matrix. That holds for the families of ``libs.lm.families``. Any other architecture is trained through its own
forward, one conversation at a time, which is exact for all of them and slower. No torch here.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from libs.lm.families import FAMILIES, Family, room, window_of

WINDOWED = "Only a model that sees the whole conversation is packed; this one looks back over {window} tokens."


class Way(Struct, frozen=True):
    """How a model is trained: on the fast path where there is a ``family``, else plainly, for the reason ``why``.

    ``longest`` is the longest conversation in tokens that the model can take, as far as that is less than was asked.
    """

    family: Family | None
    why: str
    longest: int

    @property
    def fast(self) -> bool:
        """Whether conversations are packed and the head runs on taught positions only."""
        return self.family is not None

    @property
    def words(self) -> str:
        """What a person is told of a model that is trained plainly."""
        return (
            f"{self.why} So it is trained the plain way, one conversation at a time through its own forward pass: "
            "what it learns is the same, but it takes longer and needs more memory."
        )


def way_of(model_dir: Path, longest: int) -> Way:
    """Decide how the model in a folder is trained on conversations of at most ``longest`` tokens."""
    config: dict[str, Any] = msgspec.json.decode((model_dir / "config.json").read_bytes())
    architecture = (config.get("architectures") or ["an architecture without a name"])[0]
    family, most = FAMILIES.get(architecture), room(architecture, config, longest)
    if family is None:
        known = ", ".join(dict.fromkeys(each.name for each in FAMILIES.values()))
        return Way(None, f"The fast path knows {known}; this base model is {architecture}.", most)
    window = window_of(config)
    if window and window < longest:
        return Way(None, WINDOWED.format(window=window), most)
    return Way(family, "", most)
