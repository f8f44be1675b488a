"""Which of our addresses a peer can reach: the one the kernel would send from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

from .literals import literal

LIFE_S = 60.0
"""How long a detected address is believed, in seconds: hosts move between networks."""
MAX_PEERS = 1024

_ANYWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def family_of(host: str) -> socket.AddressFamily | None:
    """AF_INET or AF_INET6 of an IP literal; None for a name."""
    address = literal(host)
    if address is None:
        return None
    return socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET


def is_wildcard(host: str) -> bool:
    """Whether a bound host means every interface."""
    address = literal(host)
    return address is not None and address.is_unspecified


AUTO = "auto"


class Advertiser:
    """Finds the address for Contact, Via and SDP. `usual` is an address, or "auto" to detect it.

    Calls and registrations may have a choice of their own, as a trunk has: `own`, None for the usual.
    """

    def __init__(self, usual: str, clock: Callable[[], float]) -> None:
        self._usual = usual
        self._clock = clock
        self._bound: list[str] = []
        self._found: dict[str, tuple[str, float]] = {}

    def is_fixed(self, own: str | None = None) -> bool:
        """Whether the address is a configured one, whoever asks."""
        return (own or self._usual) != AUTO

    def bind(self, hosts: Sequence[str]) -> None:
        """The hosts that sockets are bound to; without a wildcard they are the only addresses peers can use."""
        self._bound = list(dict.fromkeys(hosts))

    def address_for(self, remote_host: str, own: str | None = None) -> str:
        """Our address towards `remote_host`, an IP literal; for a name the default one.

        A configured one is for peers of its own family.
        """
        family = family_of(remote_host)
        fixed = (own or self._usual).strip("[]")
        if fixed != AUTO and family in (None, family_of(fixed)):
            return fixed
        family = family or self._default_family
        bound = [host for host in self._bound if family_of(host) == family]
        specific = [host for host in bound if not is_wildcard(host)]
        if len(bound) == len(specific) == 1:
            return specific[0]
        routed = self.routed(remote_host, family)
        everywhere = not bound or len(specific) < len(bound)
        return routed if everywhere or routed in specific else specific[0]

    def routed(self, remote_host: str, family: socket.AddressFamily) -> str:
        """The address that the kernel sends from to `remote_host`."""
        known = self._found.get(remote_host)
        if known is None or known[1] <= self._clock():
            known = _route(remote_host, family), self._clock() + LIFE_S
            if len(self._found) >= MAX_PEERS:
                self._found.clear()
            self._found[remote_host] = known
        return known[0]

    @property
    def _default_family(self) -> socket.AddressFamily:
        families = {family_of(host) for host in self._bound}
        return socket.AF_INET6 if families == {socket.AF_INET6} else socket.AF_INET


def _route(remote_host: str, family: socket.AddressFamily) -> str:
    """The source address of a datagram to `remote_host`, or to anywhere for a name; nothing is sent."""
    literal = [remote_host] if family_of(remote_host) is not None else []
    for target in (*literal, _ANYWHERE[family]):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                address: str = probe.getsockname()[0]
                return address.partition("%")[0]
        except OSError:
            continue
    return _LOOPBACK[family]
