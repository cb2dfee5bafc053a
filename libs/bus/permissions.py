"""What each NATS user may say and hear, derived from the catalogue: the least that works.

A service may publish only the facts it owns, pull only from its own durable, and answer
only questions addressed to it. NATS does not check reply subjects, so every reader also
decodes strictly and checks that the producer owns what it tells.
"""

from typing import Any

from contracts.base import pattern_of
from contracts.catalogue import QUESTIONS, SERVICES, heard_by, told_by
from contracts.outsiders import MISSED, inbox_of, missed_by
from libs.bus.streams import DEADLETTERS, EVENTS, TELEMETRY

RUNNER = "runner"
ADMIN = "admin"
AUDITOR = "auditor"
"""Reads what was told and what was set aside, and says nothing."""

DOORKEEPER = "doorkeeper"
"""The gateway's second self: in the system account, where it may end connections and nothing else."""

ADMISSIONS = "$SYS.REQ.USER.AUTH"
"""Where the broker asks whether somebody it does not know may come in."""

CONTROL_SUBJECTS = "trainer.control.*"
RUNNER_SUBJECTS = "trainer.runner.*.*"
"""The private line between the trainer's two programs."""


def publishes(user: str) -> list[str]:
    """Return the subjects a service may publish on."""
    allowed = [pattern_of(fact.kind) for fact in told_by(user)]
    allowed += [f"$JS.API.STREAM.INFO.{stream}" for stream in (EVENTS, TELEMETRY, DEADLETTERS)]
    allowed += [f"dead.{user}.>"]
    if heard_by(user):
        allowed += [
            f"$JS.API.CONSUMER.INFO.{EVENTS}.{user}",
            f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{user}",
            f"$JS.ACK.{EVENTS}.{user}.>",
        ]
    allowed += [question.kind.subject for question in QUESTIONS if question.asked_by == user]
    if user == "gateway":
        allowed += _reading(EVENTS) + _reading(TELEMETRY)
    if user == "trainer":
        allowed += [RUNNER_SUBJECTS]
    return sorted(set(allowed))


def _reading(stream: str) -> list[str]:
    """Return what a reader of a whole stream, in order and for itself, has to ask JetStream for."""
    verbs = (("CREATE", ".>"), ("CREATE", ""), ("DELETE", ".>"), ("INFO", ".>"))
    return [f"$JS.API.CONSUMER.{verb}.{stream}{rest}" for verb, rest in verbs] + [f"$JS.FC.{stream}.>"]


def subscribes(user: str) -> list[str]:
    """Return the subjects a service may subscribe to."""
    allowed = [f"_INBOX.{user}.>"]
    allowed += [question.kind.subject for question in QUESTIONS if question.answered_by == user]
    if user == "trainer":
        allowed += [CONTROL_SUBJECTS]
    if user == "gateway":
        allowed += [ADMISSIONS, MISSED]
    return sorted(allowed)


def outsider(tenant: str, credential: str) -> dict[str, Any]:
    """Return what an outsider may do: hear its organisation's facts, and ask for those it missed.

    Nothing of JetStream: NATS does not check where an answer shall go, and the next message of a consumer may be
    asked to go into a stream.
    """
    return {
        "pub": {"allow": [missed_by(tenant, credential)]},
        "sub": {"allow": [f"evt.{tenant}.>", f"{inbox_of(credential)}.>"]},
    }


def doorkeeper(password: str) -> dict[str, Any]:
    """Return the system account's one user: it may list connections and end them."""
    return {
        "user": DOORKEEPER,
        "password": password,
        "permissions": {
            "publish": {"allow": ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"]},
            "subscribe": {"allow": [f"_INBOX.{DOORKEEPER}.>"]},
        },
    }


def users(passwords: dict[str, str]) -> list[dict[str, Any]]:
    """Return the ``authorization.users`` of a NATS server.

    ``passwords`` has one for each service, for the runner, the auditor and the admin.
    """
    rows: list[dict[str, Any]] = [{"user": ADMIN, "password": passwords[ADMIN]}]
    for service in SERVICES:
        rows.append(
            {
                "user": service,
                "password": passwords[service],
                "permissions": {
                    "publish": {"allow": publishes(service)},
                    "subscribe": {"allow": subscribes(service)},
                    "allow_responses": True,
                },
            }
        )
    rows.append(
        {
            "user": RUNNER,
            "password": passwords[RUNNER],
            "permissions": {
                "publish": {"allow": [CONTROL_SUBJECTS]},
                "subscribe": {"allow": [f"_INBOX.{RUNNER}.>", RUNNER_SUBJECTS]},
                "allow_responses": True,
            },
        }
    )
    asks = [f"$JS.API.STREAM.INFO.{stream}" for stream in (EVENTS, DEADLETTERS)]
    rows.append(
        {
            "user": AUDITOR,
            "password": passwords[AUDITOR],
            "permissions": {
                "publish": {"allow": [*asks, *_reading(EVENTS), *_reading(DEADLETTERS)]},
                "subscribe": {"allow": [f"_INBOX.{AUDITOR}.>"]},
            },
        }
    )
    return rows
