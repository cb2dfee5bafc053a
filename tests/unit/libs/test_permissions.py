"""What a NATS user may say and hear follows from the catalogue, and nothing more is allowed."""

import pytest

from contracts.base import pattern_of
from contracts.catalogue import FACTS, SERVICES
from contracts.outsiders import MISSED
from libs.bus.permissions import ADMISSIONS, doorkeeper, outsider, publishes, subscribes, users

PASSWORDS = dict.fromkeys((*SERVICES, "admin", "auditor", "runner"), "secret")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_tell_its_own_facts_and_no_others(service: str) -> None:
    allowed = set(publishes(service))
    for fact in FACTS:
        assert (pattern_of(fact.kind) in allowed) == (fact.owner == service)
    assert not {">", "*", "evt.>", "tel.>", "$JS.API.>"} & allowed


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_hears_through_its_durable_and_its_own_inbox_alone(service: str) -> None:
    of_outsiders = {ADMISSIONS, MISSED} if service == "gateway" else set()
    assert all(
        subject.startswith((f"_INBOX.{service}.", f"ask.{service}.", "trainer."))
        for subject in set(subscribes(service)) - of_outsiders
    )
    others = [subject for subject in publishes(service) if ".EVENTS." in subject and service != "gateway"]
    assert all(f".EVENTS.{service}" in subject for subject in others if "CONSUMER" in subject or "ACK" in subject)


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_but_the_administrator_may_make_or_change_a_stream(service: str) -> None:
    verbs = ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG", "DURABLE")
    assert not [subject for subject in publishes(service) if any(verb in subject for verb in verbs)]


def test_the_runner_speaks_with_the_trainer_and_with_nobody_else() -> None:
    runner = next(row for row in users(PASSWORDS) if row["user"] == "runner")["permissions"]
    assert runner["publish"] == {"allow": ["trainer.control.*"]}
    assert all(subject.startswith(("_INBOX.runner.", "trainer.runner.")) for subject in runner["subscribe"]["allow"])


def test_an_outsider_hears_one_organisation_and_gets_nothing_of_jetstream() -> None:
    allowed = outsider("studio", "events-1")
    assert allowed == {
        "pub": {"allow": ["missed.studio.events-1"]},
        "sub": {"allow": ["evt.studio.>", "_INBOX.events-1.>"]},
    }


def test_the_doorkeeper_may_list_and_end_connections_and_nothing_else() -> None:
    allowed = doorkeeper("secret")["permissions"]
    assert allowed["publish"] == {"allow": ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"]}
    assert allowed["subscribe"] == {"allow": ["_INBOX.doorkeeper.>"]}


def test_no_service_may_answer_for_the_broker_or_hear_who_comes_in() -> None:
    for service in SERVICES:
        assert not [subject for subject in publishes(service) if subject.startswith(("$SYS", "missed"))]
        assert (ADMISSIONS in subscribes(service)) == (service == "gateway")
