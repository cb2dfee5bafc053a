"""What may be done about members: who can give which role, and that an organisation keeps an owner."""

import re
from collections.abc import Collection

from libs.errors import Conflict, Forbidden, Rejected
from services.gateway.domain.permissions import Permission, Role, granted

ADDRESS = r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,185}\.[^@\s\x00-\x1f\x7f.]{2,63}"
_ADDRESS = re.compile(ADDRESS)


def checked_email(text: str) -> str:
    """Return an address as it is compared: in small letters; ``Rejected`` when it is none."""
    email = text.strip().lower()
    if not _ADDRESS.fullmatch(email):
        raise Rejected(f"{text[:100]!r} is no e-mail address.", code="bad_email", field="email")
    return email


def check_may_give(caller: frozenset[Permission], role: Role) -> None:
    """Return if somebody with these permissions may act for a role: it can do no more than they can."""
    if more := granted(role, None) - caller:
        raise Forbidden(
            f"The role {role} can do more than this caller: {', '.join(sorted(more))}.",
            code="role_too_wide",
            field="role",
            fix="Use a key of an owner that was not narrowed, or sign in.",
        )


def check_owner_stays(owners: Collection[str], member: str, role: Role | None) -> None:
    """Return if there is still an owner after ``member`` gets ``role`` (``None``: is removed)."""
    if role != "owner" and set(owners) == {member}:
        raise Conflict(
            "This is the last owner: nobody could give roles any more.",
            code="last_owner",
            fix="Make somebody else an owner first.",
        )
