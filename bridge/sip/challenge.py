"""Digest on the wire: challenges, their answers, and the proof in them (RFC 7616, RFC 8760, RFC 2617)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import malformed
from .grammar import is_token, parse_parameters, quote_string, split, unquote_string

MAX_CHALLENGES = 8
"""Challenges read from one message; more are no honest server's."""

AUTH, AUTH_INT = "auth", "auth-int"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9\-]*)\s+(?=[^\s=]+\s*=)")
_DIGEST = re.compile(r"digest(?=\s)", re.IGNORECASE)
_COUNT = re.compile(r"[0-9a-fA-F]{1,8}\Z")
_HEX = re.compile(r"[0-9a-fA-F]+\Z")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A digest algorithm; `session` is the -sess kind, whose key belongs to one nonce."""

    name: str
    digest: Callable[[bytes], str]
    session: bool = False


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


_BASES = {"MD5": _md5, "SHA-256": _sha256}
if "sha512_256" in hashlib.algorithms_available:
    _BASES["SHA-512-256"] = _sha512_256
_ALGORITHMS = {
    name.lower(): Algorithm(name, digest, session)
    for base, digest in _BASES.items()
    for name, session in ((base, False), (f"{base}-sess", True))
}


def algorithm_of(name: str | None) -> Algorithm | None:
    """The algorithm of that name; MD5 for None (RFC 7616 section 3.3), None for an unknown one."""
    return _ALGORITHMS.get("md5" if name is None else name.lower())


@dataclass(frozen=True, slots=True)
class Challenge:
    """One digest challenge. `algorithm` is None when the server named none; `qop` empty as in RFC 2069."""

    realm: str
    nonce: str
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, text: str) -> list[Challenge]:
        """The digest challenges in a header value, other schemes left out; SipError 400 for a malformed one."""
        found = (pieces for scheme, pieces in _schemes(text) if scheme == "digest")
        return [cls._of(_fields(pieces)) for pieces in found]

    @classmethod
    def _of(cls, fields: Mapping[str, str]) -> Challenge:
        if "realm" not in fields or not fields.get("nonce"):
            raise malformed("Malformed challenge")
        return cls(
            fields["realm"],
            fields["nonce"],
            fields.get("algorithm"),
            tuple(word.strip().lower() for word in fields.get("qop", "").split(",") if word.strip()),
            fields.get("opaque"),
            fields.get("stale", "").lower() == "true",
        )

    def __str__(self) -> str:
        pairs = [("realm", quote_string(self.realm)), ("nonce", quote_string(self.nonce))]
        if self.opaque is not None:
            pairs.append(("opaque", quote_string(self.opaque)))
        if self.stale:
            pairs.append(("stale", "true"))
        if self.algorithm is not None:
            pairs.append(("algorithm", self.algorithm))
        if self.qop:
            pairs.append(("qop", quote_string(",".join(self.qop))))
        return _digest(pairs)


@dataclass(frozen=True, slots=True)
class Authorization:
    """One answer to a challenge (RFC 7616 section 3.4).

    `qop`, `count` (eight hex digits, as sent) and `cnonce` are None when the server asked for no qop.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = ""
    algorithm: str | None = None
    qop: str | None = None
    count: str | None = None
    cnonce: str | None = None
    opaque: str | None = None

    @classmethod
    def parse(cls, text: str) -> Authorization | None:
        """Read a header value; None when it is of another scheme, SipError 400 when it is malformed."""
        if not _DIGEST.match(text):
            return None
        schemes = _schemes(text)
        if len(schemes) != 1:
            raise malformed("Malformed credentials")
        fields = _fields(schemes[0][1])
        if any(name not in fields for name in ("username", "realm", "nonce", "uri", "response")):
            raise malformed("Malformed credentials")
        qop, count, cnonce = (fields.get(name) for name in ("qop", "nc", "cnonce"))
        if not _HEX.match(fields["response"]) or (qop is not None and not _well_counted(qop, count, cnonce)):
            raise malformed("Malformed credentials")
        return cls(
            *(fields[name] for name in ("username", "realm", "nonce", "uri", "response")),
            *(fields.get(name) for name in ("algorithm", "qop", "nc", "cnonce", "opaque")),
        )

    def __str__(self) -> str:
        texts = (("username", self.username), ("realm", self.realm), ("nonce", self.nonce), ("uri", self.uri))
        pairs = [(name, quote_string(value)) for name, value in texts]
        pairs.append(("response", quote_string(self.response)))
        # Only these three are never in quotes: old servers compare them letter for letter.
        optional = (
            ("algorithm", self.algorithm),
            ("cnonce", None if self.cnonce is None else quote_string(self.cnonce)),
            ("opaque", None if self.opaque is None else quote_string(self.opaque)),
            ("qop", self.qop),
            ("nc", self.count),
        )
        return _digest([*pairs, *((name, value) for name, value in optional if value is not None)])


def proof(answer: Authorization, password: str, method: str, body: bytes) -> str:
    """The `response` that proves the password (RFC 7616 section 3.4.1, RFC 2617 section 3.2.2).

    ValueError for an algorithm we do not know. Text is hashed without quotes and backslashes, in the
    bytes that came.
    """
    algorithm = algorithm_of(answer.algorithm)
    if algorithm is None:
        raise ValueError("unknown digest algorithm")

    def hashed(*parts: str) -> str:
        return algorithm.digest(":".join(parts).encode("utf-8", "surrogateescape"))

    key = hashed(answer.username, answer.realm, password)
    if algorithm.session:
        key = hashed(key, answer.nonce, answer.cnonce or "")
    what = [method, answer.uri]
    if answer.qop is not None and answer.qop.lower() == AUTH_INT:
        what.append(algorithm.digest(body))
    counted = [] if answer.qop is None else [answer.count or "", answer.cnonce or "", answer.qop]
    return hashed(key, answer.nonce, *counted, hashed(*what))


def _schemes(text: str) -> list[tuple[str, list[str]]]:
    """Scheme and parameters of each challenge; some servers put several into one line."""
    found: list[tuple[str, list[str]]] = []
    for piece in split(text, ","):
        match = _SCHEME.match(piece)
        if match is not None and len(found) < MAX_CHALLENGES:
            found.append((match[1].lower(), [piece[match.end() :]]))
        elif match is None and found and piece:
            found[-1][1].append(piece)
        elif piece:
            raise malformed("Malformed authentication header")
    return found


def _fields(pieces: list[str]) -> dict[str, str]:
    parameters = parse_parameters(pieces, "authentication header")
    fields = {name: unquote_string(value or "") for name, value in parameters}
    if len(fields) != len(parameters):
        raise malformed("Repeated parameter in authentication header")
    if "algorithm" in fields and not is_token(fields["algorithm"]):
        raise malformed("Malformed algorithm")
    return fields


def _well_counted(qop: str, count: str | None, cnonce: str | None) -> bool:
    return qop.lower() in (AUTH, AUTH_INT) and _COUNT.match(count or "") is not None and bool(cnonce)


def _digest(pairs: list[tuple[str, str]]) -> str:
    return "Digest " + ", ".join(f"{name}={value}" for name, value in pairs)
