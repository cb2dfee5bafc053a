"""Prepared data kept between attempts: what a dataset version became for a model is worked out once on a machine.

An entry is found by all that it came from: the split's bytes, the model's tokenizer and template, the recipe's length
and objective, and the very code that prepares. It is sealed (AES-GCM) with a key that is made of the same and kept
nowhere: so a damaged entry is never taken for a whole one, and what is left here of a dataset that was deleted can be
read by nobody. No torch here.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.lm import chat
from libs.lm.models import NEEDED
from services.trainer.training import data
from services.trainer.training.data import Split
from services.trainer.training.protocol import Shelf

NONCE = bytes(12)
"""A key seals one text only, so one nonce will do."""
LIBRARIES = ("tokenizers", "jinja2")


def through(
    shelf: Shelf | None, path: Path, model_dir: Path, objective: str, length: int, prepare: Callable[[], Split]
) -> Split:
    """Return a split as ``prepare`` makes it for an objective and a maximum length: from the shelf if it lies there
    whole, else made and put there.
    """
    if shelf is None:
        return prepare()
    key = _key(path, model_dir, f"{objective} {length}")
    entry = Path(shelf.folder) / hashlib.sha256(key).hexdigest()
    found = _opened(entry, key)
    if found is None:
        found = prepare()
        _put(shelf, entry, AESGCM(key).encrypt(NONCE, msgspec.msgpack.encode(found), None))
    return found


def _key(path: Path, model_dir: Path, wish: str) -> bytes:
    """Make 32 bytes of everything that decides what the split becomes; of the data's own bytes too, never a digest that
    is told elsewhere.
    """
    about = hashlib.sha256(f"{wish} {[version(each) for each in LIBRARIES]}".encode())
    for file in (*(model_dir / name for name in NEEDED), Path(chat.__file__), Path(data.__file__)):
        about.update(hashlib.sha256(file.read_bytes()).digest())
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32, key=about.digest())).digest()


def _opened(entry: Path, key: bytes) -> Split | None:
    """Return what an entry holds and count it as used; ``None`` where there is none, or not as it was put there."""
    try:
        plain = AESGCM(key).decrypt(NONCE, entry.read_bytes(), None)
    except (OSError, InvalidTag):
        return None
    with contextlib.suppress(FileNotFoundError):
        os.utime(entry)
    return msgspec.msgpack.decode(plain, type=Split)


def _put(shelf: Shelf, entry: Path, sealed: bytes) -> None:
    """Put an entry there and remove those unused for longest beyond what may be kept; without room, leave it out."""
    if len(sealed) > shelf.most_bytes:
        return
    staged = entry.with_name(f".{entry.name}-{os.getpid()}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(sealed)
        staged.rename(entry)
    except OSError:
        with contextlib.suppress(OSError):
            staged.unlink()
    else:
        _make_room(shelf)


def _make_room(shelf: Shelf) -> None:
    found = []
    for each in Path(shelf.folder).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.append((each.stat().st_mtime, each.stat().st_size, each))
    taken = sum(size for _, size, _ in found)
    for _, size, each in sorted(found):
        if taken <= shelf.most_bytes:
            break
        each.unlink(missing_ok=True)
        taken -= size
