"""Which models there are, which lie here, and what is said of those that do not."""

from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.lm import models
from libs.lm.models import DamagedModel, UnknownModel
from libs.lm.shipped import install


def test_a_model_nobody_knows_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=SHIPPED_MODEL):
        models.resolve(tmp_path, "../../etc/passwd")


def test_a_known_model_that_is_not_here_says_how_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"python -m libs\.lm\.shipped"):
        models.resolve(tmp_path, SHIPPED_MODEL)
    with pytest.raises(UnknownModel, match="mistralai/Mistral"):
        models.resolve(tmp_path, "Mistral-7B-Instruct-v0.3")


def test_only_models_that_lie_here_are_offered(tmp_path: Path, model_dir: Path) -> None:
    assert models.offered(tmp_path) == []
    assert [each.name for each in models.offered(model_dir.parent)] == [SHIPPED_MODEL]


def test_the_shipped_model_is_what_was_stored(model_dir: Path) -> None:
    assert models.verify(model_dir).revision == models.record_of(model_dir).revision


def test_an_altered_weight_is_noticed(tmp_path: Path) -> None:
    for name in models.NEEDED:
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    models.write_record(tmp_path, models.known(SHIPPED_MODEL), "float32")
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(DamagedModel):
        models.verify(tmp_path)


def test_a_folder_without_weights_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"config\.json"):
        models.write_record(tmp_path, models.known(SHIPPED_MODEL), "float32")


def test_a_second_installation_has_nothing_to_do(model_dir: Path) -> None:
    assert install(model_dir.parent) is False


def test_the_catalogue_counts_lora_as_the_model_has_it() -> None:
    assert models.known(SHIPPED_MODEL).lora_parameters(16) == 4_884_480
