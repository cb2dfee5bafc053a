"""API keys: what they look like and when one holds."""

import pytest

from services.gateway.domain import keys

PEPPER = "p" * 32


def test_a_new_key_reads_back_and_matches_its_digest() -> None:
    key = keys.new_key()
    assert keys.parse(str(key)) == key
    assert keys.matches(PEPPER, key, keys.digest(PEPPER, key))


def test_another_secret_or_another_pepper_does_not_match() -> None:
    key = keys.new_key()
    stored = keys.digest(PEPPER, key)
    assert not keys.matches(PEPPER, key._replace(secret="0" * 32), stored)
    assert not keys.matches("q" * 32, key, stored)


@pytest.mark.parametrize(
    "text", ["", "wsk", "wsk-short-x", "sk-" + "a" * 40, "wsk-12345678-" + "a" * 31, "wsk-1234567é-" + "a" * 32]
)
def test_what_does_not_look_like_a_key_is_none(text: str) -> None:
    assert keys.parse(text) is None
