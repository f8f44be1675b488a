"""Whom an agent may transfer a caller to: an allow-list of names, numbers and patterns for numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from bridge.config.pattern import Pattern
from bridge.sip.errors import SipError
from bridge.sip.uri import DEFAULT_PORT, Uri, host_port

_NUMBER = re.compile(r"[A-Za-z0-9+*#_.\-]{1,64}\Z")
HERE = "localhost"
"""The host of a phone that is registered with us."""
_SEPARATORS = re.compile(r"[ \xa0().\-/]")


class Targets:
    """The allow-list of one agent: name → URI, number, or pattern for numbers.

    A number without a host belongs to the `base` of the call: the trunk's server, else the PBX it came from; but
    who is one of `phones`, the users of our own registrar, is reached here.
    """

    def __init__(self, entries: Mapping[str, str], phones: Collection[str] = ()) -> None:
        self._entries = dict(entries)
        self._phones = frozenset(phones)
        self._patterns = [Pattern.parse(text) for text in entries.values() if self._is_pattern(text)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, as the model is told them."""
        return tuple(self._entries)

    def find(self, wanted: str, base: Uri) -> Uri | None:
        """The URI for what the model asked for: a name, a number or a URI that is on the list; None: it is not.

        Only what the list says goes into the URI, and numbers of harmless characters where it has a pattern.
        """
        wanted = wanted.strip()
        for name, text in self._entries.items():
            if not self._is_pattern(text) and (name.casefold() == wanted.casefold() or text == wanted):
                return self._uri(text, base)
        candidates = (wanted, _SEPARATORS.sub("", wanted))  # as it stands, then as people write numbers
        number = next((candidate for candidate in candidates if self._takes_number(candidate)), None)
        return self._uri(number, base) if number is not None else None

    def allows(self, uri: Uri, *bases: Uri) -> bool:
        """Whether a URI that a peer names is on the list; a number only on the host of one of `bases`.

        A URI that leads elsewhere than its host says (maddr), or brings headers of its own, is on no list.
        """
        if uri.headers is not None or uri.password is not None or uri.parameter("maddr") is not None:
            return False
        for text in self._entries.values():
            listed = () if self._is_pattern(text) else (self._uri(text, base) for base in bases)
            if any(one is not None and _same(one, uri) for one in listed):
                return True
        ours = any((uri.scheme, uri.host) == (base.scheme, base.host) and _leads_to(uri, base) for base in bases)
        return ours and uri.user is not None and self._takes_number(uri.user)

    def _takes_number(self, number: str) -> bool:
        if not _NUMBER.match(number):
            return False
        exact = any(text == number for text in self._entries.values())
        return exact or any(pattern.fits(number) for pattern in self._patterns)

    def _uri(self, text: str, base: Uri) -> Uri | None:
        return Uri.build(text, HERE) if text in self._phones else _uri(text, base)

    @staticmethod
    def _is_pattern(text: str) -> bool:
        return not _is_uri(text) and ("*" in text or "?" in text or text.startswith("/"))


def _is_uri(text: str) -> bool:
    return text.startswith(("sip:", "sips:", "tel:"))


def _uri(text: str, base: Uri) -> Uri | None:
    """A listed URI as it stands; a number at the host of `base`, over its transport."""
    try:
        if _is_uri(text):
            return Uri.parse(text)
        transport = base.parameter("transport")
        parameter = f";transport={transport}" if transport else ""
        return Uri.parse(f"{base.scheme}:{text}@{host_port(base.host, base.port)}{parameter}")
    except SipError:
        return None


def _same(one: Uri, other: Uri) -> bool:
    return (one.scheme, one.user, one.host, _port(one)) == (other.scheme, other.user, other.host, _port(other))


def _leads_to(uri: Uri, base: Uri) -> bool:
    """Whether the port is that of the PBX, or not named: another service of that host is not the PBX."""
    return uri.port is None or _port(uri) == _port(base)


def _port(uri: Uri) -> int:
    return uri.port or (5061 if uri.scheme == "sips" else DEFAULT_PORT)
