"""IP addresses as they are written in Via, SDP, Contact and by sockets; each is read once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from .remembered import remembered


@remembered
def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a literal stands for; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def spelled(host: str) -> str:
    """One spelling per IP address; a name stays."""
    address = literal(host)
    return host if address is None else str(address)
