"""A tiny model's folder (bytes as tokens, ChatML) and an import that runs in this process."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from contracts.datasets import SplitPlan
from services.dataset.domain.versions import Imported, Outcome, Refused
from services.dataset.importer.run import run
from services.dataset.importer.spec import Progress, Spec

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder whose tokenizer makes one token of every byte."""
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes(msgspec.json.encode({"eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


class Import:
    """Imports bytes as files of the test's folder."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.folder = folder
        self.model_dir = model_dir
        self.version = folder
        self.progress: list[Progress] = []
        self._count = 0

    def __call__(
        self,
        data: bytes | Path,
        *,
        validation: bytes = b"",
        prepare: Callable[[Path], None] | None = None,
        **changes: Any,
    ) -> Outcome:
        self._count += 1
        self.version = self.folder / f"version-{self._count}"
        self.version.mkdir()
        if prepare:
            prepare(self.version)
        source = self._file("source", data)
        held_out = self._file("validation", validation) if validation else None
        given = {
            "source": str(source),
            "source_sha256": _sha256(source),
            "folder": str(self.version),
            "model_dir": str(self.model_dir),
            "split": SplitPlan(),
            "validation": str(held_out or ""),
            "validation_sha256": _sha256(held_out) if held_out else "",
        }
        return run(Spec(**(given | changes)), self.progress.append)

    def made(self, data: bytes | Path, **changes: Any) -> Imported:
        """Import what must become a version."""
        outcome = self(data, **changes)
        assert isinstance(outcome, Imported), outcome
        return outcome

    def refused(self, data: bytes | Path, **changes: Any) -> Refused:
        """Import what must be refused, with a message worth reading."""
        outcome = self(data, **changes)
        assert isinstance(outcome, Refused), outcome
        assert len(outcome.message) > 40
        return outcome

    def _file(self, name: str, data: bytes | Path) -> Path:
        if isinstance(data, Path):
            return data
        path = self.folder / f"{name}-{self._count}"
        path.write_bytes(data)
        return path


@pytest.fixture
def importing(tmp_path: Path, model_dir: Path) -> Import:
    return Import(tmp_path, model_dir)


def talk(number: int, **more: Any) -> dict[str, Any]:
    """A conversation unlike those of other numbers."""
    said = [
        {"role": "user", "content": f"What is {number} + 1?"},
        {"role": "assistant", "content": f"It is {number + 1}."},
    ]
    return {"messages": said, **more}


def jsonl(records: Any) -> bytes:
    """Records as JSON lines."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def lesson(number: int, segments: int = 30, score: float = 0.9, **about: str) -> dict[str, Any]:
    """A lesson of 12-word segments by one instructor of five."""
    metadata = {"lesson_id": f"l-{number}", "title": f"Lesson {number}", "instructor": f"Teacher {number % 5}"} | about
    return {
        "metadata": metadata,
        "segments": [
            {
                "start": 5.0 * at,
                "end": 5.0 * at + 4,
                "text": f"Sentence {at} of lesson {number} says w{number}x{at} among exactly twelve words, right.",
                "speaker": metadata["instructor"],
                "words": [{"word": "word", "start": 0.0, "end": 0.1, "score": score} for _ in range(12)],
            }
            for at in range(segments)
        ],
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
