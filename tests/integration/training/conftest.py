"""A tiny random model with the shipped model's own tokenizer, and a few conversations to teach it."""

import os
import shutil
from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.chat import ChatFormat
from libs.lm.models import NEEDED, known, write_record
from libs.lm.shipped import install
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
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in NEEDED[1:]:
        shutil.copy(smollm2 / name, folder / name)
    write_record(folder, known(SHIPPED_MODEL), "float32")
    return folder


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
