"""Whether what a runner says can be true, whoever wrote the runner: a report that fails here changes nothing.

Runners are other machines. They hold one NATS user together, so a name is a claim; the session a lease was given to is
known to its process and the control alone. A report must name a lease, its runner, session and run as the database has
them, stay inside the attempt's own folder on storage, and hold figures that such a run can have.
"""

import math
import re
from typing import Any

import msgspec
from msgspec import Struct

from services.trainer.line import Beat, Broken, Done, Halted, Hello, ProgressReport, Reached, Remark, Report, Uploaded

MOST_DEVICES = 64
MOST_NUMBER = 1 << 53
MOST_BYTES = 1 << 50
MOST_TEXT = 1 << 18
RUNNER = re.compile(r"[A-Za-z0-9_-]{1,40}")
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,80}")
WORD = re.compile(r"[a-z0-9_]{0,40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SIGNALS = 64
LARGEST_EXIT = 255


class Granted(Struct, frozen=True, kw_only=True):
    """The lease that a report names, as the database has it; ``steps`` is the length of the run, 0 when unknown."""

    fence: int
    runner: str
    session: str
    tenant: str
    run_id: str
    steps: int


def flaw_of_report(said: Report, lease: Granted | None) -> str | None:
    """Return why this report cannot be true; ``None``: it may be."""
    if lease is None:
        return "no lease with this fence was ever granted"
    if lease.runner != said.runner:
        return "the lease belongs to another runner"
    if lease.session != said.session:
        return "the lease belongs to another process of this runner"
    if lease.run_id != said.run_id:
        return "the lease belongs to another run"
    return _absurd(said.what) or _flaw_of_content(said.what, lease)


def flaw_of_progress(said: ProgressReport, lease: Granted) -> str | None:
    """Return why this look cannot be true; ``None``: it may be."""
    if (lease.runner, lease.session, lease.run_id) != (said.runner, said.session, said.run_id):
        return "the lease belongs to another"
    return _absurd(said.seen) or _beyond(said.seen.step, lease)


def flaw_of_hello(said: Hello) -> str | None:
    """Return why this runner cannot be taken in; ``None``: it can."""
    if not RUNNER.fullmatch(said.runner):
        return "a runner's name is 1 to 40 letters, digits, hyphens and underscores"
    if said.session and not TOKEN.fullmatch(said.session):
        return "a session is one token"
    if not 1 <= len(said.devices) <= MOST_DEVICES:
        return f"a runner has between 1 and {MOST_DEVICES} devices"
    for device in said.devices:
        if not (TOKEN.fullmatch(device.device_id) and device.device_id.startswith(f"{said.runner}-")):
            return "a device's id begins with its runner's name"
        if flaw := _absurd(device):
            return flaw
        if not (device.memory_bytes and device.threads and device.flops > 0):
            return "a device has memory, threads and speed"
        if len(device.features) > MOST_DEVICES or any(_no_word(each) for each in device.features):
            return "a device's features are words"
    return None


def flaw_of_beat(said: Beat) -> str | None:
    """Return why this is no runner's beat; ``None``: it may be."""
    return None if RUNNER.fullmatch(said.runner) else "this is no runner's name"


def _flaw_of_content(what: Any, lease: Granted) -> str | None:
    match what:
        case Uploaded():
            return _beyond(what.step, lease) or _outside(what.uri, lease) or _no_hash(what.sha256) or _giant(what.size)
        case Done():
            return (
                _beyond(what.steps, lease)
                or _outside(what.adapter_uri, lease)
                or _no_hash(what.sha256)
                or _giant(what.size)
            )
        case Reached():
            return _beyond(what.step, lease) or _no_word(what.stage)
        case Broken():
            return _beyond(what.step, lease) or _no_word(what.kind)
        case Remark():
            return _beyond(what.step, lease) or _no_word(what.code) or _no_word(what.level)
        case Halted():
            return _beyond(what.step, lease)
    return None


def _absurd(said: Struct) -> str | None:
    """Numbers that no run has, and text that no table takes."""
    for name, value in msgspec.structs.asdict(said).items():
        if name == "exit_code":
            if value is not None and not -SIGNALS <= value <= LARGEST_EXIT:
                return f"{name} is not what a process can end with"
        elif isinstance(value, int | float) and not _sane(value):
            return f"{name} is out of range"
        elif isinstance(value, str) and ("\0" in value or len(value) > MOST_TEXT):
            return f"{name} is not a text that is kept"
    return None


def _sane(value: int | float) -> bool:
    if isinstance(value, int):
        return 0 <= value <= MOST_NUMBER
    return math.isfinite(value) and abs(value) <= MOST_NUMBER**2


def _beyond(step: int, lease: Granted) -> str | None:
    return f"step {step} lies beyond the run's {lease.steps}" if lease.steps and step > lease.steps else None


def _outside(uri: str, lease: Granted) -> str | None:
    prefix = f"{lease.tenant}/runs/{lease.run_id}/fence-{lease.fence}/"
    inside = uri.startswith(prefix) and all(TOKEN.fullmatch(part) for part in uri.removeprefix(prefix).split("/"))
    return None if inside else "its place on storage lies outside the attempt's own folder"


def _no_hash(sha256: str) -> str | None:
    return None if SHA256.fullmatch(sha256) else "sha256 is 64 hexadecimal digits"


def _no_word(word: str) -> str | None:
    return None if WORD.fullmatch(word) else "a stage or a kind is one word"


def _giant(size: int) -> str | None:
    return "size is larger than any adapter" if size > MOST_BYTES else None
