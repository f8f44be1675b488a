"""Whom an agent may transfer a caller to: an allow-list of names, numbers and patterns for numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bridge.config.pattern import Pattern
from bridge.sip.errors import SipError
from bridge.sip.uri import Uri, host_port

_NUMBER = re.compile(r"[A-Za-z0-9+*#_.\-]{1,64}\Z")


class Targets:
    """The allow-list of one agent: name → URI, number, or pattern for numbers.

    A number without a host belongs to the `base` of the call: the PBX it came from, or the trunk's server.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = dict(entries)
        self._patterns = [Pattern.parse(text) for text in entries.values() if self._is_pattern(text)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, as the model is told them."""
        return tuple(self._entries)

    def find(self, wanted: str, base: Uri) -> Uri | None:
        """The URI for what the model asked for: a name, or a number that is on the list; None when it is not."""
        wanted = wanted.strip()
        for name, text in self._entries.items():
            if name.casefold() == wanted.casefold() and not self._is_pattern(text):
                return _uri(text, base)
        number = re.sub(r"[\s().\-/]", "", wanted)
        return _uri(number, base) if self._takes_number(number) else None

    def allows(self, uri: Uri, base: Uri) -> bool:
        """Whether a URI that the peer names is on the list; a number only on the peer's own host."""
        listed = [_uri(text, base) for text in self._entries.values() if not self._is_pattern(text)]
        if any(one is not None and _same(one, uri) for one in listed):
            return True
        return uri.host == base.host and uri.user is not None and self._takes_number(uri.user)

    def _takes_number(self, number: str) -> bool:
        if not _NUMBER.match(number):
            return False
        exact = any(text == number for text in self._entries.values())
        return exact or any(pattern.fits(number) for pattern in self._patterns)

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
    return (one.scheme, one.user, one.host) == (other.scheme, other.user, other.host) and one.port == other.port
