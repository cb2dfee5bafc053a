"""Errors made on the spot by the libraries that are installed lead to their rows: new wordings show here.

Those of PyTorch and transformers are in the corpus of the unit tests; these need neither.
"""

import importlib
import shutil
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from contracts.recipes import SHIPPED_MODEL
from libs.lm.chat import ChatFormat
from libs.lm.models import resolve, verify
from libs.storage import Storage
from services.trainer.domain.classifying import classified
from services.trainer.training.failures import explain

FULL = Path("/dev/full")
ENOUGH = 2**46
"""More bytes than any machine has."""


def row_of(error: BaseException) -> str:
    """Classify as the child and the control do together."""
    told = explain(error)
    return classified(told.kind, 1, told.traceback, told.message)


def raised(broken: Callable[[], object]) -> BaseException:
    try:
        broken()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def fill_the_disk(_: Path) -> None:
    with FULL.open("wb", buffering=0) as full:
        full.write(b"x")


def read_damaged_weights(folder: Path) -> None:
    file = folder / "damaged.safetensors"
    file.write_bytes(b"\xff" * 64)
    with safe_open(file, "numpy"):
        pass


def read_a_tokenizer_of_the_future(_: Path) -> None:
    Tokenizer.from_str('{"version": "1.0", "added_tokens": [], "model": {"type": "FromTheFuture"}}')


def read_without_permission(_: Path) -> None:
    """Open a file as a user without rights would; a test may run as root, who has all of them."""
    script = "import os; os.geteuid() or os.setuid(65534); open('/etc/shadow')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    raise RuntimeError(done.stderr)


MADE_HERE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a larger array than there is memory": ("out_of_memory", lambda _: np.empty(ENOUGH, dtype=np.float32)),
    "more bytes than there is memory": ("out_of_memory", lambda _: bytearray(ENOUGH)),
    "a full disk": ("disk_full", fill_the_disk),
    "damaged weights": ("damaged_model", read_damaged_weights),
    "a tokenizer of the future": ("damaged_model", read_a_tokenizer_of_the_future),
    "no such library": ("installation", lambda _: importlib.import_module("no_such_library")),
    "no permission": ("permission", read_without_permission),
    "no model": ("unknown_model", lambda folder: resolve(folder, SHIPPED_MODEL)),
    "a bug of ours": ("bug", lambda _: 1 / 0),
}


@pytest.mark.parametrize("name", MADE_HERE)
def test_an_error_of_an_installed_library_leads_to_its_row(name: str, tmp_path: Path) -> None:
    row, broken = MADE_HERE[name]
    error = raised(lambda: broken(tmp_path))
    assert row_of(error) == row, "".join(traceback.format_exception(error))[-1500:]


async def test_a_storage_that_refuses_the_connection_is_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(Exception) as failure:
        await Storage.open("s3://bucket/prefix").get_bytes("key")
    words = f"{type(failure.value).__name__}: {failure.value}"
    assert classified("infrastructure", None, "", words) == "network", words


def test_a_library_that_crashes_is_told_by_its_signal() -> None:
    script = "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert classified("", done.returncode, done.stderr) == "crashed"
    assert classified("", done.returncode, "") == "crashed"


def test_what_a_chat_template_refuses_is_the_datas_fault(shipped_model: Path) -> None:
    chat = ChatFormat.load(shipped_model)
    assert row_of(raised(lambda: chat.encode([{"role": "wizard", "content": "Hi"}], 64))) == "user_data"


def test_weights_that_are_not_those_that_were_stored_are_a_damaged_model(shipped_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shipped_model, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert row_of(raised(lambda: verify(copy))) == "damaged_model"
