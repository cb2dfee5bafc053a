"""Slack, by an incoming webhook: one POST of JSON, answered ``200 ok``.

Plain httpx, not slack_sdk: its asynchronous client needs aiohttp for what is a single request here.
The webhook's address is a secret and appears in no log, error or record. One that a recipient gave is called as
webhooks are, without being led inside; the installation's own may lead anywhere.
"""

import httpx
import msgspec

from libs.errors import Busy, Rejected
from services.notifier.calling import Caller
from services.notifier.domain.blocks import message
from services.notifier.domain.notice import Notice

TIMEOUT = 10.0
OWN_WEBHOOK = "Make a new incoming webhook in Slack and give it as slack_address."
NEW_WEBHOOK = "Make a new incoming webhook in Slack and put its address into WOODSHED_SLACK_WEBHOOK."
MEANINGS = {
    "invalid_payload": "It did not understand the message; please report this as a bug of Woodshed.",
    "invalid_blocks": "It did not understand the message; please report this as a bug of Woodshed.",
    "channel_is_archived": "The webhook's channel is archived: unarchive it, or make a webhook for another channel.",
    "action_prohibited": "An administrator restricted posting to this channel: ask for permission.",
}
"""What Slack's refusals mean (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""


class Slack:
    """Posts notices to one channel of one workspace, and to addresses of recipients' own."""

    name = "slack"
    personal = True

    def __init__(self, webhook: str, caller: Caller) -> None:
        self._webhook = webhook
        self._caller = caller
        self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)

    async def send(self, notice: Notice, notice_id: str, address: str = "") -> None:
        """Post the notice; ``Busy`` on 429, 5xx and a lost connection, ``Rejected`` on any other refusal."""
        if address:
            return await self._send_to(address, notice)
        if not self._webhook:
            raise Rejected(f"This installation has no Slack channel. {NEW_WEBHOOK}")
        try:
            answer = await self._client.post(self._webhook, json=message(notice))
        except httpx.TransportError as error:
            raise Busy(f"Slack could not be reached ({type(error).__name__}).", after=0) from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            raise Busy(f"Slack answered {answer.status_code}.", after=_retry_after(answer))
        if not answer.is_success:
            said = answer.text[:60].strip()
            raise Rejected(f"Slack refused ({answer.status_code} {said}). {MEANINGS.get(said, NEW_WEBHOOK)}")
        return None

    async def _send_to(self, address: str, notice: Notice) -> None:
        body = msgspec.json.encode(message(notice)).decode()
        called = await self._caller.post(address, body, {"content-type": "application/json"})
        status, said = called.attempt.status_code, called.attempt.said
        if not status or status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise Busy(said, after=called.after)
        if not 200 <= status < 300:
            meaning = next((fix for word, fix in MEANINGS.items() if word in said), OWN_WEBHOOK)
            raise Rejected(f"Slack refused. {said} {meaning}")


def _retry_after(answer: httpx.Response) -> float:
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0
