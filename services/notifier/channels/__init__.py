"""The ways to reach people. Each is one file that speaks one protocol.

A channel's ``send`` returns when the other side accepted the notice, raises ``Busy`` when it may
work later, and ``Rejected`` when it never will.
"""

from typing import Protocol

from services.notifier.domain.notice import Notice


class Channel(Protocol):
    """One way to reach people; ``name`` stands in its delivery records."""

    name: str

    async def send(self, notice: Notice, notice_id: str) -> None:
        """Deliver, or raise ``Busy`` or ``Rejected``."""
