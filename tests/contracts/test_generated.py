"""What is generated from the catalogue is committed, whole and valid by the publishers' own schemas."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contracts.base import pattern_of
from contracts.catalogue import FACTS, SERVICES
from contracts.generate import HERE, asyncapi, files, kinds, schema_of
from libs.bus.permissions import publishes

PUBLISHED = Path(__file__).parent / "published" / "asyncapi-3.0.0.json"
DOCUMENT = asyncapi()


def test_what_is_committed_is_what_the_catalogue_gives() -> None:
    wanted = files()
    differing = [str(path.relative_to(HERE)) for path, text in wanted.items() if path.read_text() != text]
    assert not differing, "run `python -m contracts.generate`"
    assert set((HERE / "schemas").glob("*.json")) <= set(wanted), "schemas of kinds that no longer exist"


def test_the_asyncapi_document_is_valid_by_asyncapis_own_schema() -> None:
    validator = jsonschema.Draft7Validator(json.loads(PUBLISHED.read_text()))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []


def test_the_asyncapi_schema_here_refuses_a_document_that_is_wrong() -> None:
    wrong = DOCUMENT | {"operations": {"x": {"action": "shout", "channel": {"$ref": "#/channels/x"}}}}
    assert not jsonschema.Draft7Validator(json.loads(PUBLISHED.read_text())).is_valid(wrong)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    for place in _references(DOCUMENT):
        here: Any = DOCUMENT
        for step in place.removeprefix("#/").split("/"):
            assert step in here, place
            here = here[step]


def test_every_parameter_of_an_address_is_described() -> None:
    for name, channel in DOCUMENT["channels"].items():
        in_address = set(re.findall(r"{(\w+)}", channel["address"] or ""))
        assert in_address == set(channel.get("parameters", {})), name


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_and_the_permissions_agree_on_who_tells_what(service: str) -> None:
    tells = {name.split(".tells.")[1] for name in DOCUMENT["operations"] if name.startswith(f"{service}.tells.")}
    assert {pattern_of(fact.kind) for fact in FACTS if fact.type in tells} == {
        subject for subject in publishes(service) if subject.startswith(("evt.", "tel."))
    }


@pytest.mark.parametrize("tag", kinds())
def test_each_schema_is_one_and_accepts_its_kept_sample(tag: str) -> None:
    schema = schema_of(kinds()[tag])
    jsonschema.Draft202012Validator.check_schema(schema)
    sample = json.loads((HERE / "samples" / f"{tag}.json").read_text())
    jsonschema.validate(sample, schema, jsonschema.Draft202012Validator)
    jsonschema.validate(sample | {"from_a_newer_version": 1}, schema, jsonschema.Draft202012Validator)


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [place for each in node for place in _references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [place for each in node.values() for place in _references(each)]
