"""``woodshed keys``, ``members``, ``audit``: who may do what, and who changed what."""

import re
from typing import Annotated, Any

import httpx
from cyclopts import App, Parameter
from rich.console import Console

from services.cli import show
from services.cli.client import Json
from services.cli.errors import EndedBadly, Unreachable, Unusable, refusal
from services.cli.session import Here, Session, app, asked

keys = App(name="keys", help="API keys: list, make, rotate, revoke. A key makes only keys that can do less.")
members = App(name="members", help="Members and their roles: owner, engineer, analyst, staff.")
audit = App(name="audit", help="The log of who changed what.")
app.command(keys)
app.command(members)
app.command(audit)

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

Scopes = Annotated[list[str] | None, Parameter(name="--scope", help="what it may do, such as jobs.read; repeatable")]
Expires = Annotated[str, Parameter(help="how long it holds, such as 90d or 12h (default: as long as yours)")]
Overlap = Annotated[str, Parameter(help="how long the old key goes on to hold (default: a day)")]
Member = Annotated[str | None, Parameter(help="whose it shall be (default: yours)")]


@keys.command(name="list")
async def list_keys(*, here: Here) -> None:
    """List keys: yours, or everybody's if you may see them."""
    rows = show.table("key", "name", "member", "may", "ends", "last used")
    for each in (await here.api.get("/v1/keys"))["data"]:
        rows.add_row(
            each["id"], show.clean(each["name"]), each["member"], _may(each), _end(each), _moment(each["last_used_at"])
        )
    here.console.print(rows)


@keys.command
async def make(name: str, *, scope: Scopes = None, expires: Expires = "", member: Member = None, here: Here) -> None:
    """Make a key; it is printed this once."""
    wish = {"name": name, "scopes": scope, "member": member, "expires_in": lifetime(expires) if expires else None}
    _print_new(here, await here.api.post("/v1/keys", wish))


@keys.command
async def rotate(key: str, *, overlap: Overlap = "", here: Here) -> None:
    """Make a key's successor; both hold for a while, then only the new one. KEY is the part after ``wsk-``."""
    wish = {"overlap": lifetime(overlap)} if overlap else {}
    made = await here.api.post(f"/v1/keys/{key}/rotate", wish)
    old = await here.api.get(f"/v1/keys/{key}")
    _print_new(here, made)
    here.console.print(f"The old key {key} holds until {_moment(old['expires_at'])}.")


@keys.command
async def revoke(key: str, *, here: Here) -> None:
    """Make a key void, at once and for ever."""
    await here.api.delete(f"/v1/keys/{key}")
    here.console.print(f"{key} does not hold any more.")


@members.command(name="list")
async def list_members(*, here: Here) -> None:
    """List who belongs to the organisation."""
    rows = show.table("member", "name", "role", "address", "signs in", "invitation")
    for each in (await here.api.get("/v1/members"))["data"]:
        signs_in = "yes" if each["signs_in"] else "no"
        rows.add_row(
            each["id"],
            show.clean(each["name"]),
            each["role"],
            show.clean(each["email"] or "–"),
            signs_in,
            each["invitation_mail"] or "–",
        )
    here.console.print(rows)


@members.command
async def add(name: str, role: str, *, email: str | None = None, here: Here) -> None:
    """Add somebody, or a program that shall have keys of its own."""
    made = await here.api.post("/v1/members", {"name": name, "role": role, "email": email})
    here.console.print(f"{made['id']}  {made['role']}")


@members.command
async def role(member: str, role: str, *, here: Here) -> None:
    """Give a member another role; it holds from the next call on."""
    changed = await here.api.patch(f"/v1/members/{member}", {"role": role})
    here.console.print(f"{changed['id']}  {changed['role']}")


@members.command
async def invite(
    member: str, *, mail: Annotated[bool, Parameter(help="send it to the member's address")] = False, here: Here
) -> None:
    """Make an invitation with which a member sets a password; it is mailed, or printed this once."""
    made = await here.api.post(f"/v1/members/{member}/invitation", {"send": mail})
    if mail:
        here.console.print("It is on its way. What became of the letter: woodshed members list")
        return
    here.console.print(f"{made['invitation']}  (holds until {_moment(made['expires_at'])})")
    here.console.print(f"In a browser: {here.api.access.url}/invitation#{made['invitation']}", soft_wrap=True)


@app.command
def accept(url: str) -> None:
    """Set a password with an invitation; both are asked for. URL is the address of the Woodshed you are invited to."""
    wish = {"invitation": asked("Invitation: "), "password": asked("Password: ")}
    try:
        answer = httpx.post(f"{url.rstrip('/')}/v1/invitations/accept", json=wish, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{url} could not be reached ({type(error).__name__}).") from error
    if not answer.is_success:
        raise refusal(answer.status_code, answer.content)
    Console(highlight=False).print(
        f"The password is set. Sign in with {show.clean(answer.json()['email'])}.", markup=False
    )


@members.command
async def remove(member: str, *, here: Here) -> None:
    """Remove a member; their keys and sessions end at once, what they made stays."""
    await here.api.delete(f"/v1/members/{member}")
    here.console.print(f"{member} is gone.")


@audit.command(name="list")
async def list_audit(*, limit: int = 50, here: Here) -> None:
    """List who changed what, the latest first."""
    rows = show.table("number", "when", "who", "by", "what", "about", "from", right=["number"])
    for each in (await here.api.get("/v1/audit", limit=limit))["data"]:
        when = each["at"][:19].replace("T", " ")
        rows.add_row(
            str(each["number"]), when, each["actor"], each["via"], each["action"], each["about"], each["origin"]
        )
    here.console.print(rows)


@audit.command
async def verify(*, here: Here) -> None:
    """See that no entry of the log was changed or taken out."""
    found = await here.api.get("/v1/audit/verify")
    if not found["holds"]:
        raise EndedBadly(f"The audit log does not hold: {found['why']}.")
    here.console.print(f"All {found['entries']} entries are there and unchanged. The last one's hash: {found['head']}")


def lifetime(text: str) -> float:
    """Read ``90s``, ``30m``, ``12h`` or ``90d`` as seconds; ``Unusable`` says how it is written."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match:
        raise Unusable(f"A time is written like 30m, 12h or 90d, not {text!r}.")
    return float(match[1]) * SECONDS[match[2]]


def _print_new(here: Session, made: Json) -> None:
    here.console.print(f"{made['key']}   (printed this once)", soft_wrap=True)
    here.console.print(f"may: {_may(made['api_key'])} · ends: {_end(made['api_key'])}", soft_wrap=True)


def _may(key: Json) -> str:
    return f"all that {key['role']} may" if key["scopes"] is None else ", ".join(key["permissions"]) or "nothing"


def _end(key: Json) -> str:
    if key["revoked_at"]:
        return f"revoked {_moment(key['revoked_at'])}"
    return _moment(key["expires_at"]) if key["expires_at"] else "never"


def _moment(seconds: Any) -> str:
    return show.moment(seconds) if seconds else "–"
