"""The shipped model's own tokenizer and template, converted once for all tests of this machine."""

from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.lm.chat import ChatFormat
from libs.lm.shipped import install


@pytest.fixture(scope="session")
def model_dir() -> Path:
    models = Path(__file__).parents[3] / ".woodshed" / "models"
    install(models)
    return models / SHIPPED_MODEL


@pytest.fixture(scope="session")
def chat(model_dir: Path) -> ChatFormat:
    return ChatFormat.load(model_dir)
