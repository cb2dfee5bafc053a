"""Which bytes a Range header asks for."""

import pytest

from services.gateway.domain.ranges import Part, Unsatisfiable, known_already, wanted


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", Part(0, 10)),
        ("bytes=90-", Part(90, 100)),
        ("bytes=-10", Part(90, 100)),
        ("bytes=-1000", Part(0, 100)),
        ("bytes=50-5000", Part(50, 100)),
        ("", None),
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
    ],
)
def test_range_of_a_hundred_bytes(header: str, part: Part | None) -> None:
    assert wanted(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, 100)


@pytest.mark.parametrize(
    ("header", "known"), [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False)]
)
def test_a_client_that_holds_the_version_is_known(header: str, known: bool) -> None:
    assert known_already(header, '"a"') is known
