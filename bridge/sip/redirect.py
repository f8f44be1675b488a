"""Where a call goes after a 3xx (RFC 3261 section 8.1.3.4): a few targets, none twice, only allowed ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from .address import Address
from .errors import SipError
from .grammar import parameter
from .message import Response
from .uri import Uri

_QUALITY = re.compile(r"[01](?:\.\d{0,3})?\Z")

MAX_TARGETS = 5
"""Redirections that one call follows; more are a loop or a trap."""


class Redirects:
    """The targets of one call that are still to be tried."""

    def __init__(self, first: Uri, allowed: Callable[[Uri], bool]) -> None:
        self._allowed = allowed
        self._schemes = ("sips",) if first.scheme == "sips" else ("sip", "sips")
        self._seen = {str(first)}
        self._waiting: list[tuple[float, Uri]] = []

    def after(self, response: Response) -> Uri | None:
        """The next target after a refusal: of a 3xx the Contact with the highest q first; None when none is left.

        A 6xx speaks for all of them (section 21.6).
        """
        if response.status >= 600:
            return None
        if response.status < 400:
            self._waiting += self._targets(response)
            self._waiting.sort(key=lambda entry: -entry[0])
        return self.next()

    def next(self) -> Uri | None:
        """The next target when the last could not be reached; None when none is left."""
        return self._waiting.pop(0)[1] if self._waiting else None

    def _targets(self, response: Response) -> list[tuple[float, Uri]]:
        found = []
        for address in _contacts(response):
            text = str(address.uri)
            fits = address.uri.scheme in self._schemes and address.uri.headers is None and text not in self._seen
            if fits and len(self._seen) <= MAX_TARGETS and self._allowed(address.uri):
                self._seen.add(text)
                found.append((_quality(address), address.uri))
        return found


def _contacts(response: Response) -> list[Address]:
    addresses = []
    with suppress(SipError):
        for value in response.headers("Contact"):
            with suppress(SipError):
                addresses.append(Address.parse(value, "Contact"))
    return addresses


def _quality(address: Address) -> float:
    match = _QUALITY.match(parameter(address.parameters, "q") or "1")
    return min(float(match[0]), 1.0) if match else 0.0
