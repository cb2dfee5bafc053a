"""What a checkpoint is called as a model: OpenAI's shape, ``ft:base:organisation:suffix:id:ckpt-step-90``."""

import re
from typing import NamedTuple

from contracts.jobs import model_name
from services.gateway.domain.statuses import Row

_NAME = re.compile(r"ft:.*:([0-9a-z]{8}):ckpt-step-([0-9]{1,12})")


class Named(NamedTuple):
    """What a name says that can be looked up: the end of the job's id, and the step."""

    job: str
    step: int


def checkpoint_name(row: Row) -> str:
    """Name a checkpoint: the model its job makes, and the step."""
    model = model_name(row["model"], row["tenant"], row["suffix"], row["job_id"])
    return f"{model}:ckpt-step-{row['step']}"


def named(name: str) -> Named | None:
    """Read a checkpoint's name; ``None`` when it does not look like one."""
    match = _NAME.fullmatch(name)
    return Named(match[1], int(match[2])) if match else None
