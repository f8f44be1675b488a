"""Protected RTP (RFC 3711, RFC 7714) by libsrtp: one object per direction, keys from the session description.

A key is never in a repr or an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pylibsrtp

from bridge.media.rtp import Reason, RtpError, RtpPacket, parse

MAX_SSRCS = 64
"""Sources that one key may protect in a call: libsrtp remembers each of them to its end."""

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SUITES = tuple(_PROFILES)


@dataclass(frozen=True, slots=True)
class Keys:
    """The suite of a stream, and master key and salt of either direction."""

    suite: str
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


class Sealer:
    """Protects what we send. Each sequence number may be used once: two packets of one keystream give both away."""

    def __init__(self, suite: str, key: bytes) -> None:
        self._session = _session(suite, key, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.seal = self._session.protect
        """The packet as it may go out."""
        self.seal_report = self._session.protect_rtcp
        """The same for RTCP."""


class Opener:
    """Opens what comes. A packet that was forged, damaged or sent again is an RtpError with the reason's word."""

    def __init__(self, suite: str, key: bytes) -> None:
        self._session = _session(suite, key, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self._ssrcs: set[bytes] = set()

    def open(self, datagram: bytes) -> RtpPacket:
        """The packet inside; RtpError otherwise."""
        # Header and SSRC are not encrypted (RFC 3711 section 3.1).
        try:
            return parse(self._opened(datagram, datagram[8:12], self._session.unprotect))
        except RtpError as error:
            raise RtpError(_not_rtp(datagram) or error.reason) from None

    def open_report(self, datagram: bytes) -> bytes:
        """The RTCP inside; RtpError when it is not of this key, or came before (RFC 3711 section 3.4)."""
        return self._opened(datagram, datagram[4:8], self._session.unprotect_rtcp)

    def _opened(self, datagram: bytes, ssrc: bytes, unprotect: Callable[[bytes], bytes]) -> bytes:
        if ssrc not in self._ssrcs and len(self._ssrcs) >= MAX_SSRCS:
            raise RtpError("srtp_source")
        try:
            opened = unprotect(datagram)
        except pylibsrtp.Error as error:
            replayed = "replay" in str(error) or "too old" in str(error)
            raise RtpError("srtp_replay" if replayed else "srtp_auth") from None
        self._ssrcs.add(ssrc)
        return opened


def _session(suite: str, key: bytes, direction: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=_PROFILES[suite]))


def _not_rtp(datagram: bytes) -> Reason | None:
    """Why it never was a packet, whoever sealed it; None when it may have been one."""
    try:
        parse(datagram)
    except RtpError as fault:
        if fault.reason in ("short", "version", "rtcp"):
            return fault.reason
    return None
