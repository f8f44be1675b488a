"""How many connections a listener accepts, and from whom: strangers may not take the places of peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

import structlog

from .connection import StreamLimits

log = structlog.get_logger("sipbridge.sip")

STRANGERS_SHARE = 4
"""All strangers together, and those of one host, get one part in so many of the places."""
WARN_EVERY_S = 10.0
"""Refusals are told at most this often, in seconds: who is refused tries again."""

_HINTS = {
    "strangers": "hosts of no trunk hold too many connections: keep them out with a firewall; peers are not affected",
    "stranger": "this host is of no trunk and holds too many connections: is it missing in a trunk's peers?",
    "host": "this host holds too many connections: let it use one for many calls",
    "all": "too many connections in all: let each peer use one for many calls",
}


def network_of(host: str) -> str:
    """What counts as one host: an IPv4 address, an IPv6 /64."""
    address = ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(int(address) >> 64)


class Places:
    """Counts the accepted connections of one listener, those of strangers apart. `transport` is for the log."""

    def __init__(self, transport: str, limits: StreamLimits, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._all: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._untold = 0
        self._told_at: float | None = None  # None until something was refused

    def __len__(self) -> int:
        """Places taken."""
        return self._all.total()

    def take(self, host: str, *, stranger: bool) -> bool:
        """Take a place for a connection of `host`, an IP literal; False, and it is told, when there is none."""
        network = network_of(host)
        lacking = self._lacking(network, stranger)
        if lacking:
            self._tell(host, lacking)
            return False
        self._all[network] += 1
        if stranger:
            self._strangers[network] += 1
        return True

    def leave(self, host: str, *, stranger: bool) -> None:
        """Give back the place of a connection that took it, or was `welcome` since (no stranger's any more)."""
        _less(self._all, network_of(host))
        if stranger:
            self.welcome(host)

    def welcome(self, host: str) -> None:
        """A stranger's connection has turned out to be of use: another stranger may come."""
        _less(self._strangers, network_of(host))

    def _lacking(self, network: str, stranger: bool) -> str:
        """What there are too many of already; empty when there is a place."""
        limits = self._limits
        if len(self) >= limits.connections:
            return "all"
        if self._all[network] >= limits.per_host:
            return "host"
        if not stranger:
            return ""
        if self._strangers[network] >= _share(limits.per_host):
            return "stranger"
        return "strangers" if self._strangers.total() >= _share(limits.connections) else ""

    def _tell(self, host: str, lacking: str) -> None:
        self._untold += 1
        now = self._clock()
        if self._told_at is not None and now - self._told_at < WARN_EVERY_S:
            return
        hint = _HINTS[lacking]
        log.warning("sip.connections_refused", transport=self._transport, peer=host, refused=self._untold, hint=hint)
        self._untold = 0
        self._told_at = now


def _share(places: int) -> int:
    return max(1, places // STRANGERS_SHARE)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
