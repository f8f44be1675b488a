"""Whose network a request comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from bridge.config import Config

PRIVATE = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
"""Who may call where nothing says who: this machine, private and link-local networks, carriers' shared space."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Peers:
    """The networks of all trunks; the narrowest one that holds an address decides."""

    def __init__(self, config: Config) -> None:
        named = [
            (ipaddress.ip_network(peer, strict=False), name)
            for name, trunk in config.trunks.items()
            for peer in (PRIVATE if trunk.takes_private_networks else trunk.peers)
        ]
        self.by_default = not config.trunks
        """Whether nothing is configured, so that private networks may call."""
        if self.by_default:
            named = [(ipaddress.ip_network(peer), "") for peer in PRIVATE]
        self._networks = sorted(named, key=lambda item: -item[0].prefixlen)
        self._servers: dict[str, set[str]] = {}

    @property
    def open(self) -> bool:
        """Whether everybody may call: a network holds all addresses of a family."""
        return any(network.prefixlen == 0 for network, _ in self._networks)

    def learn(self, trunk: str, hosts: Iterable[str]) -> None:
        """The addresses of the servers where a trunk is registered now: calls come from there."""
        self._servers[trunk] = {str(address) for host in hosts if (address := _address(host)) is not None}

    def trunk_of(self, host: str) -> str | None:
        """The trunk a source address belongs to ("" for the default networks); None: a stranger's."""
        address = _address(host)
        if address is None:
            return None
        for trunk, servers in self._servers.items():
            if str(address) in servers:
                return trunk
        return next((name for network, name in self._networks if address in network), None)


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, which one customer has."""
    address = _address(host)
    if address is None:
        return host
    return str(address) if address.version == 4 else address.exploded[:19]


@lru_cache(1024)
def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
