"""Every weight trained: the gradient is the plain one, the result loads by itself and beside its base."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from libs.lm.adapters import WHOLE, BadAdapter
from libs.lm.chat import ChatFormat
from libs.lm.generate import load, replies
from libs.lm.score import token_losses
from services.trainer.training import metrics
from services.trainer.training.data import Example, pack
from services.trainer.training.loss import row_loss
from services.trainer.training.protocol import AttemptSpec
from tests.integration.training.runs import carry_out, changed, spec_in, talks


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = spec_in(tmp_path_factory.mktemp("full"), tiny)
    recipe = msgspec.structs.replace(spec.recipe, method="full", learning_rate=2e-3)
    carry_out(changed(spec, recipe=recipe))
    return Path(spec.work_dir) / "adapter"


def test_the_gradient_of_every_weight_is_the_plain_one(tiny: Path, chat: ChatFormat) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    encoded = chat.encode(talks(3)[2])
    total, _ = row_loss(model, pack([Example(encoded.ids, encoded.labels)], 4096)[0])
    total.backward()
    ours = {name: each.grad.clone() for name, each in model.named_parameters()}
    model.zero_grad()
    logits = model(torch.tensor([encoded.ids])).logits[0, :-1].float()
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor(encoded.labels[1:]), reduction="sum")
    plain.backward()
    assert float(total) == pytest.approx(float(plain), rel=1e-5)
    for name, each in model.named_parameters():
        torch.testing.assert_close(ours[name], each.grad, rtol=1e-3, atol=1e-4)


def test_it_learns_with_and_without_bfloat16(spec: AttemptSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.trainer.training import attempt

    recipe = msgspec.structs.replace(spec.recipe, method="full", learning_rate=2e-3, epochs=4)
    for dtype in ("float32", "bfloat16"):
        monkeypatch.setattr(attempt, "dtype_for", lambda device, dtype=dtype: dtype)
        work = Path(spec.work_dir) / dtype
        carry_out(changed(spec, recipe=recipe, work_dir=str(work)))
        points = metrics.read(work / "adapter")
        assert points[-1].train_loss < points[0].train_loss - 0.3


def test_what_was_trained_is_a_model_folder_like_its_base(trained: Path, tiny: Path) -> None:
    alone = AutoModelForCausalLM.from_pretrained(trained)
    given, base = load_file(trained / WHOLE), load_file(tiny / "model.safetensors")
    assert {name: each.dtype for name, each in given.items()} == {name: each.dtype for name, each in base.items()}
    assert torch.equal(alone.state_dict()["model.embed_tokens.weight"], given["model.embed_tokens.weight"])
    assert not torch.equal(given["model.embed_tokens.weight"], base["model.embed_tokens.weight"])


def test_base_and_trained_answer_side_by_side(trained: Path, tiny: Path) -> None:
    both, alone = load(tiny, trained, dtype="float32"), load(tiny, dtype="float32")
    encoded = [both.chat.encode(each) for each in talks(5)]
    base, tuned = (np.concatenate(token_losses(both, encoded, tuned=each)) for each in (False, True))
    np.testing.assert_array_equal(base, np.concatenate(token_losses(alone, encoded, tuned=False)))
    assert tuned.mean() < base.mean()
    asked = [each[:1] for each in talks(2)]
    assert replies(both, asked, tuned=False, max_new_tokens=4) == replies(alone, asked, tuned=False, max_new_tokens=4)


def test_weights_that_do_not_fit_or_are_no_numbers_are_refused(trained: Path, tiny: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(trained, tmp_path / "spoiled")
    weights = load_file(trained / WHOLE)
    name = "model.norm.weight"
    for wrong, says in ((torch.full_like(weights[name], float("nan")), "NaN"), (torch.ones(3), "base model")):
        save_file(weights | {name: wrong}, spoiled / WHOLE)
        with pytest.raises(BadAdapter, match=says):
            load(tiny, spoiled)
