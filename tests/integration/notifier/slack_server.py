"""A server that answers an incoming webhook as Slack does, and refuses what Slack would refuse."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

OK = (200, "ok", {})


class FakeSlack:
    """``answers`` are given in turn, then 200 ok; ``accepted`` holds the bodies it took, ``asked`` counts requests."""

    def __init__(self, *answers: tuple[int, str, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.accepted: list[dict[str, Any]] = []
        self.asked = 0
        self.webhook = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeSlack"]:
        """Listen on a free port while inside."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.webhook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/services/T000/B000/secret"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        status, text, headers = self._answer(head, await reader.readexactly(length))
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(text)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", text]).encode())
        await writer.drain()
        writer.close()

    def _answer(self, head: str, body: bytes) -> tuple[int, str, dict[str, str]]:
        self.asked += 1
        if not head.startswith("post /services/t000/b000/secret "):
            return 404, "no_service", {}
        if "content-type: application/json" not in head:
            return 400, "invalid_payload", {}
        answer = self.answers.pop(0) if self.answers else OK
        if answer is OK:
            message = json.loads(body)
            if not well_formed(message):
                return 400, "invalid_blocks", {}
            self.accepted.append(message)
        return answer


def well_formed(message: dict[str, Any]) -> bool:
    """Check a message with Slack's own models: known blocks, their required parts, their limits."""
    if not message.get("text") or not 1 <= len(message["blocks"]) <= 50:
        return False
    try:
        for block in message["blocks"]:
            parsed = Block.parse(block)
            if parsed is None:
                return False
            parsed.validate_json()
    except SlackObjectFormationError:
        return False
    return True
