"""Locating servers: from a URI to the places where it may be tried, best first (RFC 3263, RFC 7984).

Knows no resolver: `locate` is a generator that yields questions and is sent the answers.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from itertools import islice, zip_longest
from random import Random
from typing import TypeVar

from .advertise import family_of
from .uri import Uri

MAX_TARGETS = 16
MAX_RECORDS = 64
"""Records of one answer that are looked at."""
MAX_SERVICES = 6
"""Names whose SRV records are asked for."""
MAX_HOSTS = 8
"""Names whose addresses are asked for."""
MAX_PER_HOST = 8
"""Addresses of one name that are tried, so that the other servers get their turn."""

FAMILIES = (socket.AF_INET, socket.AF_INET6)
"""IPv4 first: trunks are there, and a dead IPv6 path costs a datagram its whole timer (64*T1)."""

_SERVICES = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp"}
_NAPTR_SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}
_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}

PENALTY_S = 30.0
MAX_PENALTY_S = 600.0
"""A server may ask for hours in Retry-After; trying it last for so long helps nobody."""
MAX_FAILED = 1024

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z", re.IGNORECASE)
_MAX_NAME = 253
_LOOPBACK = ("127.0.0.1", "::1")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """One place to try. `host` is an IP literal; `name` the host as the URI names it, for TLS (RFC 5922)."""

    transport: str
    host: str
    port: int
    name: str


class Kind(StrEnum):
    """What is asked for. SYSTEM asks the machine itself: hosts file, search list, containers' names."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    A = "A"
    AAAA = "AAAA"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Question:
    """`name` has no final dot and is a name that DNS can carry."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Naptr:
    """RFC 3403 section 4.1; the regular expression is left out, as SIP has no use for it."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """RFC 2782. A `target` of "." says that the service is not there."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv | str
"""A str is an IP literal: the answer to A, AAAA and SYSTEM."""
Questions = tuple[Question, ...]
Answers = Sequence[Sequence[Record]]
"""One answer for each question, in their order; an empty one for no records and for failure alike."""
Steps = Generator[Questions, Answers, list[Target]]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A server whose address is still to be found."""

    transport: str
    host: str
    port: int


def locate(
    uri: Uri, supported: Sequence[str], rng: Random, families: Sequence[socket.AddressFamily] = FAMILIES
) -> Steps:
    """Find at most 16 targets of a URI, best first; none when it cannot be reached.

    `supported` are our transports and `families` our address families, each in our order of preference.
    Questions yielded together may be asked together; there are at most four rounds of them.
    """
    transports = _transports(uri, supported)
    host = host_of(uri)
    if not transports or not (host and (family_of(host) or is_host_name(host))):
        return []
    plain = "UDP" if "UDP" in transports else transports[0]
    spots = None
    if uri.port is None and not _needs_no_dns(host):
        spots = yield from _services(host, transports, not uri.parameter("transport"), rng)
    if spots is None:
        spots = [_Spot(plain, host, uri.port or _PORTS[plain])]
    addresses = yield from _addresses(spots, host, families)
    targets = (
        Target(spot.transport, address, spot.port, uri.host)
        for spot in spots
        for address in addresses.get(spot.host, ())
    )
    return list(islice(dict.fromkeys(targets), MAX_TARGETS))


def host_of(uri: Uri) -> str:
    """The host to look for: maddr where there is one (RFC 3263 section 4), without brackets and final dot."""
    return (uri.parameter("maddr") or uri.host).strip("[]").lower().removesuffix(".")


def is_host_name(text: str) -> bool:
    """Whether DNS could know `text`; numbers such as 127.1, which only C libraries read, are no names."""
    labels = text.split(".")
    return len(text) <= _MAX_NAME and all(map(_LABEL.match, labels)) and not _NUMBER.match(labels[-1])


def _transports(uri: Uri, supported: Sequence[str]) -> list[str]:
    """Those of our transports that the URI allows (RFC 3263 section 4.1); TLS alone for sips."""
    named = (uri.parameter("transport") or "").upper()
    if uri.scheme == "sips" and named in ("", "TCP", "TLS"):
        named = "TLS"
    elif uri.scheme != "sip":
        return []
    return [name for name in dict.fromkeys(supported) if name in _SERVICES and named in ("", name)]


def _needs_no_dns(host: str) -> bool:
    """Literals, and names that are the machine's own business: localhost (RFC 6761) and those without a dot."""
    return family_of(host) is not None or "." not in host or host.endswith(".localhost")


def _services(
    host: str, transports: Sequence[str], any_transport: bool, rng: Random
) -> Generator[Questions, Answers, list[_Spot] | None]:
    """The servers that SRV records name; None when there are no such records (RFC 3263 section 4.2)."""
    wanted: list[tuple[str, str]] = []
    if any_transport:
        [answer] = yield (Question(host, Kind.NAPTR),)
        wanted = _replacements(answer, transports)
    wanted = wanted or [(name, f"{_SERVICES[name]}.{host}") for name in transports]
    wanted = [(transport, name) for transport, name in wanted if is_host_name(name)][:MAX_SERVICES]
    answers = yield tuple(Question(name, Kind.SRV) for _, name in wanted)
    lists = [_of(answer, Srv) for answer in answers]
    if not any(lists):
        return None
    return [
        _Spot(transport, record.target.lower().removesuffix("."), record.port)
        for (transport, _), records in zip(wanted, lists, strict=False)
        for record in in_order(records, rng)
        if is_host_name(record.target.removesuffix(".")) and record.port
    ]


