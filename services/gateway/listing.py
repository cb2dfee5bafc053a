"""How a list's ``limit`` is described; ``domain.paging.checked_limit`` refuses others by name."""

from typing import Any

from litestar.params import QueryParameter


def up_to(most: int) -> Any:
    """Describe a limit of 1 to ``most``."""
    return QueryParameter(description=f"1 to {most:,}", schema_extra={"minimum": 1, "maximum": most})
