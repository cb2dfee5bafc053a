"""When a request counts as a repetition."""

import pytest

from libs.errors import Rejected
from services.gateway.domain.repeats import claim_of

PATH = "/v1/fine_tuning/jobs"


def test_no_header_claims_nothing() -> None:
    assert claim_of({}, "key", "POST", PATH, b"{}") is None


def test_an_idempotency_key_names_the_answer_and_the_body_its_fingerprint() -> None:
    first = claim_of({"idempotency-key": "k"}, "key", "POST", PATH, b"{}")
    other = claim_of({"idempotency-key": "k"}, "key", "POST", PATH, b"{ }")
    assert first
    assert other
    assert first.key == other.key
    assert first.fingerprint != other.fingerprint


def test_a_first_try_of_openai_python_starts_anew_and_its_retry_does_not() -> None:
    first = claim_of({"x-stainless-retry-count": "0"}, "key", "POST", PATH, b"{}")
    retry = claim_of({"x-stainless-retry-count": "1"}, "key", "POST", PATH, b"{}")
    stranger = claim_of({"x-stainless-retry-count": "1"}, "other", "POST", PATH, b"{}")
    assert first
    assert retry
    assert stranger
    assert (first.anew, retry.anew) == (True, False)
    assert first.key == retry.key != stranger.key


def test_an_endless_key_is_refused() -> None:
    with pytest.raises(Rejected):
        claim_of({"idempotency-key": "k" * 256}, "key", "POST", PATH, b"{}")