def _replacements(answer: Iterable[Record], transports: Sequence[str]) -> list[tuple[str, str]]:
    """Transport and SRV name of the NAPTR records we can use, in their order."""
    records = sorted(_of(answer, Naptr), key=lambda record: (record.order, record.preference))
    pairs = (
        (_NAPTR_SERVICES[record.service.upper()], record.replacement.lower().removesuffix("."))
        for record in records
        if record.flags.lower() == "s" and _NAPTR_SERVICES.get(record.service.upper()) in transports
    )
    return [pair for pair in dict.fromkeys(pairs) if is_host_name(pair[1])]


def in_order(records: Iterable[Srv], rng: Random) -> list[Srv]:
    """Lowest priority number first; among equals by lot, a greater weight sooner (RFC 2782)."""
    ordered: list[Srv] = []
    # Weight 0 stands first, so that it is drawn only when the lot is 0.
    left = sorted(records, key=lambda record: (record.priority, record.weight > 0))
    while left:
        equals = [record for record in left if record.priority == left[0].priority]
        ordered.append(_draw(equals, rng))
        left.remove(ordered[-1])
    return ordered


def _draw(records: Sequence[Srv], rng: Random) -> Srv:
    lot = rng.randint(0, sum(record.weight for record in records))
    for record in records:
        lot -= record.weight
        if lot <= 0:
            return record
    raise AssertionError("a lot is never greater than the sum of the weights")


def _addresses(
    spots: Sequence[_Spot], own: str, families: Sequence[socket.AddressFamily]
) -> Generator[Questions, Answers, dict[str, list[str]]]:
    """Addresses of every host of `spots`; the machine is asked for the URI's own host only."""
    known: dict[str, list[str]] = {}
    hosts = list(islice(dict.fromkeys(spot.host for spot in spots), MAX_HOSTS))
    asked = [host for host in hosts if host != own or not _needs_no_dns(host)]
    kinds = [Kind.A if family == socket.AF_INET else Kind.AAAA for family in families]
    if asked and kinds:
        answers = yield tuple(Question(host, kind) for host in asked for kind in kinds)
        for index, host in enumerate(asked):
            rows = answers[index * len(kinds) : (index + 1) * len(kinds)]
            known[host] = _mixed([record for row in rows for record in _of(row, str)], families)
    if own in hosts and not known.get(own):
        found: Sequence[Record] = [own]
        if own == "localhost" or own.endswith(".localhost"):
            found = _LOOPBACK
        elif family_of(own) is None:
            [found] = yield (Question(own, Kind.SYSTEM),)
        known[own] = _mixed(_of(found, str), families)
    return known


def _mixed(addresses: Iterable[str], families: Sequence[socket.AddressFamily]) -> list[str]:
    """Usable addresses of our families, in turn one of each, so that a dead family costs one try."""
    usable = [address for address in addresses if _is_usable(address)]
    columns = [[address for address in usable if family_of(address) == family] for family in families]
    turns = (address for row in zip_longest(*columns) for address in row if address is not None)
    return list(islice(dict.fromkeys(turns), MAX_PER_HOST))


def _is_usable(address: str) -> bool:
    """Whether it is the address of one host: a name must not aim us at a group, or at nobody."""
    if family_of(address) is None:
        return False
    parsed = ip_address(address)
    return not (parsed.is_unspecified or parsed.is_multicast or address == "255.255.255.255")


def _of(answer: Iterable[Record], kind: type[T]) -> list[T]:
    """The records of one kind among the first of an answer."""
    return [record for record in islice(answer, MAX_RECORDS) if isinstance(record, kind)]


class TargetMemory:
    """Remembers which targets failed, so that they are tried last for a while (RFC 3263 section 4.3)."""

    def __init__(self, penalty_s: float = PENALTY_S) -> None:
        self.penalty_s = penalty_s
        self._until: dict[tuple[str, str, int], float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def failed(self, target: Target, now: float, seconds: float | None = None) -> None:
        """`target` answered 503 or nothing; `seconds` is its Retry-After, when it gave one."""
        penalty = self.penalty_s if seconds is None else min(seconds, MAX_PENALTY_S)
        self._until.pop(_place(target), None)
        if len(self._until) >= MAX_FAILED:
            self._shrink(now)
        self._until[_place(target)] = now + penalty

    def order(self, targets: Iterable[Target], now: float) -> list[Target]:
        """The same targets: first those without a penalty, then those whose penalty ends sooner."""
        return sorted(targets, key=lambda target: max(self._until.get(_place(target), now), now))

    def _shrink(self, now: float) -> None:
        """Forget what is over, or else what has been known for longest."""
        self._until = {place: until for place, until in self._until.items() if until > now}
        while len(self._until) >= MAX_FAILED:
            del self._until[next(iter(self._until))]


def _place(target: Target) -> tuple[str, str, int]:
    return target.transport, target.host, target.port
