"""What was told and noted: sequences without gap, outboxes that empty themselves, what was set aside, the audit log."""

from collections.abc import Iterator

from contracts.catalogue import SERVICES
from deploy.invariants.looking import Look
from deploy.invariants.offences import Offence, grouped
from services.gateway.domain.chain import Walk
from services.gateway.queries.audit import sealed_of


def dense(look: Look) -> Iterator[Offence]:
    """The facts one service tells about one thing are numbered 1, 2, 3 …, each number once, as far as its row says."""
    sequences = grouped(look.facts, lambda told: (told.teller, told.aggregate))
    for service in SERVICES:
        for row in look.rows[f"{service}.version"]:
            versions = sorted(told.version for told in sequences.get((service, row["aggregate"]), ()))
            if len(versions) < row["version"] or versions != list(range(1, len(versions) + 1)):
                said = f"{service} numbered {row['version']} facts, told are {_spans(versions)}"
                yield Offence(row["aggregate"], said)
    known = {(service, row["aggregate"]) for service in SERVICES for row in look.rows[f"{service}.version"]}
    for teller, aggregate in sorted(sequences.keys() - known):
        yield Offence(aggregate, f"{teller} told of it and has no row for it")
    for told in look.repeated:
        yield Offence(told.aggregate, f"fact {told.id} stands in the stream twice; readers drop it", harmless=True)


def drained(look: Look) -> Iterator[Offence]:
    """Every fact leaves its outbox."""
    for service in SERVICES:
        for row in look.rows[f"{service}.outbox"]:
            yield Offence(row["id"], f"{service} has not published {row['subject']}")


def set_aside(look: Look) -> Iterator[Offence]:
    """What could not be taken in is listed with its reason."""
    for dead in look.dead:
        yield Offence(f"{dead.subject}#{dead.sequence}", dead.reason[-200:] or "no reason given", harmless=True)


def chained(look: Look) -> Iterator[Offence]:
    """Each organisation's audit log is whole: every entry is there, unchanged, behind the one before it."""
    entries = grouped(look.rows["gateway.audit"], lambda row: row["tenant"])
    for tenant in look.rows["gateway.tenant"]:
        walk = Walk()
        walk.follow(sealed_of(row) for row in entries.get(tenant["tenant"], ()))
        if broken := walk.end(tenant["audited"], tenant["audit_head"]):
            yield Offence(f"{tenant['tenant']}#{broken.number}", broken.why)


def _spans(versions: list[int]) -> str:
    """Say ``1–4, 6`` for 1, 2, 3, 4, 6; a number that stands twice is said twice."""
    spans: list[list[int]] = []
    for version in versions:
        if spans and version == spans[-1][1] + 1:
            spans[-1][1] = version
        else:
            spans.append([version, version])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in spans) or "none"
