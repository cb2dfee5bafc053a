"""A tiny random model with the shipped model's own tokenizer, and a few conversations to teach it."""

import os
from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.chat import ChatFormat
from libs.lm.shipped import install
from libs.testing.models import tiny_model
from services.trainer.training.protocol import AttemptSpec
from tests.integration.training.runs import talks, write_split

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    models = Path(__file__).parents[3] / ".woodshed" / "models"
    install(models)
    return models / SHIPPED_MODEL


@pytest.fixture(scope="session")
def tiny(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of 64: a second to train, the same code in every other respect."""
    return tiny_model(smollm2, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def chat(smollm2: Path) -> ChatFormat:
    return ChatFormat.load(smollm2)


@pytest.fixture
def spec(tiny: Path, tmp_path: Path) -> AttemptSpec:
    """Three passes over ten conversations, four a step: nine steps, a checkpoint every second."""
    recipe = Recipe(base_model=SHIPPED_MODEL, rank=4, alpha=8, epochs=3, batch_size=4, learning_rate=5e-3)
    return AttemptSpec(
        run_id="run-1",
        attempt=1,
        fence=1,
        recipe=recipe,
        model_dir=str(tiny),
        train=str(write_split(tmp_path / "train.parquet", talks(10))),
        validation=str(write_split(tmp_path / "validation.parquet", talks(13)[10:])),
        work_dir=str(tmp_path / "work"),
        checkpoint_every=2,
        threads=2,
        micro_tokens=256,
    )
