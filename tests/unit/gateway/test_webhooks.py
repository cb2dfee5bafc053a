"""Which addresses and events a webhook endpoint may have."""

import pytest

from contracts.webhooks import EVENT_TYPES
from libs.errors import Rejected
from services.gateway.domain.webhooks import checked_events, checked_url

GOOD = ["https://hooks.example/woodshed", "https://hooks.example:8443/a?b=c", "https://93.184.216.34/"]
INNER = ["https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/", "https://localhost/", "http://hooks.example/"]
NEVER = [
    "https://169.254.169.254/latest", "https://[fd00:ec2::254]/", "ftp://hooks.example/", "hooks.example", "https://",
    "https://user:secret@hooks.example/", "https://hooks.example/#part", "https://hooks.example:99999/",
    "https://hooks.example/a b", "https://hooks.example/\n", "https://[::1", "https://hö.example/",
    "javascript:alert(1)", "https://hooks.example:0/",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_a_public_address_is_taken(url: str) -> None:
    assert checked_url(url, private_allowed=False) == url


@pytest.mark.parametrize("url", INNER)
def test_an_address_inside_is_taken_only_where_the_installation_allows_it(url: str) -> None:
    with pytest.raises(Rejected):
        checked_url(url, private_allowed=False)
    assert checked_url(url, private_allowed=True) == url


@pytest.mark.parametrize("url", NEVER)
def test_what_is_no_address_of_a_program_is_refused(url: str) -> None:
    for private_allowed in (False, True):
        with pytest.raises(Rejected):
            checked_url(url, private_allowed=private_allowed)


def test_events_are_known_and_each_named_once() -> None:
    assert checked_events([*EVENT_TYPES, EVENT_TYPES[0]]) == list(EVENT_TYPES)
    with pytest.raises(Rejected, match=r"fine_tuning\.job\.succeeded"):
        checked_events(["batch.failed"])
