"""Settings come from the environment, are typed, and explain themselves.

Every field of a settings struct is ``Annotated[type, Meta(description=...)] = default``;
the settings reference is generated from those descriptions. A field ``health_port`` of
the trainer reads ``WOODSHED_TRAINER_HEALTH_PORT``, else ``WOODSHED_HEALTH_PORT``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct

from libs.errors import Rejected

S = TypeVar("S", bound="ServiceSettings")

HOME = Path(__file__).resolve().parent.parent / ".woodshed"
"""Where everything this installation keeps lies by default."""


class ServiceSettings(Struct, frozen=True, kw_only=True):
    """What every service is told from outside. ``service`` names the role."""

    service: ClassVar[str] = ""

    nats_url: Annotated[str, Meta(description="Where the NATS server listens.")] = "nats://127.0.0.1:4222"
    nats_user: Annotated[str, Meta(description="NATS user; empty: the name of the service.")] = ""
    nats_password: Annotated[str, Meta(description="Password of the NATS user.")] = ""
    database_url: Annotated[
        str, Meta(description="PostgreSQL address with this service's own role; the trainer's runner needs none.")
    ] = ""
    storage_url: Annotated[
        str,
        Meta(description="Object storage: file:///folder, or s3://bucket/prefix with the usual AWS_* variables."),
    ] = f"file://{HOME / 'storage'}"
    data_dir: Annotated[str, Meta(description="Folder for work files that may be lost.")] = str(HOME)
    models_dir: Annotated[str, Meta(description="Folder with one sub-folder for each base model.")] = str(
        HOME / "models"
    )
    health_port: Annotated[
        int, Meta(description="Port of /health/live, /health/ready and /metrics; 0 turns them off.", ge=0, le=65535)
    ] = 0
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"
    otlp_endpoint: Annotated[
        str, Meta(description="OpenTelemetry collector (OTLP over HTTP) that traces go to; empty: none are exported.")
    ] = ""
    trace_share: Annotated[float, Meta(description="Share of requests that are traced, 0 to 1.", ge=0, le=1)] = 0.1


def load(kind: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Read settings of this kind; ``Rejected`` names the variable that does not fit."""
    found: dict[str, str] = {}
    variables: dict[str, str] = {}
    for name in kind.__struct_fields__:
        for variable in (f"WOODSHED_{kind.service}_{name}".upper(), f"WOODSHED_{name}".upper()):
            if variable in environ:
                found[name], variables[name] = environ[variable], variable
                break
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        variable = variables.get(path.rstrip("`"), path)
        raise Rejected(
            f"The setting {variable} does not fit: {reason}. What each means is in docs/reference/settings.md.",
            code="bad_setting",
            field=variable,
        ) from error
