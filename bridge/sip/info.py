"""Keys in INFO requests: application/dtmf-relay and application/dtmf, as phones and gateways send them (RFC 6086).

No RFC describes either body. What is read here is what is on the wires: one key per request, as a character or
as its event number of RFC 4733.
"""

from __future__ import annotations

import re

from .errors import SipError, malformed

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
KEYS = "0123456789*#ABCD"
"""Keys in the order of their event numbers."""

_LONGEST = 1024
_FLASH = ("16", "!")
_EVENTS = {str(number): key for number, key in enumerate(KEYS)} | {key: key for key in KEYS}
_SIGNAL = re.compile(r"^[ \t]*signal[ \t]*=[ \t]*(\S*)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def digits(content_type: str, body: bytes) -> str | None:
    """The key that an INFO carries, one of 0-9, *, #, A-D; None for a hook flash, which is no key.

    SipError 415 for another content type, 400 for a body that names no key.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (DTMF_RELAY, DTMF):
        raise SipError(415, reason="content_type", headers=(("Accept", f"{DTMF_RELAY}, {DTMF}"),))
    if len(body) > _LONGEST:
        raise malformed("Malformed DTMF")
    text = body.decode("ascii", "replace").replace("\r", "\n").strip()
    # Some senders put the lines of the one type under the name of the other.
    signal = _SIGNAL.search(text)
    value = (signal[1] if signal else text).upper()
    if value in _FLASH:
        return None
    if value not in _EVENTS:
        raise malformed("Malformed DTMF")
    return _EVENTS[value]


def body(digit: str, duration_ms: int = 160, content_type: str = DTMF_RELAY) -> tuple[str, bytes]:
    """Content type and body for one key; ValueError when `digit` is none of KEYS."""
    if len(digit) != 1 or digit not in KEYS:
        raise ValueError(f"not a key: {digit!r}")
    if content_type == DTMF:
        return DTMF, digit.encode()
    return DTMF_RELAY, f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode()
