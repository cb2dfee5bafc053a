"""Refuses a JSON body whose values are of another type than they should be: 0 is not false, and "3" is not 3.

The framework converts such values, as it must for queries and forms, where everything is text. What a program sends by
mistake would then pass as something else than it meant. 3.0 is 3: JSON knows one kind of number.
"""

from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.exceptions import SerializationException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import BodyKwarg


async def strictly(request: Request[Any, Any, Any]) -> None:
    """Raise ``ValidationException`` naming a field of another type; unreadable JSON is left to the framework."""
    kind = body_of(request.route_handler)
    if kind is None:
        return
    try:
        said = await request.json()
    except SerializationException:
        return
    try:
        msgspec.convert(_whole(said), kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        misfit = {"message": message, "source": "body"}
        if field := place.rstrip("`").removeprefix("."):
            misfit["key"] = field
        raise ValidationException(detail=message, extra=[misfit]) from error


def _whole(said: Any) -> Any:
    """Say whole numbers as such."""
    if isinstance(said, float) and said.is_integer() and abs(said) < 2**63:
        return int(said)
    if isinstance(said, list):
        return [_whole(each) for each in said]
    if isinstance(said, dict):
        return {key: _whole(value) for key, value in said.items()}
    return said


@cache
def body_of(handler: BaseRouteHandler) -> Any:
    """Return the type of a route's JSON body; ``None``: it takes none."""
    field = handler.parsed_fn_signature.parameters.get("data")
    if field is None or not isinstance(field.kwarg_definition, BodyKwarg):
        return None
    return field.annotation if field.kwarg_definition.media_type is RequestEncodingType.JSON else None
