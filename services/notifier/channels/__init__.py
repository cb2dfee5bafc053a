"""The ways to reach people. Each is one file that speaks one protocol.

A channel's ``send`` returns when the other side accepted the notice, raises ``Busy`` when it may
work later, and ``Rejected`` when it never will.
"""

from typing import Protocol

from services.notifier.domain.notice import Notice


class Channel(Protocol):
    """One way to reach people; ``name`` stands in its delivery records. A ``personal`` one knows many addresses."""

    name: str
    personal: bool

    async def send(self, notice: Notice, notice_id: str, address: str = "") -> None:
        """Deliver, to this address if one is given, or raise ``Busy`` or ``Rejected``."""
