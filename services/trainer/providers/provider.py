"""The five methods of a provider, and what they speak of.

A provider lends *machines that run our runner* (``python -m services.trainer.runner``), never attempts: the runner
dials in, its devices are leased like any other's, and the rest of Woodshed cannot tell where it stands.
"""

from typing import Literal, Protocol

from msgspec import Struct

Seen = Literal["pending", "running", "exited", "gone", "unknown"]
"""What a provider says of a machine. ``exited``: it ended, its remains are there; ``unknown``: nobody could tell."""

SHELL = 'python -m libs.lm.shipped "$WOODSHED_MODELS_DIR" && exec python -m services.trainer.runner'
"""What a container from the runner's image does; ``exec``, so that a signal reaches the runner itself."""


SHORTEST_NOTICE = 1.0


class Need(Struct, frozen=True, kw_only=True):
    """What a machine must have; ``devices`` is its GPUs, or 1 for a machine without."""

    devices: int = 1


class Offer(Struct, frozen=True, kw_only=True):
    """A machine that can be had now: its kind as the provider spells it, and what an hour of all of it costs."""

    kind: str
    price: float


class Spec(Struct, frozen=True, kw_only=True):
    """The machine to launch. ``owner`` marks it as this installation's, ``kind`` is of the offer taken."""

    owner: str
    pool: str
    kind: str


class Found(Struct, frozen=True, kw_only=True):
    """A machine that a provider holds for an owner, by the key it was launched with."""

    key: str
    handle: str


class Provider(Protocol):
    """Launches, watches and ends machines.

    Every method may raise ``Busy`` (no answer, or not now: ask again ``after`` seconds) and ``Rejected`` (never, as
    it is configured), but for ``observe``, which then says ``unknown``. ``certain``: what it says of an end is the
    kernel's word; the states that an API tells may flap.
    """

    certain: bool

    async def offers(self, need: Need) -> list[Offer]:
        """Return what can be had now, the best first; empty: nothing that fits."""
        ...

    async def launch(self, spec: Spec, key: str) -> str:
        """Have a machine of this key, whose runner bears it as its name, and return its handle.

        Safe to repeat: one that is there already, whoever asked for it, is returned and no second is made.
        """
        ...

    async def observe(self, handle: str) -> Seen:
        """Say how a machine is."""
        ...

    async def stop(self, handle: str, grace: float) -> None:
        """End a machine and remove what is left of it; its runner has ``grace`` seconds to save. Safe to repeat."""
        ...

    async def list(self, owner: str) -> list[Found]:
        """Return every machine that bears this owner's mark, also those whose launch was never answered."""
        ...


def in_container(key: str) -> dict[str, str]:
    """Return what a runner in a container of its image is told, whoever lends it."""
    return {"WOODSHED_RUNNER_NAME": key, "WOODSHED_MODELS_DIR": "/data/models", "WOODSHED_DATA_DIR": "/data/work"}


def notice(seconds: float) -> dict[str, str]:
    """Return how a runner is told the seconds between SIGTERM and its end."""
    return {"WOODSHED_NOTICE_SECONDS": str(max(SHORTEST_NOTICE, seconds))}
