"""A run on another architecture ends with an adapter that loads; off the fast path it says why."""

import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, PretrainedConfig

from contracts.recipes import SHIPPED_MODEL
from libs.lm.generate import load, replies
from libs.lm.models import NEEDED, known, write_record
from services.trainer.training.protocol import AttemptSpec, Finished, Remarked
from tests.integration.training.runs import carry_out, changed, talks

GPT2 = GPT2Config(vocab_size=49152, n_embd=32, n_layer=2, n_head=2, n_positions=256)
GEMMA2 = Gemma2Config(
    vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=16, max_position_embeddings=256,
)  # fmt: skip


def _model(config: PretrainedConfig, smollm2: Path, folder: Path) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in NEEDED[1:]:
        shutil.copy(smollm2 / name, folder / name)
    write_record(folder, known(SHIPPED_MODEL), "float32")
    return folder


@pytest.mark.parametrize(("config", "said"), [(GPT2, []), (GEMMA2, ["slow_path"])], ids=["GPT-2", "Gemma2"])
def test_it_trains_and_its_adapter_answers(
    config: PretrainedConfig, said: list[str], spec: AttemptSpec, smollm2: Path, tmp_path: Path
) -> None:
    model = _model(config, smollm2, tmp_path / "model")
    recipe = msgspec.structs.replace(spec.recipe, max_steps=2)
    lines = carry_out(changed(spec, model_dir=str(model), recipe=recipe))
    finished = lines[-1]
    assert isinstance(finished, Finished)
    assert finished.eval_loss is not None
    remarks = [line for line in lines if isinstance(line, Remarked)]
    assert [each.code for each in remarks] == said
    assert all("Gemma2ForCausalLM" in each.message for each in remarks)
    loaded = load(model, Path(finished.path))
    assert replies(loaded, [talks(1)[0][:1]], tuned=True, max_new_tokens=2)[0].tokens <= 2
