"""The shipped model: bfloat16 is close enough to float32, and an adapter that does nothing proves nothing."""

import json
import math
from pathlib import Path

import msgspec
import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.lm.adapters import TARGETS, WEIGHTS, AdapterConfig, write_config
from services.evaluator.domain.statistics import perplexities
from services.evaluator.domain.verdicts import judge_perplexity
from services.evaluator.scoring.__main__ import score as measured
from services.evaluator.scoring.shapes import Measured
from tests.integration.evaluator.conftest import split
from tests.integration.evaluator.test_scoring import spec

SAMPLES = Path(__file__).parents[3] / "libs" / "samples" / "conversations.jsonl"
GATE = 0.01
"""Held-out loss in bfloat16 may differ from float32 by one percent."""


@pytest.fixture(scope="session")
def idle(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of rank 2 for the shipped model whose B matrices are zero."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("idle")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(shipped_model))
    weights = {}
    for name, layer in model.named_modules():
        if name.rsplit(".", 1)[-1] in TARGETS:
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(2, layer.in_features)
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.zeros(layer.out_features, 2)
    save_file(weights, folder / WEIGHTS)
    write_config(folder, AdapterConfig(base_model_name_or_path=SHIPPED_MODEL, r=2, lora_alpha=4))
    return folder


def read(tmp_path: Path, shipped: Path, idle: Path, precision: str) -> Measured:
    tmp_path.mkdir(exist_ok=True)
    asked = spec(tmp_path, shipped.parent, idle, precision=precision, suites=("perplexity",), threads=2)
    talks = [json.loads(line)["messages"] for line in SAMPLES.read_text().splitlines()[:3]]
    split(Path(asked.split), talks)
    return measured(msgspec.structs.replace(asked, max_length=256))


@pytest.mark.slow
def test_the_shipped_model_is_measured_alike_in_both_precisions(
    tmp_path: Path, shipped_model: Path, idle: Path
) -> None:
    exact = read(tmp_path / "float32", shipped_model, idle, "float32")
    fast = read(tmp_path / "bfloat16", shipped_model, idle, "bfloat16")
    losses = [math.log(perplexities(each.likelihoods)[0]) for each in (exact, fast)]
    assert losses[1] == pytest.approx(losses[0], rel=GATE)
    for each in (exact, fast):
        assert judge_perplexity(each.likelihoods, seed=42).change.value == 0.0
