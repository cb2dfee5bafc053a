"""What is sealed is read by whoever has the installation's secret, for whom it was sealed, and by nobody else."""

import base64

import pytest

from libs.sealing import MARK, Seal

KEY = "a pepper of at least thirty-two characters"
SECRET = "https://hooks.slack.com/services/T000/B000/secret"


def test_a_sealed_text_is_opened_again_and_tells_nothing() -> None:
    seal = Seal(KEY, "slack address")
    kept = [seal.sealed(SECRET, "recipient-1") for _ in range(2)]
    assert [seal.opened(each, "recipient-1") for each in kept] == [SECRET, SECRET]
    assert kept[0] != kept[1]
    for each in kept:
        assert each.startswith(MARK)
        assert b"slack" not in base64.b64decode(each.removeprefix(MARK))


@pytest.mark.parametrize(
    ("seal", "about"),
    [
        (Seal(KEY, "slack address"), "recipient-2"),
        (Seal(KEY, "another purpose"), "recipient-1"),
        (Seal("another pepper, of more than thirty-two characters", "slack address"), "recipient-1"),
    ],
)
def test_another_key_purpose_or_owner_opens_nothing(seal: Seal, about: str) -> None:
    assert seal.opened(Seal(KEY, "slack address").sealed(SECRET, "recipient-1"), about) is None


def test_what_was_altered_is_not_opened() -> None:
    seal = Seal(KEY, "slack address")
    whole = bytearray(base64.b64decode(seal.sealed(SECRET, "r").removeprefix(MARK)))
    for place in (0, len(whole) // 2, len(whole) - 1):
        altered = bytearray(whole)
        altered[place] ^= 1
        assert seal.opened(MARK + base64.b64encode(altered).decode(), "r") is None
