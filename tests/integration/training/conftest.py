"""A tiny random model with the shipped model's own tokenizer, and a few conversations to teach it."""

import os
from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.lm.chat import ChatFormat
from libs.lm.shipped import install
from libs.testing.models import tiny_model
from services.trainer.training.protocol import AttemptSpec
from tests.integration.training.runs import Calm, carry_out, spec_in

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
    return spec_in(tmp_path, tiny)


@pytest.fixture(scope="session")
def calm(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """That run as nobody interrupts it, trained once for all tests: who reads it leaves it as it is."""
    spec = spec_in(tmp_path_factory.mktemp("calm"), tiny)
    return Calm(spec, carry_out(spec))
