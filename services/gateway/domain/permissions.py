"""Who may do what: the permissions of every role, and of a key that was made with less.

A route names the one permission it needs; the guard asks here. What is refused says which
permission is missing, who has it, and who can give it.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from libs.errors import Forbidden, Rejected

Role = Literal["owner", "engineer", "analyst", "staff"]

Permission = Literal[
    "self",
    "files.read",
    "files.write",
    "datasets.read",
    "datasets.write",
    "jobs.read",
    "jobs.write",
    "models.read",
    "models.download",
    "models.write",
    "models.use",
    "keys.own",
    "keys.all",
    "members.read",
    "members.write",
    "webhooks.read",
    "webhooks.write",
    "notices.read",
    "notices.write",
    "events.read",
    "events.write",
    "budgets.read",
    "budgets.write",
    "machines.read",
    "audit.read",
]

ROLES: tuple[Role, ...] = get_args(Role)
EVERYBODY = ROLES

WHO_MAY: Mapping[Permission, tuple[Role, ...]] = {
    "self": EVERYBODY,
    "files.read": EVERYBODY,
    "files.write": ("owner", "engineer", "staff"),
    "datasets.read": EVERYBODY,
    "datasets.write": ("owner", "engineer", "staff"),
    "jobs.read": EVERYBODY,
    "jobs.write": ("owner", "engineer", "staff"),
    "models.read": EVERYBODY,
    "models.download": ("owner", "engineer", "staff"),
    "models.write": ("owner", "engineer"),
    "models.use": EVERYBODY,
    "keys.own": EVERYBODY,
    "keys.all": ("owner",),
    "members.read": EVERYBODY,
    "members.write": ("owner",),
    "webhooks.read": ("owner", "engineer"),
    "webhooks.write": ("owner", "engineer"),
    "notices.read": EVERYBODY,
    "notices.write": ("owner", "engineer", "staff"),
    "events.read": ("owner", "engineer"),
    "events.write": ("owner", "engineer"),
    "budgets.read": EVERYBODY,
    "budgets.write": ("owner",),
    "machines.read": ("owner", "engineer", "staff"),
    "audit.read": ("owner",),
}

MEANING: Mapping[Permission, str] = {
    "self": "see who one is, change one's own password, sign out",
    "files.read": "list, describe and download files",
    "files.write": "upload and delete files",
    "datasets.read": "see datasets and their examples",
    "datasets.write": "make datasets",
    "jobs.read": "see jobs, their story, figures, reports and live pages, and what a job would cost",
    "jobs.write": "submit, cancel, pause, resume and retry jobs",
    "models.read": "list and describe models",
    "models.download": "download what training made",
    "models.write": "delete and share models",
    "models.use": "talk with models",
    "keys.own": "make, rotate and revoke one's own keys",
    "keys.all": "see, make, rotate and revoke everybody's keys",
    "members.read": "see who belongs to the organisation",
    "members.write": "invite and remove members and give roles",
    "webhooks.read": "see webhooks and what was delivered, and whether jobs can be shown in Weights & Biases",
    "webhooks.write": "make, change and replay webhooks, and give the key for Weights & Biases",
    "notices.read": "see who is told of what, and where",
    "notices.write": "say who is told of what, and where",
    "events.read": "see the credentials that programs subscribe to events with",
    "events.write": "make and revoke such credentials",
    "budgets.read": "see what a month may cost and has cost",
    "budgets.write": "say what a month may cost",
    "machines.read": "see the machines that train, and one's own organisation's jobs on them",
    "audit.read": "read and verify the audit log",
}


def granted(role: Role, scopes: Iterable[str] | None) -> frozenset[Permission]:
    """Return what a role may do, or the part of it that ``scopes`` leave; ``None`` leaves all."""
    of_role = frozenset(permission for permission, roles in WHO_MAY.items() if role in roles)
    return of_role if scopes is None else of_role & frozenset(scopes)


def check(needed: Permission, role: Role, scopes: Iterable[str] | None) -> None:
    """Return if the permission is there; ``Forbidden`` says why it is not, and who can give it."""
    if needed in granted(role, scopes):
        return
    if role in WHO_MAY[needed]:
        raise _refusal(
            needed,
            f"This API key was made without the permission {needed} ({MEANING[needed]}).",
            f"Use a key that has it, or make one: POST /v1/keys with {needed} among its scopes.",
        )
    raise _refusal(
        needed,
        f"The role {role} does not have the permission {needed} ({MEANING[needed]}).",
        f"Ask somebody who has it ({_listed(WHO_MAY[needed])}), or an owner to change your role.",
    )


def checked_scopes(scopes: Iterable[str]) -> frozenset[Permission]:
    """Return scopes as permissions; ``Rejected`` names one that is none."""
    wished = frozenset(scopes)
    for name in sorted(wished - WHO_MAY.keys()):
        raise Rejected(
            f"There is no permission {name[:50]!r}. There are: {', '.join(WHO_MAY)}.", code="bad_scope", field="scopes"
        )
    return frozenset(permission for permission in WHO_MAY if permission in wished)


def _refusal(needed: Permission, message: str, fix: str) -> Forbidden:
    return Forbidden(message, code="missing_permission", field=needed, fix=fix)


def _listed(roles: tuple[Role, ...]) -> str:
    return ", ".join(roles[:-1]) + f" or {roles[-1]}" if len(roles) > 1 else f"an {roles[0]}"
