"""Keys for SRTP in a session description: a=crypto (RFC 4568; the suites of RFC 7714).

A key is never in a repr, a log line or an error: only `Crypto.value` writes it, into the description for the peer.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

Policy = Literal["off", "optional", "required"]
"""off: RTP only; optional: as the peer offers; required: SRTP only."""

SUITES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""The suites we know, with the bytes of master key and salt together."""
OFFERED = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
"""What our own offers carry, best first: RFC 4568 asks every peer for these two."""

_CRYPTO = re.compile(r"(?P<tag>0|[1-9]\d{0,8})\s+(?P<suite>\w{1,64})\s+(?P<keys>\S+)(?P<parameters>.*)\Z", re.ASCII)
_KEY = re.compile(
    r"inline:(?P<key>[A-Za-z0-9+/]{20,128}={0,2})(?:\|(?P<lifetime>2\^\d{1,2}|\d{1,15}))?\Z", re.IGNORECASE
)
_HARMLESS = re.compile(r"(?:WSH=\d{1,6}|KDR=0|-\S*)\Z", re.IGNORECASE | re.ASCII)
"""Session parameters that change nothing for us: the replay window, no key derivation, and what a peer may ignore."""


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line. `key` is master key and salt, as long as the suite asks for."""

    tag: int
    suite: str
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Crypto | None:
        """Read the value of a line; None when we cannot use it.

        That is a suite we do not know, a key of the wrong length, several keys, an MKI, or a session parameter that
        changes the protection. RFC 4568 section 6.3: such a line is passed over, the others still count.
        """
        line = _CRYPTO.match(text.strip())
        key = _KEY.match(line["keys"]) if line is not None else None
        if line is None or key is None:
            return None
        suite = line["suite"].upper()
        secret = _decoded(key["key"])
        if secret is None or len(secret) != SUITES.get(suite):
            return None
        if not all(_HARMLESS.match(parameter) for parameter in line["parameters"].split()):
            return None
        return cls(int(line["tag"]), suite, secret)

    @classmethod
    def new(cls, tag: int, suite: str, random: Callable[[int], bytes] = secrets.token_bytes) -> Crypto:
        """A line of ours with a fresh key."""
        return cls(tag, suite, random(SUITES[suite]))

    @property
    def value(self) -> str:
        """The value of the a= line, key included."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


@dataclass(frozen=True, slots=True)
class Security:
    """The keys of one stream: `ours` protects what we send, `theirs` what we receive. One suite for both."""

    theirs: Crypto
    ours: Crypto


def usable(lines: Iterable[str]) -> list[Crypto]:
    """The a=crypto lines that we can use, in their order."""
    return [crypto for line in lines if (crypto := Crypto.parse(line)) is not None]


def offered() -> tuple[Crypto, ...]:
    """Lines for an offer of ours, each with a key of its own."""
    return tuple(Crypto.new(tag, suite) for tag, suite in enumerate(OFFERED, 1))


def answered(theirs: Crypto, previous: Security | None) -> Security:
    """What answers the line that we chose: their tag and suite, a key of ours.

    The key of ours stays while theirs stays (`previous`), so that a re-INVITE that changes nothing else disturbs
    neither side's packet counter; a new key of theirs gets a new one of ours.
    """
    if previous is not None and (previous.theirs.suite, previous.theirs.key) == (theirs.suite, theirs.key):
        return Security(theirs, replace(previous.ours, tag=theirs.tag))
    return Security(theirs, Crypto.new(theirs.tag, theirs.suite))


def accepted(ours: Iterable[Crypto], theirs: Iterable[Crypto]) -> Security | None:
    """The line of an answer joined with the one of our offer that it takes up; None when there is no such pair."""
    by_tag = {crypto.tag: crypto for crypto in ours}
    for line in theirs:
        mine = by_tag.get(line.tag)
        if mine is not None and mine.suite == line.suite:
            return Security(line, mine)
    return None


def _decoded(text: str) -> bytes | None:
    """Base64, its padding perhaps left away."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except binascii.Error:
        return None
