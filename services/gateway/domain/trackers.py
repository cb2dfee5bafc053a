"""An organisation's own key for Weights & Biases: how it is given, kept and shown."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from libs.sealing import Seal
from services.gateway.domain.wishes import Wish


class WandbKeyWish(Wish, frozen=True, kw_only=True):
    """A key of a user or a service account; runs are made in its name."""

    api_key: Annotated[str, Meta(min_length=20, max_length=512, pattern=r"^[!-~]+$")]


class WandbKey(Struct, kw_only=True):
    """The key that this organisation's jobs are shown with in Weights & Biases.

    ``api_key`` is the end of its own, null where it has none; ``available`` says whether a job may ask to be shown,
    with its own key or the installation's.
    """

    api_key: str | None
    available: bool
    object: Literal["wandb_key"] = "wandb_key"


def key_of(row: Any, seal: Seal) -> str:
    """Return the organisation's own key; empty: none, or none that this installation's secrets open."""
    return (row and seal.opened(row["sealed"], row["tenant"])) or ""


def shown(key: str, *, installation_has_one: bool) -> WandbKey:
    """Show of a key what tells it from others."""
    return WandbKey(api_key=f"…{key[-4:]}" if key else None, available=bool(key) or installation_has_one)
