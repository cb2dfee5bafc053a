"""Each kind of error knows its status, its code and what to say."""

import pytest

from libs import errors
from libs.errors import Busy, Rejected, WoodshedError


def kinds(root: type[WoodshedError] = WoodshedError) -> list[type[WoodshedError]]:
    children = [each for each in root.__subclasses__() if each.__module__ == errors.__name__]
    return [root, *(kind for child in children for kind in kinds(child))]


def test_every_status_and_code_belongs_to_one_kind() -> None:
    assert {kind.__name__: kind.status for kind in kinds()} == {
        "WoodshedError": 500,
        "Rejected": 422,
        "BadRequest": 400,
        "NotFound": 404,
        "Conflict": 409,
        "Forbidden": 403,
        "Unauthorized": 401,
        "OverBudget": 402,
        "TooSlow": 408,
        "TooLarge": 413,
        "TooMany": 429,
        "OverQuota": 429,
        "Busy": 503,
    }
    assert len({kind.code for kind in kinds()}) == len(kinds())


def test_an_error_says_what_where_and_how_to_mend_it() -> None:
    error = Rejected("The rank is 0.", code="bad_rank", field="rank", fix="Use 1 to 256.")
    assert (error.message, error.code, error.field, error.fix) == (
        "The rank is 0.",
        "bad_rank",
        "rank",
        "Use 1 to 256.",
    )
    assert str(error) == "The rank is 0."
    assert Rejected.code == "rejected", "a code given to one error must not leak into its kind"


def test_busy_says_when_to_come_back() -> None:
    assert Busy("The queue is being rebuilt.", after=2.5).after == 2.5


@pytest.mark.parametrize("kind", [kind for kind in kinds() if issubclass(kind, Rejected)])
def test_what_is_rejected_is_never_taken_for_busy(kind: type[WoodshedError]) -> None:
    assert not issubclass(kind, Busy)
