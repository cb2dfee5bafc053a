"""Why training failed, in words a person understands, and what to do about it: one table.

A training failure is data, not an exception. ``evidence`` is always kept: exit code or
signal and the last lines the process wrote.
"""

import signal

from msgspec import Struct


class Failure(Struct, frozen=True, kw_only=True):
    """A reason for programs, a sentence and a fix for people, and the evidence for engineers."""

    reason: str
    message: str
    fix: str
    evidence: str


class Rule(Struct, frozen=True):
    """What a kind of failure means and how it is mended."""

    reason: str
    message: str
    fix: str


RULES: dict[str, Rule] = {
    "user_data": Rule(
        "bad_data",
        "The data cannot be trained on.",
        "Look at the dataset's preview: at least one reply of every example must fit into the model's length.",
    ),
    "out_of_memory": Rule(
        "out_of_memory",
        "The device ran out of memory, also with the smallest batches.",
        "Shorten long conversations, choose a smaller base model, or use a device with more memory.",
    ),
    "diverged": Rule(
        "diverged", "The loss became infinite or not a number.", "Train again with half the learning rate."
    ),
    "no_learning": Rule(
        "no_learning",
        "The model did not change: its gradients are zero.",
        "Report this with the run's log; train on another machine meanwhile.",
    ),
    "disk_full": Rule(
        "disk_full",
        "The disk is full. The last checkpoint is whole.",
        "Free some space, then submit the job again.",
    ),
    "unknown_model": Rule(
        "model_missing",
        "The base model is not on the machine that trains.",
        "Ask the operator to add it to the models folder.",
    ),
    "bug": Rule(
        "unknown", "Training met an error nobody foresaw.", "Submit the job once more; report the log if it returns."
    ),
    "lost_worker": Rule(
        "lost_worker",
        "The training process was lost too often.",
        "Look at the machine: something ends its processes (memory limit, restarts).",
    ),
    "infrastructure": Rule(
        "infrastructure", "Storage or network failed too often.", "Look at the storage, then submit the job again."
    ),
    "no_progress": Rule(
        "no_progress",
        "Several attempts in a row ended before a checkpoint was saved.",
        "Look at the log of the attempts: each ended at about the same place.",
    ),
}


def explained(kind: str, evidence: str, message: str, *, times: int = 0) -> Failure:
    """Return the failure of this kind; an unknown kind is a bug. ``times`` adds how often it happened."""
    rule = RULES.get(kind, RULES["bug"])
    said = f"{rule.message} {message}".strip()
    return Failure(
        reason=rule.reason,
        message=f"{said} (It happened {times} times.)" if times else said,
        fix=rule.fix,
        evidence=evidence,
    )


def evidence_of(exit_code: int | None, stderr: str) -> str:
    """Say how a process ended and what it wrote last."""
    if exit_code is None:
        how = "nothing was heard of the process"
    elif exit_code < 0:
        how = f"killed by {signal.Signals(-exit_code).name}"
    else:
        how = f"exit code {exit_code}"
    tail = "\n".join(stderr.splitlines()[-20:])
    return f"{how}\n{tail}".strip()
