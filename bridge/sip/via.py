"""Via: the way an answer takes back (RFC 3261 sections 18.2 and 20.42, RFC 3581)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import malformed
from .grammar import Parameters, parameter, parse_parameters, split
from .remembered import remembered
from .uri import DEFAULT_PORT, parse_host_port

MAGIC = "z9hG4bK"
_SENT_PROTOCOL = re.compile(
    r"SIP\s*/\s*2\.0\s*/\s*([A-Za-z0-9\-.!%*_+`'~]+)\s+(\[[^\]]*\]|[^\s:\[\]]+)\s*(?::\s*(\d+))?\Z", re.IGNORECASE
)
_RECEIVED = re.compile(r"\s*;\s*received\s*=[^;]*", re.IGNORECASE)
_RPORT = re.compile(r"\s*;\s*rport\s*(?:=[^;]*)?(?=;|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value: `transport` upper-case, `host` and `port` of sent-by (port None when absent)."""

    transport: str
    host: str
    port: int | None
    parameters: Parameters

    @property
    def branch(self) -> str:
        """The transaction's identifier; empty when the peer gave none."""
        return parameter(self.parameters, "branch") or ""

    @property
    def sent_by(self) -> tuple[str, int]:
        """Host and port of sent-by, the default port filled in."""
        return self.host, self.port or DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one Via value; SipError 400 "Malformed Via" otherwise.

        Empty parameters are passed over, so that there is a way back for the refusal that they earn.
        """
        return _parse(text)


@remembered
def _parse(text: str) -> Via:
    sent, *pieces = split(text, ";")
    match = _SENT_PROTOCOL.match(sent)
    if match is None:
        raise malformed("Malformed Via")
    host, port = parse_host_port(match[2] + (f":{match[3]}" if match[3] else ""), "Via")
    return Via(match[1].upper(), host, port, parse_parameters([piece for piece in pieces if piece], "Via"))


def stamp(text: str, source: tuple[str, int]) -> str:
    """The topmost Via value with what the server saw: received, and rport when it was asked for.

    A received or rport that is already there is a stale claim of the peer and is replaced.
    """
    via = Via.parse(text)
    asked = parameter(via.parameters, "rport") is not None
    host = source[0].partition("%")[0]
    clean = _RECEIVED.sub("", text)
    if asked:
        clean = _RPORT.sub("", clean) + f";rport={source[1]}"
    if asked or host != via.host:
        clean += f";received={host}"
    return clean


def reply_to(via: Via, source: tuple[str, int]) -> tuple[str, int]:
    """Where an unreliable transport sends the answer to a request with this topmost Via.

    maddr is not followed: it asks for multicast, and would let a stranger aim our answers.
    """
    if parameter(via.parameters, "rport") is not None:
        return source
    return source[0], via.port or DEFAULT_PORT
