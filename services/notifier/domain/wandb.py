"""A job's run as Weights & Biases is told of it: its labels, its configuration, a line for each step, how it ended.

The shapes are those that its own client sends (wandb 0.31: ``core/internal/filestream`` and ``runupserter``).
A run's id is the job's. Nothing goes out but ids, settings and figures, and the labels that a person chose for this.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from contracts.trackers import Labels, Measured, Tracked

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 255}
"""What makes a run finished, failed or killed; the last is what the client sends when somebody interrupts it."""

LONGEST_TAG = 64
SHOWN = tuple(name for name in Measured.__struct_fields__ if name not in ("step", "at"))


class Standing(Struct, frozen=True, kw_only=True):
    """How far a run was told: its newest step, how many lines it has, and the newest value of each figure."""

    step: int = -1
    lines: int = 0
    summary: dict[str, Any] = {}

    def at_least(self, step: int, lines: int) -> "Standing":
        """Return where the run stands if that much was told too."""
        return Standing(step=max(self.step, step), lines=max(self.lines, lines), summary=self.summary)


def worth_showing(tracked: Tracked, lines: int) -> bool:
    """Say whether there is a run to show: something was measured, or training failed before it came so far."""
    return bool(tracked.steps) or lines > 0 or (tracked.ended == "failed" and tracked.recipe is not None)


def labels_of(job_id: str, tracked: Tracked) -> Labels:
    """Return what the run is called, and its tags: three of ours first, as OpenAI adds three of its own."""
    ours = [f"woodshed/{each}"[:LONGEST_TAG] for each in ("finetune", tracked.base_model, job_id)]
    wished = tracked.labels
    return msgspec.structs.replace(wished, name=wished.name or job_id, tags=tuple(dict.fromkeys([*ours, *wished.tags])))


def config_of(job_id: str, tracked: Tracked) -> str:
    """Return the run's configuration as JSON, each value as ``{"value": …}``: the recipe, and what it is of."""
    recipe = msgspec.to_builtins(tracked.recipe) if tracked.recipe else {}
    values = recipe | {
        "job_id": job_id,
        "base_model": tracked.base_model,
        "preset": tracked.preset,
        "seed": tracked.seed,
        "dataset": tracked.dataset_id,
        "training_file": tracked.training_file,
        "validation_file": tracked.validation_file or None,
    }
    return _json({name: {"value": value} for name, value in values.items()})


def payload_of(tracked: Tracked, standing: Standing) -> tuple[dict[str, Any], Standing]:
    """Return what to send next, and where the run stands when it was taken. With nothing to tell it is a sign of life.

    Lines are numbered, so that sending some of them twice writes the same ones.
    """
    began = tracked.began or tracked.created_at
    lines = [line_of(each, began) for each in tracked.steps if each.step > standing.step]
    payload: dict[str, Any] = {}
    if lines:
        summary = _summary_of(standing, lines)
        payload["files"] = {
            HISTORY: {"offset": standing.lines, "content": [_json(line) for line in lines]},
            SUMMARY: {"offset": 0, "content": [_json(summary)]},
        }
        standing = Standing(step=lines[-1]["_step"], lines=standing.lines + len(lines), summary=summary)
    if tracked.ended:
        payload |= {"complete": True, "exitcode": EXIT_CODES[tracked.ended]}
    return payload, standing


def line_of(measured: Measured, began: datetime) -> dict[str, Any]:
    """Return a step as a line of the run's history; what nobody measured is left out."""
    values = {name: getattr(measured, name) for name in SHOWN}
    return {name: value for name, value in values.items() if value is not None} | {
        "_step": measured.step,
        "_timestamp": measured.at.timestamp(),
        "_runtime": max(0.0, (measured.at - began).total_seconds()),
    }


def standing_in(lines: int, tail: str | None, summary: str | None) -> Standing:
    """Return where a run stands by what the server says: its number of lines, the last of them, and its summary.

    Both come as JSON in a string, each line as JSON in a string again; what does not fit says nothing.
    """
    last = [_decoded(line) for line in _decoded(tail, list[str]) or []]
    steps = [line["_step"] for line in last if isinstance(line, dict) and isinstance(line.get("_step"), int)]
    return Standing(step=max(steps, default=-1), lines=lines, summary=_decoded(summary, dict[str, Any]) or {})


def _summary_of(standing: Standing, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest value of each figure, also of those that only earlier lines have."""
    summary = dict(standing.summary)
    for line in lines:
        summary |= line
    return summary | {"_wandb": {"runtime": int(summary["_runtime"])}}


def _decoded(text: str | None, kind: Any = Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.MsgspecError:
        return None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
