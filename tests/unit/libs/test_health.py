"""A service without a web server still says how it is."""

import asyncio

import httpx
import pytest

from libs import health
from libs.embedded.home import free_port, listening
from libs.health import Health


async def get(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def test_live_ready_and_metrics_answer() -> None:
    port, ready = free_port(), False
    server = await Health.listen(port, lambda: ready)
    try:
        assert (await get(port, "/health/live")).status_code == 200
        assert (await get(port, "/health/ready")).status_code == 503
        ready = True
        assert (await get(port, "/health/ready")).status_code == 200
        metrics = await get(port, "/metrics")
        assert "python_info" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain")
        assert (await get(port, "/else")).status_code == 404
    finally:
        await server.close()


async def test_port_0_listens_nowhere() -> None:
    server = await Health.listen(0, lambda: True)
    assert server._server is None
    await server.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\x00\xff" * 50_000, b"GET\r\n"])
async def test_a_slow_or_senseless_caller_is_hung_up_on(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEADER_SECONDS", 0.05)
    port = free_port()
    server = await Health.listen(port, lambda: True)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 60)
        assert b"200 OK" not in answer
        writer.close()
        assert (await get(port, "/health/live")).status_code == 200
    finally:
        await server.close()


async def test_nothing_listens_after_close() -> None:
    port = free_port()
    server = await Health.listen(port, lambda: True)
    assert listening(port)
    await server.close()
    assert not listening(port)
