"""Passwords, sessions and who has to wait."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.errors import Forbidden, Rejected
from services.gateway.domain import passwords, sessions
from services.gateway.signing import NOBODYS

PEPPER = "p" * 32
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_password_matches_what_was_kept_of_it_and_nothing_else_does() -> None:
    kept = passwords.stored("five words are quite enough")
    assert kept.startswith("scrypt$32768$8$3$")
    assert "words" not in kept
    assert passwords.matches("five words are quite enough", kept)
    assert not passwords.matches("five words are quite enoug", kept)
    assert not passwords.matches("five words are quite enough", NOBODYS)


@pytest.mark.parametrize("password", ["", "too short", "a" * 201, "abababababab"])
def test_a_password_that_is_easily_guessed_or_endless_is_refused(password: str) -> None:
    with pytest.raises(Rejected):
        passwords.check(password)


def test_five_wrong_passwords_are_free_and_each_wait_is_twice_the_one_before() -> None:
    assert [passwords.wait_before(tries, NOW, NOW) for tries in (0, 4, 5, 6, 7)] == [0, 0, 30, 60, 120]
    assert passwords.wait_before(10**6, NOW, NOW) == passwords.LONGEST_WAIT
    assert passwords.wait_before(5, NOW, NOW + timedelta(seconds=20)) == 10
    assert passwords.wait_before(5, NOW, NOW + timedelta(seconds=31)) == 0
    assert passwords.wait_before(50, NOW, NOW + timedelta(days=2)) == 0
    assert passwords.wait_before(50, None, NOW) == 0


def test_a_change_needs_the_sessions_own_token_and_reading_needs_none() -> None:
    secret = sessions.new_secret()
    token = sessions.csrf_token(PEPPER, secret)
    sessions.check_intended("GET", {}, PEPPER, secret)
    sessions.check_intended("POST", {"x-csrf-token": token}, PEPPER, secret)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for sent in ({}, {"x-csrf-token": "é"}, {"x-csrf-token": sessions.csrf_token(PEPPER, sessions.new_secret())}):
            with pytest.raises(Forbidden, match="CSRF"):
                sessions.check_intended(method, sent, PEPPER, secret)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_makes_a_browser_send_is_refused(site: str) -> None:
    secret = sessions.new_secret()
    headers = {"sec-fetch-site": site, "x-csrf-token": sessions.csrf_token(PEPPER, secret)}
    with pytest.raises(Forbidden, match="Another web site"):
        sessions.check_intended("POST", headers, PEPPER, secret)


def test_the_token_and_what_is_kept_do_not_give_the_secret_away() -> None:
    secret = sessions.new_secret()
    kept = {sessions.digest(PEPPER, what, secret) for what in ("session", "invitation", "csrf", "tries")}
    assert len(kept) == 4
    assert sessions.digest("q" * 32, "session", secret) not in kept


@pytest.mark.parametrize(
    ("host", "secure"),
    [("127.0.0.1:8080", False), ("localhost", False), ("[::1]:8080", False), ("[::1]", False),
     ("woodshed.studio.example", True), ("10.0.0.7:8080", True), ("127.0.0.1.evil.example:80", True), ("", True)],
)  # fmt: skip
def test_the_cookie_is_for_https_but_on_the_machine_itself(host: str, secure: bool) -> None:
    cookie = sessions.cookie("s", host, 60)
    assert ("; Secure" in cookie) == secure
    assert "; HttpOnly" in cookie
    assert "; SameSite=Strict" in cookie
