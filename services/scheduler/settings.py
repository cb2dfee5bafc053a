"""The scheduler's knobs."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.settings import ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What the scheduler is told from outside."""

    service: ClassVar[str] = "scheduler"

    device_rate: Annotated[
        float,
        Meta(
            description="What one device costs, in currency per hour. The default is the electricity of an own "
            "machine: about 200 W at 0.30 per kWh. For a rented GPU put its price here.",
            ge=0,
        ),
    ] = 0.06
    currency: Annotated[str, Meta(description="Currency of device_rate, as an ISO 4217 code.", min_length=3)] = "USD"
