"""Lists in pages as OpenAI's clients expect them: ``after`` an id, ``limit`` of them, and whether there are more."""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from libs.errors import Rejected

T = TypeVar("T")


class Page(Struct, Generic[T], kw_only=True):
    """A page of a list. ``has_more`` says whether asking ``after`` the ``last_id`` gives another."""

    data: list[T]
    has_more: bool
    object: Literal["list"] = "list"
    first_id: str | None = None
    last_id: str | None = None


def checked_limit(limit: int, most: int) -> int:
    """Return the limit if it is between 1 and ``most``; ``Rejected`` names both."""
    if not 1 <= limit <= most:
        raise Rejected(f"limit is {limit}; it must be between 1 and {most}.", code="bad_limit", field="limit")
    return limit


def page_of(found: Sequence[T], ids: Sequence[str], limit: int) -> Page[T]:
    """Make a page of what was found with one more than ``limit`` asked for."""
    shown, names = list(found[:limit]), ids[:limit]
    return Page(
        data=shown,
        has_more=len(found) > limit,
        first_id=names[0] if names else None,
        last_id=names[-1] if names else None,
    )
