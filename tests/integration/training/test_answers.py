"""Base and tuned answer from one load; scores are those of the plain computation."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from libs.lm.adapters import WEIGHTS, BadAdapter
from libs.lm.choose import Choice, choice_scores
from libs.lm.generate import Loaded, load, replies
from libs.lm.score import batches, token_losses
from tests.integration.training.runs import Calm, talks

ASKED = [each[:1] for each in talks(5)]
CHOICES = [
    Choice([{"role": "user", "content": "What is an index fund?"}], ["A basket.", "A bank", "A card of many", "Tax"]),
    Choice([{"role": "user", "content": "Rent?"}], ["Yes", "No, never in this long life"]),
]


@pytest.fixture
def adapter(calm: Calm, tmp_path: Path) -> Path:
    return shutil.copytree(calm.result, tmp_path / "adapter")


@pytest.fixture
def loaded(tiny: Path, adapter: Path) -> Loaded:
    return load(tiny, adapter, dtype="float32")


def _weighty(adapter: Path, value: float) -> None:
    weights = {name: torch.full_like(tensor, value) for name, tensor in load_file(adapter / WEIGHTS).items()}
    save_file(weights, adapter / WEIGHTS)


def test_the_base_under_an_adapter_answers_as_the_base_alone(tiny: Path, loaded: Loaded) -> None:
    alone = load(tiny, dtype="float32")
    assert replies(loaded, ASKED, tuned=False, max_new_tokens=12) == replies(
        alone, ASKED, tuned=False, max_new_tokens=12
    )
    encoded = [loaded.chat.encode(each) for each in talks(5)]
    for ours, theirs in zip(
        token_losses(loaded, encoded, tuned=False), token_losses(alone, encoded, tuned=False), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_adapter_makes_a_difference(loaded: Loaded) -> None:
    encoded = [loaded.chat.encode(each) for each in talks(5)]
    base, tuned = (np.concatenate(token_losses(loaded, encoded, tuned=each)) for each in (False, True))
    assert tuned.mean() < base.mean()


def test_both_asked_at_once_say_what_each_says_alone(loaded: Loaded) -> None:
    encoded = [loaded.chat.encode(each) for each in talks(5)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    together = loaded.both(lambda tuned: token_losses(loaded, encoded, tuned=tuned))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for tuned, found in enumerate(together):
        for ours, alone in zip(found, token_losses(loaded, encoded, tuned=bool(tuned)), strict=True):
            np.testing.assert_array_equal(ours, alone)
    torch.set_num_threads(threads)


def test_base_and_tuned_share_the_weights_of_the_base(loaded: Loaded) -> None:
    base = {each.data_ptr() for each in loaded.base.parameters()}
    own = [name for name, each in loaded.model.named_parameters() if each.data_ptr() not in base]
    assert own
    assert all("lora_" in name for name in own)


def test_replies_come_in_order_whatever_the_batch(loaded: Loaded) -> None:
    together = replies(loaded, ASKED, tuned=True, max_new_tokens=8)
    alone = [replies(loaded, [each], tuned=True, max_new_tokens=8)[0] for each in ASKED]
    assert together == alone


def test_the_head_is_never_handed_scattered_rows(loaded: Loaded) -> None:
    """For those torch copies all of its weights once a prompt."""
    seen: list[bool] = []
    head = loaded.model.get_output_embeddings()
    head.register_forward_hook(lambda module, given, found: seen.append(given[0].is_contiguous()))
    replies(loaded, ASKED, tuned=True, max_new_tokens=2)
    assert seen
    assert all(seen)


def test_sampling_is_repeatable_and_leaves_the_callers_chance_alone(loaded: Loaded) -> None:
    before = torch.random.get_rng_state()
    first, second = (replies(loaded, ASKED, tuned=True, max_new_tokens=8, temperature=1.0, seed=3) for _ in range(2))
    assert first == second
    assert first != replies(loaded, ASKED, tuned=True, max_new_tokens=8, temperature=1.0, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_losses_are_those_of_the_plain_computation(loaded: Loaded) -> None:
    encoded = [loaded.chat.encode(each) for each in talks(5)]
    for each, losses in zip(encoded, token_losses(loaded, encoded, tuned=True, batch_tokens=300), strict=True):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([each.ids])).logits[0, :-1].float()
        plain = torch.nn.functional.cross_entropy(logits, torch.tensor(each.ids[1:]), reduction="none")
        np.testing.assert_allclose(losses, plain[torch.tensor(each.trained[1:])].numpy(), rtol=1e-4, atol=1e-5)


def test_an_adapter_in_bfloat16_scores_near_float32(tiny: Path, adapter: Path) -> None:
    exact, fast = (load(tiny, adapter, dtype=dtype) for dtype in ("float32", "bfloat16"))
    encoded = [exact.chat.encode(each) for each in talks(5)]
    means = [np.concatenate(token_losses(each, encoded, tuned=True)).mean() for each in (exact, fast)]
    assert means[1] == pytest.approx(means[0], rel=2e-3)
    assert {weight.dtype for name, weight in fast.model.named_parameters() if "lora_" in name} == {torch.bfloat16}


def test_choices_side_by_side_score_as_they_do_alone(loaded: Loaded) -> None:
    for choice, scores in zip(CHOICES, choice_scores(loaded, CHOICES, tuned=True), strict=True):
        asked = loaded.chat.prompt(choice.messages)
        for answer, score in zip(choice.answers, scores, strict=True):
            ids = loaded.chat.plain(answer)
            with torch.no_grad():
                logs = torch.log_softmax(loaded.model(torch.tensor([asked + ids])).logits[0].float(), -1)
            each = [float(logs[len(asked) - 1 + at, token]) for at, token in enumerate(ids)]
            assert float(score) == pytest.approx(sum(each) / len(each), abs=1e-4)


def test_batches_hold_every_index_once_and_keep_the_bound() -> None:
    lengths = [5, 300, 40, 40, 7, 120]
    found = batches(lengths, 128)
    assert sorted(index for part in found for index in part) == list(range(6))
    assert all(max(lengths[index] for index in part) * len(part) <= 128 or len(part) == 1 for part in found)


def test_asking_the_tuned_model_without_an_adapter_is_an_error(tiny: Path) -> None:
    with pytest.raises(BadAdapter, match="without an adapter"):
        replies(load(tiny), ASKED, tuned=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_of_no_numbers_is_refused(tiny: Path, adapter: Path, value: float) -> None:
    _weighty(adapter, value)
    with pytest.raises(BadAdapter, match="NaN"):
        load(tiny, adapter)


def test_an_adapter_for_another_model_is_refused(smollm2: Path, adapter: Path) -> None:
    with pytest.raises(BadAdapter, match="base model"):
        load(smollm2, adapter)
