"""Every family of the fast path loses what transformers says it loses, and no neighbour in a row is ever felt.

The models are random and tiny, in float32. Tolerance: losses to 1 part in 100,000, gradients to 1 in 1,000.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from libs.lm.families import FAMILIES
from services.trainer.training import attention, plain
from services.trainer.training.data import Example, Row, pack
from services.trainer.training.families import Way, way_of
from services.trainer.training.loss import row_loss
from services.trainer.training.model import targets_in
from services.trainer.training.preferring import pair_loss

VOCABULARY = 101
LONGEST = 24
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "Llama": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "Llama with biases": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "Mistral": MistralConfig(**SMALL, sliding_window=None),
    "Mistral with a wide window": MistralConfig(**SMALL, sliding_window=LONGEST),
    "Qwen2": Qwen2Config(**SMALL),
    "Qwen3": Qwen3Config(**SMALL, head_dim=8),
    "GPT-2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}
OTHERS = {
    "Gemma2": Gemma2Config(**SMALL, head_dim=8, sliding_window=8, final_logit_softcapping=0.05),
    "Mixtral": MixtralConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1),
    "Mistral with a narrow window": MistralConfig(**SMALL, sliding_window=8),
}


class Model(NamedTuple):
    """A random model, in PEFT, and how it is to be trained."""

    tuned: Any
    way: Way

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        return [each for each in self.tuned.parameters() if each.requires_grad]

    def attending(self, how: str) -> "Model":
        """Attend as transformers does with a mask (``sdpa``), or as training does."""
        causal = _causal(self.tuned)
        if how == "each":
            attention.use_in(causal, "each")
        else:
            causal.set_attn_implementation(how if causal._supports_sdpa else "eager")
        return self

    def gradients(self, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss, self.trained, allow_unused=True, materialize_grads=True)


@cache
def _model(kind: str, *, whole: bool = False) -> Model:
    config = (KINDS | OTHERS)[kind]
    torch.manual_seed(1)
    base = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).eval()
    way = _way(base)
    if whole:
        return Model(base, way)
    lora = LoraConfig(r=4, target_modules=list(targets_in(base, way)), init_lora_weights=False)
    return Model(get_peft_model(base, lora).eval(), way)


def _way(base: Any) -> Way:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        base.config.architectures = [type(base).__name__]
        base.config.save_pretrained(folder)
        return way_of(Path(folder), LONGEST)


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _plainly(model: Any, examples: list[Example]) -> torch.Tensor:
    """Return what transformers says these examples lose, each alone and without padding."""
    causal = _causal(model)
    causal.set_attn_implementation("sdpa" if causal._supports_sdpa else "eager")
    losses = []
    for each in examples:
        labels = torch.tensor([[-100, *each.labels[1:]]])
        mean = causal(input_ids=torch.tensor([each.ids]), labels=labels).loss
        losses.append(mean * (labels != -100).sum())
    return torch.stack(losses).sum()


def _example(length: int, seed: int, taught: int | None = None) -> Example:
    ids = torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    first = length - (length // 2 if taught is None else taught)
    return Example(ids, [-100] * first + ids[first:])


EXAMPLES = [_example(length, seed) for seed, length in enumerate((9, 20, 2, 13, LONGEST))]


def test_every_family_of_the_table_is_tried_here() -> None:
    tried = {type(_model(kind).tuned.get_base_model()).__name__ for kind in KINDS}
    assert tried == FAMILIES.keys()


@pytest.mark.parametrize("how", ["each", "sdpa"])
@pytest.mark.parametrize("whole", [False, True], ids=["lora", "every weight"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_losses_and_gradients_are_those_of_transformers(kind: str, whole: bool, how: str) -> None:
    model = _model(kind, whole=whole).attending(how)
    assert model.way.fast
    (row,) = pack(EXAMPLES, 4096)
    ours, _ = row_loss(model.tuned, row)
    theirs = _plainly(model.tuned, EXAMPLES)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    for mine, other in zip(model.gradients(ours), model.gradients(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_known_is_trained_by_its_own_forward(kind: str) -> None:
    model = _model(kind).attending("sdpa")
    assert not model.way.fast
    rows = pack(EXAMPLES, 1)
    assert len(rows) == len(EXAMPLES)
    ours = torch.stack([plain.row_loss(model.tuned, row)[0] for row in rows]).sum()
    theirs = _plainly(model.tuned, EXAMPLES)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    for mine, other in zip(model.gradients(ours), model.gradients(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_the_fast_path_would_have_been_wrong_for_capped_logits() -> None:
    model = _model("Gemma2").attending("sdpa")
    (row,) = pack(EXAMPLES[:1], 4096)
    assert abs(float(row_loss(model.tuned, row)[0]) - float(_plainly(model.tuned, EXAMPLES[:1]))) > 1e-2


@pytest.mark.parametrize("kind", ["Llama", "GPT-2"])
def test_pairs_score_plainly_as_they_do_packed(kind: str) -> None:
    model = _model(kind).attending("sdpa")
    pair = Example(EXAMPLES[0].ids + EXAMPLES[1].ids, EXAMPLES[0].labels + EXAMPLES[1].labels, len(EXAMPLES[0].ids))
    (row,) = pack([pair, pair], 4096)
    packed, plainly = (pair_loss(0.3, way)(model.tuned, row) for way in (None, plain.replies))
    for fast, slow in zip(packed, plainly, strict=True):
        assert float(fast) == pytest.approx(float(slow), rel=1e-4)


def _beside(first: Example, neighbour: Example, *, first_comes_first: bool) -> Row:
    """Put two examples into one row in this order, whichever is longer."""
    order = [first, neighbour] if first_comes_first else [neighbour, first]
    return Row(
        ids=[token for each in order for token in each.ids],
        labels=[label for each in order for label in (-100, *each.labels[1:])],
        positions=[position for each in order for position in range(len(each.ids))],
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(st.integers(2, LONGEST), st.integers(1, LONGEST), st.integers(0, 2**30), st.integers(0, 2**30), st.booleans())
def test_a_neighbour_changes_nothing_of_loss_or_gradients(
    kind: str, length: int, beside: int, one: int, other: int, comes_first: bool
) -> None:
    model, first = _model(kind).attending("each"), _example(length, one, taught=length - 1)
    seen = []
    for number in (other, other + 1):
        muted = _example(beside, number, taught=0)
        loss, right = row_loss(model.tuned, _beside(first, muted, first_comes_first=comes_first))
        seen.append((float(loss), int(right), model.gradients(loss)))
    (loss, right, slopes), (again, right_again, slopes_again) = seen
    assert (loss, right) == (again, right_again)
    assert all(torch.equal(mine, same) for mine, same in zip(slopes, slopes_again, strict=True))
    alone, _ = row_loss(model.tuned, pack([first], 1)[0])
    assert loss == pytest.approx(float(alone), rel=1e-5)
    for mine, by_itself in zip(slopes, model.gradients(alone), strict=True):
        torch.testing.assert_close(mine, by_itself, rtol=1e-3, atol=1e-4)
