"""API keys: what they look like and when one holds."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.errors import Forbidden, Unauthorized
from services.gateway.domain import keys

PEPPER = "p" * 32
NOW = datetime(2026, 11, 21, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


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
def test_what_does_not_look_like_a_key_is_refused(text: str) -> None:
    with pytest.raises(Unauthorized, match="not an API key"):
        keys.parse(text)


def test_a_key_with_one_wrong_character_is_refused_before_anything_is_looked_up() -> None:
    text = str(keys.new_key())
    for place in [*range(4, 12), *range(13, len(text))]:
        mistyped = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
        with pytest.raises(Unauthorized, match="mistyped"):
            keys.parse(mistyped)
    with pytest.raises(Unauthorized):
        keys.parse(text[:-1])


def test_a_key_from_before_there_were_checksums_is_still_one() -> None:
    old = keys.Key("12345678", "a" * 32)
    assert keys.parse(str(old)) == old


def test_a_key_holds_until_it_expires_or_is_revoked() -> None:
    keys.check_holds("12345678", None, None, NOW)
    keys.check_holds("12345678", LATER, None, NOW)
    for expires_at, revoked_at, code in ((NOW, None, "expired_api_key"), (LATER, NOW, "revoked_api_key")):
        with pytest.raises(Unauthorized) as refused:
            keys.check_holds("12345678", expires_at, revoked_at, NOW)
        assert refused.value.code == code


def test_a_key_makes_only_keys_with_less() -> None:
    maker = keys.Reach(frozenset({"files.read", "jobs.read"}), LATER)
    keys.check_narrower(maker, keys.Reach(frozenset({"files.read"}), NOW))
    keys.check_narrower(maker, maker)
    for made, code in (
        (keys.Reach(frozenset({"jobs.write"}), NOW), "key_too_wide"),
        (keys.Reach(frozenset({"jobs.read"}), None), "key_too_long"),
        (keys.Reach(frozenset({"jobs.read"}), LATER + timedelta(seconds=1)), "key_too_long"),
    ):
        with pytest.raises(Forbidden) as refused:
            keys.check_narrower(maker, made)
        assert refused.value.code == code


def test_a_rotated_key_ends_after_the_overlap_and_its_successor_lasts_as_long_as_it_did() -> None:
    day = timedelta(days=1)
    assert keys.overlapping_until(None, NOW, 60) == NOW + timedelta(seconds=60)
    assert keys.overlapping_until(NOW, NOW, 60) == NOW
    assert keys.renewed_until(NOW - day, NOW + day, NOW, None) == NOW + 2 * day
    assert keys.renewed_until(NOW - day, NOW + day, NOW, NOW + day) == NOW + day
    assert keys.renewed_until(NOW, None, NOW, None) is None
