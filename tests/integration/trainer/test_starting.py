"""A runner that has not begun yet."""

import asyncio
import os
import sys
from pathlib import Path

from libs.embedded.supervisor import die_with_parent


async def test_a_runner_that_is_asked_to_end_while_no_broker_answers_ends(tmp_path: Path) -> None:
    told = {
        "WOODSHED_NATS_URL": "nats://127.0.0.1:1",
        "WOODSHED_NATS_PASSWORD": "none",
        "WOODSHED_DATA_DIR": str(tmp_path),
        "WOODSHED_MODELS_DIR": str(tmp_path),
        "WOODSHED_STORAGE_URL": f"file://{tmp_path}",
    }
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer.runner", env=os.environ | told, preexec_fn=die_with_parent,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert runner.stdout
    async with asyncio.timeout(120):
        while b"nats said no" not in await runner.stdout.readline():
            pass
    runner.terminate()
    async with asyncio.timeout(20):
        await runner.wait()
