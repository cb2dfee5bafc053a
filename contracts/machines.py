"""Which machines train, asked of the trainer: whoever asks sees all of them, and of the jobs on them its own."""

from typing import ClassVar

from msgspec import Struct

from contracts.base import Count, Question, Seconds, Token


class ListMachines(Question, frozen=True, kw_only=True, tag="machine.list.v1"):
    """Which devices are there, and who is on them?"""

    subject: ClassVar[str] = "ask.trainer.machines"


class Device(Struct, frozen=True, kw_only=True):
    """A device of a runner's machine. ``jobs`` are the asker's own that train on it, ``others`` how many more do.

    ``heard_ago`` is how long the runner has been silent, null where the trainer was started since. ``pool`` names the
    pool of a rented machine. ``free_bytes`` is the memory that may still be given away.
    """

    device_id: Token
    runner: Token
    kind: str
    precision: str
    threads: Count
    memory_bytes: Count
    free_bytes: Count
    online: bool
    leaving: bool
    shared: bool
    jobs: tuple[Token, ...] = ()
    others: Count = 0
    heard_ago: Seconds | None = None
    pool: str = ""


class Machines(Struct, frozen=True, kw_only=True, tag="machine.list_answer.v1"):
    """The answer to :class:`ListMachines`; ``coming`` machines were asked for and have not been heard of yet."""

    devices: tuple[Device, ...]
    coming: Count = 0
