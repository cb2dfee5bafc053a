"""What a checkpoint is called, and what its name leads to."""

import pytest

from services.gateway.domain.checkpoints import checkpoint_name, named

ROW = {"model": "SmolLM2", "tenant": "acme", "suffix": "Money Coach", "job_id": "ftjob-0abc7p4xure2", "step": 90}


def test_a_checkpoint_is_named_like_its_model_and_found_by_its_name() -> None:
    name = checkpoint_name(ROW)
    assert name == "ft:SmolLM2:acme:money-coach:7p4xure2:ckpt-step-90"
    assert named(name) == ("7p4xure2", 90)


@pytest.mark.parametrize(
    "name", ["", "ft:a:b:c:d", "ft:a:b:c:7p4xure2", "ftjob-1:step-3", "ft:a::7p4xure2:ckpt-step-x"]
)
def test_what_is_no_checkpoints_name_leads_nowhere(name: str) -> None:
    assert named(name) is None
