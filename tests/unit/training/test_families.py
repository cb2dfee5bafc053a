"""The architecture's name decides how a model is trained, and a person is told where it is the plain way."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.trainer.training.families import way_of

LONGEST = 2048


def _model(folder: Path, architecture: str, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]} | config))
    return folder


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("LlamaForCausalLM", {}),
        ("MistralForCausalLM", {"sliding_window": None}),
        ("MistralForCausalLM", {"sliding_window": 4096}),
        ("Qwen2ForCausalLM", {"sliding_window": 512, "use_sliding_window": False}),
        ("Qwen3ForCausalLM", {}),
        ("GPT2LMHeadModel", {"n_positions": 4096}),
    ],
)
def test_the_four_families_take_the_fast_path(tmp_path: Path, architecture: str, config: dict[str, Any]) -> None:
    way = way_of(_model(tmp_path, architecture, **config), LONGEST)
    assert (way.fast, way.longest) == (True, LONGEST)


@pytest.mark.parametrize(
    ("architecture", "config", "says"),
    [
        ("Gemma2ForCausalLM", {"final_logit_softcapping": 30.0}, "Gemma2ForCausalLM"),
        ("CohereForCausalLM", {"logit_scale": 0.0625}, "CohereForCausalLM"),
        ("MixtralForCausalLM", {}, "Llama, Mistral, Qwen, GPT-2"),
        ("MistralForCausalLM", {"sliding_window": 1024}, "1024 tokens"),
        ("Qwen2ForCausalLM", {"sliding_window": 1024, "use_sliding_window": True}, "1024 tokens"),
    ],
)
def test_any_other_is_trained_plainly_and_says_so(
    tmp_path: Path, architecture: str, config: dict[str, Any], says: str
) -> None:
    way = way_of(_model(tmp_path, architecture, **config), LONGEST)
    assert not way.fast
    assert says in way.words
    assert "plain way" in way.words


def test_learned_positions_end_and_with_them_a_conversation(tmp_path: Path) -> None:
    assert way_of(_model(tmp_path, "GPT2LMHeadModel", n_positions=1024), LONGEST).longest == 1024
    assert way_of(_model(tmp_path, "OPTForCausalLM", max_position_embeddings=512), LONGEST).longest == 512
