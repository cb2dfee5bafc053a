"""Settings come from the environment, typed, and a bad one is named."""

from typing import Annotated, ClassVar

import pytest
from msgspec import Meta

from libs.errors import Rejected
from libs.settings import ServiceSettings, load


class Settings(ServiceSettings, frozen=True, kw_only=True):
    service: ClassVar[str] = "trainer"

    patience: Annotated[float, Meta(description="Seconds.", gt=0)] = 2.0


def test_what_is_not_set_has_its_default() -> None:
    assert load(Settings, {}) == Settings()


def test_a_services_own_variable_wins_over_the_common_one() -> None:
    environ = {"WOODSHED_HEALTH_PORT": "8100", "WOODSHED_TRAINER_HEALTH_PORT": "8104", "WOODSHED_LOG_LEVEL": "debug"}
    settings = load(Settings, environ)
    assert (settings.health_port, settings.log_level) == (8104, "debug")


def test_text_becomes_what_the_field_is() -> None:
    assert load(Settings, {"WOODSHED_PATIENCE": "0.5"}).patience == 0.5


def test_a_variable_of_another_service_is_not_ours() -> None:
    assert load(Settings, {"WOODSHED_GATEWAY_PATIENCE": "9"}).patience == 2.0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WOODSHED_HEALTH_PORT", "http"),
        ("WOODSHED_TRAINER_HEALTH_PORT", "70000"),
        ("WOODSHED_PATIENCE", "0"),
        ("WOODSHED_TRACE_SHARE", "1.5"),
    ],
)
def test_a_value_that_does_not_fit_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(Rejected, match=f"The setting {variable} does not fit") as refused:
        load(Settings, {variable: value})
    assert refused.value.field == variable
    assert refused.value.code == "bad_setting"
