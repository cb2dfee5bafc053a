"""A server that speaks vLLM's documented wire, as far as chats use it, and says what it is told to say."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

Said = tuple[int, float, dict[int, float]]
"""A token, its log-probability, and those of the likeliest in its place."""


class FakeVllm:
    """Answers completions with ``says(request)``; notes ``requests``, ``adapters`` by name, and who ``left`` early."""

    def __init__(self, says: Callable[[dict[str, Any]], list[Said]]) -> None:
        self.says = says
        self.requests: list[dict[str, Any]] = []
        self.adapters: dict[str, str] = {}
        self.posts: list[tuple[str, str]] = []
        self.left = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeVllm"]:
        """Listen on a free port."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        lines = (line.split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        length = next(int(value) for name, value in lines if name.lower() == "content-length")
        body = json.loads(await reader.readexactly(length))
        if path == "/v1/completions":
            self.requests.append(body)
            await self._complete(body, writer)
        else:
            self.posts.append((path, body["lora_name"]))
            _send(writer, *self._adapters(path, body))
        writer.close()

    def _adapters(self, path: str, body: dict[str, str]) -> tuple[int, str]:
        name = body["lora_name"]
        if path == "/v1/unload_lora_adapter":
            del self.adapters[name]
            return 200, f"Success: LoRA adapter '{name}' removed successfully."
        if name in self.adapters:
            said = f"The lora adapter '{name}' has already been loaded."
            return 400, json.dumps({"error": {"message": said, "type": "InvalidUserInput", "code": 400}})
        self.adapters[name] = body["lora_path"]
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    async def _complete(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if body["model"] not in self.adapters and body["model"].startswith("adapter"):
            _send(writer, 404, json.dumps({"error": {"message": f"The model `{body['model']}` does not exist."}}))
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        try:
            await self._say(body, writer)
        except ConnectionError:
            self.left.set()

    async def _say(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        said = self.says(body)
        for number, token in enumerate(said):
            ended = "stop" if token[0] in body["stop_token_ids"] else "length"
            _event(writer, token, ended if number == len(said) - 1 else None)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()


def _event(writer: asyncio.StreamWriter, said: Said, finish: str | None) -> None:
    token, logprob, top = said
    logprobs = {
        "tokens": [f"token_id:{token}"],
        "token_logprobs": [logprob],
        "top_logprobs": [{f"token_id:{other}": each for other, each in top.items()}],
        "text_offset": [0],
    }
    choice = {"index": 0, "text": "", "logprobs": logprobs, "finish_reason": finish, "stop_reason": None}
    chunk = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    writer.write(f"data: {json.dumps(chunk)}\n\n".encode())


def _send(writer: asyncio.StreamWriter, status: int, body: str) -> None:
    head = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body.encode())}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body.encode())
