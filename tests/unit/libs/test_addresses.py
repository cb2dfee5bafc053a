"""Addresses that a customer's URL may not lead to, in every spelling."""

import pytest

from libs.addresses import why_inner

OUTER = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111"]
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd12:3456::1", "100.64.0.1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:c0a8:101::",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
]  # fmt: skip


@pytest.mark.parametrize("address", OUTER)
def test_an_address_of_the_internet_may_be_called(address: str) -> None:
    assert why_inner(address) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused_unless_the_installation_allows_them(address: str) -> None:
    assert why_inner(address)
    assert why_inner(address, private_allowed=True) == ""


@pytest.mark.parametrize("address", NEVER)
def test_what_tells_credentials_or_is_no_host_is_always_refused(address: str) -> None:
    assert why_inner(address)
    assert why_inner(address, private_allowed=True)


def test_what_is_no_address_is_no_address() -> None:
    with pytest.raises(ValueError, match="example"):
        why_inner("example.com")
