"""Whatever an architecture does to its logits, it is scored as its own forward says; the models are random and tiny."""

from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MiniCPM3Config,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from libs.lm.chat import Encoded
from libs.lm.choose import Choice, choice_scores
from libs.lm.generate import Loaded
from libs.lm.score import hidden_states, known, logs, room, token_losses

VOCABULARY = 101
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3,
}  # fmt: skip
KNOWN = {
    "Llama": LlamaConfig(**SMALL),
    "Mistral with a wide window": MistralConfig(**SMALL, sliding_window=64),
    "Qwen2": Qwen2Config(**SMALL),
    "GPT-2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3),
}
OTHERS = {
    "Gemma2 caps its logits": Gemma2Config(**SMALL, head_dim=8, sliding_window=8, final_logit_softcapping=0.5),
    "Granite divides them": GraniteConfig(**SMALL, logits_scaling=8.0),
    "Cohere multiplies them": CohereConfig(**SMALL, logit_scale=0.0625),
    "MiniCPM divides what they come from": MiniCPM3Config(
        **SMALL | {"num_key_value_heads": 4}, dim_model_base=8, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8,
        qk_rope_head_dim=8, v_head_dim=8,
    ),
    "Phi has a bias on its head": PhiConfig(**SMALL),
    "Mixtral has experts": MixtralConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1),
    "Mistral with a narrow window": MistralConfig(**SMALL, sliding_window=6),
}  # fmt: skip
SCALED = [kind for kind in OTHERS if kind.split()[0] in ("Gemma2", "Granite", "Cohere", "MiniCPM", "Phi")]


class Numbers:
    """A chat format whose texts are numbers of tokens."""

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        return [3, 4, *self.plain(messages[0]["content"])]

    def plain(self, text: str) -> list[int]:
        return [int(each) for each in text.split()]


def _loaded(config: PretrainedConfig) -> Loaded:
    torch.manual_seed(1)
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).eval()
    head = model.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias)
    chat: Any = Numbers()
    return Loaded(model, chat)


def _own(model: Any, ids: list[int]) -> torch.Tensor:
    """Return the log-likelihood of each token but the first, as the model's whole forward gives it."""
    with torch.no_grad():
        likely = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    return likely.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


def _encoded(length: int, first: int) -> Encoded:
    ids = torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    return Encoded(ids, [at >= first and at % 5 != 0 for at in range(length)])


@pytest.mark.parametrize("kind", [*KNOWN, *OTHERS])
def test_losses_and_choices_are_those_of_the_models_own_forward(kind: str) -> None:
    loaded = _loaded((KNOWN | OTHERS)[kind])
    assert known(loaded.model, 30) == (kind in KNOWN)
    encoded = [_encoded(21, 6), _encoded(9, 4), _encoded(30, 29), Encoded([5, 6], [True, False])]
    for each, losses in zip(encoded, token_losses(loaded, encoded, tuned=False), strict=True):
        theirs = -_own(loaded.model, each.ids)[torch.tensor(each.trained[1:])]
        torch.testing.assert_close(torch.from_numpy(losses), theirs, rtol=1e-4, atol=1e-5)
    questions = [("9 8 7 6 50", ("5 6 7", "8", "10 11 12 13")), ("9 8 20", ("40 41 42 43 44 45", "7"))]
    put = [Choice([{"role": "user", "content": asked}], list(answers)) for asked, answers in questions]
    for (asked, answers), scores in zip(questions, choice_scores(loaded, put, tuned=False), strict=True):
        for answer, score in zip(answers, scores, strict=True):
            ids, said = loaded.chat.prompt([{"role": "user", "content": asked}]), loaded.chat.plain(answer)
            mean = _own(loaded.model, ids + said)[len(ids) - 1 :].mean()
            assert float(score) == pytest.approx(float(mean), abs=1e-4)


@pytest.mark.parametrize("kind", SCALED)
def test_the_bare_head_would_have_been_wrong(kind: str) -> None:
    model, ids = _loaded(OTHERS[kind]).model, _encoded(12, 1).ids
    with torch.no_grad():
        hidden = hidden_states(model, input_ids=torch.tensor([ids])).last_hidden_state[0, :-1]
        bare = logs(model, hidden, torch.tensor(ids[1:]))
    assert float((bare - _own(model, ids)).abs().max()) > 1e-2


def test_no_conversation_is_read_beyond_the_positions_a_model_has() -> None:
    assert [room(_loaded(KNOWN[kind]).model, 2048) for kind in ("Llama", "GPT-2")] == [2048, 64]
    assert room(_loaded(OTHERS["Granite divides them"]).model, 2048) == 64
