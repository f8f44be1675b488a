"""Who calls, whom, and by whose diversion (RFC 3261, 3323, 3325, 5806, 7044).

Nothing here raises: a malformed header counts as absent, and the next one that could tell is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from .address import Address
from .errors import SipError
from .grammar import parameter, unquote_string
from .message import Request
from .uri import Uri

MAX_VALUES = 16
"""Values of one header that are looked at: a chain of diversions is no longer (RFC 5806 speaks of ten)."""
MAX_NAME = 128
ANONYMOUS = "anonymous"
_SEPARATORS = re.compile(r"[-.()]")
_TELEPHONE = re.compile(r"\+?[0-9A-Fa-f*#.()-]+\Z")
_WITHHELD = frozenset(("id", "user", "full"))
_CAUSES = {
    "302": "unconditional",
    "404": "unknown",
    "408": "no-answer",
    "480": "deflection",
    "486": "user-busy",
    "487": "deflection",
    "503": "unavailable",
}
"""SIP causes of a diversion in the words of the Diversion header (RFC 7544 section 3.3)."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody: the user of a URI (a number without its separators), its host, a display name; each may be empty."""

    user: str = ""
    host: str = ""
    name: str = ""

    @property
    def address(self) -> str:
        """`user@host`; only the user where there is no host."""
        return f"{self.user}@{self.host}" if self.host else self.user

    @classmethod
    def of(cls, uri: Uri, name: str = "") -> Party:
        """From a sip, sips or tel URI; other schemes give nobody."""
        user = (uri.user or "").partition(";")[0]
        shown = " ".join(name.split())[:MAX_NAME]
        if uri.scheme == "tel":
            context = uri.parameter("phone-context") or ""
            return cls(_SEPARATORS.sub("", user), "" if context.startswith("+") else context.lower(), shown)
        telephone = uri.parameter("user") == "phone" or user.startswith("+")
        if telephone and _TELEPHONE.match(user):
            user = _SEPARATORS.sub("", user)
        return cls(user, uri.host, shown)


@dataclass(frozen=True, slots=True)
class Diversion:
    """One step on the way here: who sent the call on, why ("" when not said), and whether he wants to be known."""

    party: Party
    reason: str = ""
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What an INVITE says of the people of a call."""

    calling: Party
    dialled: Party
    """Whom the Request-URI names."""
    addressee: Party
    """Whom the To header names."""
    diversions: tuple[Diversion, ...] = ()
    """The latest first."""
    withheld: bool = False
    """The caller does not want to be known: his number may decide where the call goes, and is told to nobody."""
    told_by: str = "From"
    """The header that named the caller."""

    @classmethod
    def of(cls, request: Request, trusted: bool = False) -> Identity:
        """Read an INVITE. Only of a trusted sender anything but From is believed about who calls or diverted."""
        calling, told_by, hidden = Party(), "From", False
        for name, read in _CALLERS if trusted else _CALLERS[-1:]:
            calling, hidden = read(request)
            if calling.user:
                told_by = name
                break
        if not calling.name and told_by != "From":
            calling = Party(calling.user, calling.host, _from(request)[0].name)
        return cls(
            calling,
            Party.of(request.uri),
            _party(request.header("To")) or Party(),
            tuple(_diversions(request)) if trusted else (),
            hidden or _from(request)[1] or _asks_for_privacy(request),
            told_by,
        )

    @property
    def caller(self) -> str:
        """The caller's number or user; for routing, whether withheld or not."""
        return self.calling.user

    @property
    def caller_name(self) -> str:
        return self.calling.name

    @property
    def called(self) -> str:
        return self.dialled.user

    @property
    def to_user(self) -> str:
        return self.addressee.user

    @property
    def diverted_from(self) -> str:
        """Who diverted the call last; empty when nobody did."""
        return self.diversions[0].party.user if self.diversions else ""

    @property
    def shown_caller(self) -> Party:
        """The caller as others may know him."""
        return Party(ANONYMOUS) if self.withheld else self.calling

    @property
    def shown_diverted_from(self) -> str:
        """The last diverting party as others may know it."""
        return ANONYMOUS if self.diversions and self.diversions[0].withheld else self.diverted_from


def _tried(read: Callable[[], _T]) -> _T | None:
    """The value, or None for what is malformed."""
    try:
        return read()
    except SipError:
        return None


def _values(request: Request, name: str) -> list[str]:
    """The values of a list header; a line that is malformed takes none of the others with it."""
    found: list[str] = []
    for line in request.lines.lines(name):
        found += _tried(lambda line=line: type(request.lines)((line,)).values(name)) or []  # type: ignore[misc]
        if len(found) >= MAX_VALUES:
            break
    return found[:MAX_VALUES]


