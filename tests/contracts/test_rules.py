"""The rules a contract keeps, so that readers and writers of different ages understand each other."""

import json
import re
import subprocess
import sys
from itertools import combinations
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import Struct

from contracts.base import Event, Question, aggregate_of, pattern_of, subject_of
from contracts.catalogue import BY_TYPE, FACTS, QUESTIONS, SERVICES
from contracts.generate import HERE, kinds

SAMPLES = HERE / "samples"

TEXT_ALLOWED = {
    "about": "the tag of the fact a notice tells of",
    "base_model": "a name from the operator's list",
    "by": "conversation or speaker",
    "cause": "one of our own words",
    "channel": "slack, email or console",
    "code": "one of our own words",
    "currency": "a currency's code",
    "evidence": "an exit status or error class of our own process",
    "field": "the name of a field in an upload, from a closed set",
    "filename": "empty since names of files may be names of people; older facts have it",
    "fix": "our own sentence",
    "format": "one of our own words",
    "headline": "our own sentence with figures",
    "message": "our own sentence",
    "method": "lora",
    "objective": "what a model is taught with, one of contracts.recipes.OBJECTIVES",
    "model": "the name clients use for the model",
    "near_duplicates": "drop or keep",
    "notes": "our own sentences",
    "offer_id": "an id, or empty",
    "precision": "bf16 or fp32",
    "preset": "the name of a preset",
    "priority": "high, medium or low",
    "purpose": "one of OpenAI's words",
    "quantization": "how the base stands in memory, one of contracts.recipes.QUANTIZATIONS",
    "features": "words of contracts.recipes.FEATURES",
    "processor": "what multiplies, of two words",
    "reason": "one of our own words",
    "severity": "error or warning",
    "stage": "one of our own words",
    "level": "warn or info",
    "kind": "one of our own words, or what a device calls itself",
    "retry_of": "a job's id, or empty",
    "sentence": "our own sentence",
    "title": "our own words on a button",
    "status": "one of our own words",
    "suffix": "the label a person gave the model",
    "suite": "the name of a suite",
    "suites": "names of suites",
    "url": "where the organisation listens: an address, not what is said there",
    "validation_file": "a file's id, or empty",
    "validation_sha256": "a hash, or empty",
    "verdict": "one of our own words",
    "what": "one of our own words",
    "why": "pause or preempt",
}
"""Fields of facts that may hold text, and why none of it is a customer's words. ``*uri`` are storage keys."""


def sample_of(tag: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / f"{tag}.json").read_text())
    return found


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_once_kept_decodes_for_ever(path: Any) -> None:
    kind = kinds()[path.stem]
    message = msgspec.json.decode(path.read_bytes(), type=kind)
    assert msgspec.json.decode(msgspec.json.encode(message), type=kind) == message
    lost = set(sample_of(path.stem)) - set(kind.__struct_encode_fields__) - {"type"}
    assert not lost, "a field was removed or renamed: that is a new tag"


@pytest.mark.parametrize("tag", kinds())
def test_every_version_has_a_kept_sample_and_ignores_unknown_fields(tag: str) -> None:
    kind = kinds()[tag]
    newer = sample_of(tag) | {"added_later": {"deep": [1]}}
    assert msgspec.convert(newer, kind) == msgspec.convert(sample_of(tag), kind)


@pytest.mark.parametrize("tag", kinds())
def test_a_field_added_after_the_sample_was_kept_has_a_default(tag: str) -> None:
    kind = kinds()[tag]
    added = [field for field in msgspec.structs.fields(kind) if field.encode_name not in sample_of(tag)]
    assert [field.name for field in added if field.required] == []


