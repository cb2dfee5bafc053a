"""How things get ids that say the same twice: datasets by content, story entries by their fact.

A dataset asked for twice is one dataset, and a fact delivered twice is one line of a job's
story, because both ids are computed and not drawn.
"""

import hashlib
from datetime import datetime

import msgspec

from contracts.base import Event, aggregate_of, type_of
from contracts.datasets import SplitPlan

CONTENT = "content"
"""What an upload is called in storage: what a person called it may be the name of a person, and keys are told."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VERSION_BITS = 20
_HASH_BITS = 48


def dataset_id(
    tenant: str, sha256: str, validation_sha256: str, base_model: str, format: str, split: SplitPlan, max_length: int
) -> str:
    """Return ``ds-`` and 24 characters that depend on everything the dataset's content depends on."""
    wish = [tenant, sha256, validation_sha256, base_model, format, msgspec.to_builtins(split), max_length]
    return f"ds-{_base32(_hash(msgspec.json.encode(wish), 120))}"


def fact_id(prefix: str, fact: Event, job_id: str) -> str:
    """Return an id for what a fact adds to a job: it sorts by the fact's time, and in the same µs by its version.

    52 bits of µs come first, then 20 of the version and 48 of a hash.
    """
    name = f"{type_of(type(fact))} {aggregate_of(fact)} {fact.version} {job_id}"
    place = _microseconds(fact.at) << _VERSION_BITS | fact.version % 2**_VERSION_BITS
    return f"{prefix}-{_base32(place << _HASH_BITS | _hash(name.encode(), _HASH_BITS))}"


def result_file_id(job_id: str) -> str:
    """Return the id of the file with a job's figures by step."""
    return f"file-{_base32(_hash(job_id.encode(), 120))}"


def shown_filename(name: str) -> str:
    """Return an upload's name without its folders and control characters, at most 255 characters."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in base if character.isprintable())[-255:] or "file"


def _microseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _hash(data: bytes, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(data).digest(), "big") >> (256 - bits)


def _base32(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(115, -1, -5))
