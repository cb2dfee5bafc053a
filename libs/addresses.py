"""Which network addresses a customer's URL may lead to: none inside, where our own machines listen.

A name proves nothing (it may lead to 127.0.0.1 a second later), so the address that is connected to is judged.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254", "192.0.0.192", "168.63.129.16")))
"""Where clouds tell a machine its own credentials, beside the link-local 169.254.169.254."""

NAT64 = IPv6Network("64:ff9b::/96")


def why_inner(text: str, *, private_allowed: bool = False) -> str:
    """Return why this address is not called, empty if it may be.

    ``private_allowed`` opens private networks and this machine itself; what only tells credentials, or is no
    single host, stays closed. Raises ``ValueError`` when it is no address.
    """
    address = _meant(ip_address(text.partition("%")[0]))
    if address in METADATA or address.is_link_local:
        return "it is a link-local or metadata address"
    if address.is_multicast or address.is_unspecified or _is_reserved(address):
        return "it is no address of one host"
    if address.is_global or private_allowed:
        return ""
    return "it is an address of this machine" if address.is_loopback else "it is an address of a private network"


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_reserved(address: Address) -> bool:
    return isinstance(address, IPv4Address) and address.is_reserved