@pytest.mark.parametrize("kind", kinds().values(), ids=list(kinds()))
def test_contracts_are_frozen_open_and_documented(kind: type[Struct]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert not config.forbid_unknown_fields
    assert config.tag_field == "type"
    assert kind.__doc__


def test_no_tag_is_used_twice() -> None:
    assert len(kinds()) == len(FACTS) + 2 * len(QUESTIONS) + 1


@pytest.mark.parametrize("tag", [tag for tag in kinds() if tag != "refusal"])
def test_a_tag_says_aggregate_what_and_version(tag: str) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+\.v[1-9]\d*", tag)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.type)
def test_a_facts_subject_is_made_of_its_own_fields(fact: Any) -> None:
    event = msgspec.convert(sample_of(fact.type), fact.kind)
    stream, tenant, aggregate, identity, what = subject_of(event).split(".")
    assert stream in ("evt", "tel")
    assert tenant == event.tenant
    assert identity == getattr(event, fact.kind.subject.split(".")[3].strip("{}"))
    assert aggregate_of(event) == f"{tenant}.{aggregate}.{identity}"
    assert what == fact.type.split(".")[1]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.type)
def test_a_subject_token_that_would_break_the_subject_is_refused(fact: Any) -> None:
    event = msgspec.convert(sample_of(fact.type), fact.kind)
    token = fact.kind.subject.split(".")[3].strip("{}")
    for evil in ("a.b", "*", ">", "a b", "", "x" * 81):
        with pytest.raises(ValueError, match=token):
            subject_of(msgspec.structs.replace(event, **{token: evil}))
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(sample_of(fact.type) | {token: evil}, fact.kind)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.type)
def test_a_fact_has_an_owner_and_readers_that_exist(fact: Any) -> None:
    assert fact.owner in SERVICES
    assert set(fact.readers) <= set(SERVICES) - {"gateway"}
    assert not fact.readers or fact.durable, "telemetry is lossy: nobody may depend on it"


def test_no_two_facts_share_a_subject() -> None:
    for one, other in combinations(FACTS, 2):
        assert pattern_of(one.kind) != pattern_of(other.kind)


def test_every_fact_and_question_defined_is_in_the_catalogue() -> None:
    assert {kind for kind in Event.__subclasses__() if kind.__module__.startswith("contracts.")} == {
        fact.kind for fact in FACTS
    }
    assert {kind for kind in Question.__subclasses__() if kind.__module__.startswith("contracts.")} == {
        asked.kind for asked in QUESTIONS
    }


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.type)
def test_a_question_is_asked_of_a_service_that_exists_on_its_subject(asked: Any) -> None:
    assert asked.answered_by in SERVICES
    assert asked.kind.subject.split(".")[:2] == ["ask", asked.answered_by]
    assert asked.deadline > 0


@pytest.mark.parametrize("tag", BY_TYPE)
def test_facts_carry_no_customers_words(tag: str) -> None:
    texts = _free_texts(BY_TYPE[tag].kind)
    assert {name for name in texts if not name.endswith("uri")} <= set(TEXT_ALLOWED), (
        "a fact is kept for ever: text in it must be ours; say in TEXT_ALLOWED why it is"
    )


def test_contracts_need_msgspec_and_nothing_else() -> None:
    script = """
import sys
sys.modules["typing_extensions"] = None  # msgspec uses it where it is, and does without
before = set(sys.modules)
import contracts.catalogue, contracts.generate
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["contracts", "msgspec"]


def _free_texts(kind: type[Struct]) -> set[str]:
    """Names of fields that hold a string no pattern limits, in a struct and all it contains."""
    found: set[str] = set()
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name in kind.__struct_fields__:
            found |= _texts_in(name, msgspec.inspect.type_info(hint))
    return found


def _texts_in(name: str, info: Any) -> set[str]:
    match info:
        case msgspec.inspect.Metadata():
            return _texts_in(name, info.type)
        case msgspec.inspect.StrType():
            return set() if info.pattern else {name}
        case msgspec.inspect.StructType():
            return _free_texts(info.cls)
        case msgspec.inspect.VarTupleType():
            return _texts_in(name, info.item_type)
        case msgspec.inspect.UnionType():
            return {text for each in info.types for text in _texts_in(name, each)}
        case _:
            return set()