def _addresses(request: Request, name: str) -> Iterator[Address]:
    for value in _values(request, name):
        address = _tried(lambda value=value: Address.parse(value, name))  # type: ignore[misc]
        if address is not None:
            yield address


def _party(text: str | None) -> Party | None:
    address = _tried(lambda: Address.parse(text)) if text else None
    return Party.of(address.uri, address.display) if address else None


# The caller


def _asserted(request: Request) -> tuple[Party, bool]:
    """P-Asserted-Identity (RFC 3325): the SIP URI if it names a user, else the telephone number."""
    parties: dict[str, Party] = {}
    for address in _addresses(request, "P-Asserted-Identity"):
        party = Party.of(address.uri, address.display)
        if party.user and not _is_anonymous(party):
            parties.setdefault("tel" if address.uri.scheme == "tel" else "sip", party)
    party = parties.get("sip") or parties.get("tel") or Party()
    names = (other.name for other in parties.values() if other.name)
    return Party(party.user, party.host, party.name or next(names, "")), False


def _remote_party(request: Request) -> tuple[Party, bool]:
    """Remote-Party-ID (draft-ietf-sip-privacy-04), as PBXes still send it."""
    for address in _addresses(request, "Remote-Party-ID"):
        if (parameter(address.parameters, "party") or "calling").lower() == "calling":
            privacy = unquote_string(parameter(address.parameters, "privacy") or "off").lower()
            party = Party.of(address.uri, address.display)
            if party.user and not _is_anonymous(party):
                return party, privacy not in ("off", "name")
    return Party(), False


def _from(request: Request) -> tuple[Party, bool]:
    party = _party(request.header("From")) or Party()
    hidden = _is_anonymous(party)
    return (Party("", party.host) if hidden else party), hidden


_CALLERS: tuple[tuple[str, Callable[[Request], tuple[Party, bool]]], ...] = (
    ("P-Asserted-Identity", _asserted),
    ("Remote-Party-ID", _remote_party),
    ("From", _from),
)
"""Who says who calls, the most credible first; each gives the party and whether it is withheld."""


def _is_anonymous(party: Party) -> bool:
    return party.user.lower() == ANONYMOUS or party.host == "anonymous.invalid"


def _asks_for_privacy(request: Request) -> bool:
    """Privacy (RFC 3323): `id` and `user` hide the caller, `header` and `session` only the way he calls."""
    wishes = {word.lower() for line in request.lines.lines("Privacy") for word in re.split(r"[;,\s]+", line.value)}
    return bool(wishes & _WITHHELD)


# Diversion


def _diversions(request: Request) -> Iterator[Diversion]:
    """Diversion (RFC 5806, the latest first), else History-Info."""
    found = False
    for address in _addresses(request, "Diversion"):
        party = Party.of(address.uri, address.display)
        if party.user:
            found = True
            reason = unquote_string(parameter(address.parameters, "reason") or "").lower()
            privacy = unquote_string(parameter(address.parameters, "privacy") or "off").lower()
            yield Diversion(party, reason, privacy not in ("off", "name"))
    if not found:
        yield from _history(request)


def _history(request: Request) -> Iterator[Diversion]:
    """History-Info (RFC 7044), read backwards.

    An entry was reached by diversion when it says so: `mp=` names the entry it was mapped from, and a `cause` in its
    URI (RFC 4458) or a Reason in the entry before it says why. Elsewhere a new entry is only a hop.
    """
    entries = list(_addresses(request, "History-Info"))
    by_index = {parameter(entry.parameters, "index") or "": entry for entry in entries}
    for position in range(len(entries) - 1, 0, -1):
        entry, before = entries[position], entries[position - 1]
        mapped = by_index.get(parameter(entry.parameters, "mp") or "")
        origin = mapped or before
        cause = entry.uri.parameter("cause") or _reason_cause(origin)
        party = Party.of(origin.uri, origin.display)
        if (mapped is not None or cause in _CAUSES) and origin is not entry and party.user:
            yield Diversion(party, _CAUSES.get(cause, ""), "privacy=history" in (origin.uri.headers or "").lower())


def _reason_cause(entry: Address) -> str:
    """The SIP cause in the Reason of an entry's URI: `?Reason=SIP%3Bcause%3D302`."""
    match = re.search(r"reason=sip\s*;[^&]*?cause=(\d{3})", unquote(entry.uri.headers or "").lower())
    return match[1] if match else ""
