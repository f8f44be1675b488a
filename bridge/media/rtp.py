"""RTP packets (RFC 3550 section 5.1), told apart from RTCP on the same port (RFC 5761 section 4)."""

import struct
from typing import Literal, NamedTuple

VERSION = 2
HEADER_BYTES = 12
SEQUENCE_MASK = 0xFFFF
TIMESTAMP_MASK = 0xFFFF_FFFF

Reason = Literal["short", "version", "rtcp", "csrc", "extension", "padding", "srtp_auth", "srtp_replay", "srtp_source"]

_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
_PLAIN = VERSION << 6
_MARKER = 0x80


class RtpError(ValueError):
    """A datagram that is no RTP packet; `reason` is one word, fit for a counter."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class RtpPacket(NamedTuple):
    """One packet: header fields as on the wire, `payload` without extension and padding.

    A named tuple, because there is one per packet and a frozen dataclass takes four times as long to make.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(datagram: bytes) -> RtpPacket:
    """Parse one datagram; RtpError when it is anything but RTP version 2."""
    if len(datagram) < HEADER_BYTES:
        raise RtpError(_reason_of_short(datagram))
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first >> 6 != VERSION:
        raise RtpError("version")
    if _is_rtcp(second):
        raise RtpError("rtcp")
    # Nearly every packet of a call has neither padding nor extension nor contributing sources.
    payload = datagram[HEADER_BYTES:] if first == _PLAIN else _payload(datagram, first)
    return RtpPacket(second & 0x7F, second >= _MARKER, sequence, timestamp, ssrc, payload)


def _is_rtcp(second: int) -> bool:
    """RTCP packet types 192 to 223 stand where RTP has marker and payload types 64 to 95."""
    return 192 <= second <= 223


def _reason_of_short(datagram: bytes) -> Reason:
    if len(datagram) >= 2 and datagram[0] >> 6 == VERSION and _is_rtcp(datagram[1]):
        return "rtcp"
    return "short"


def _payload(datagram: bytes, first: int) -> bytes:
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if start > len(datagram):
        raise RtpError("csrc")
    if first & 0x10:
        if start + _EXTENSION.size > len(datagram):
            raise RtpError("extension")
        _, words = _EXTENSION.unpack_from(datagram, start)
        start += _EXTENSION.size + 4 * words
        if start > len(datagram):
            raise RtpError("extension")
    end = len(datagram)
    if first & 0x20:
        padding = datagram[-1]
        if not 0 < padding <= end - start:
            raise RtpError("padding")
        end -= padding
    return datagram[start:end]


def sequence_ahead(sequence: int, reference: int) -> int:
    """How far `sequence` is ahead of `reference` (-32768 to 32767), over the wrap at 16 bits."""
    return ((sequence - reference + 0x8000) & SEQUENCE_MASK) - 0x8000


def timestamp_ahead(timestamp: int, reference: int) -> int:
    """How many samples `timestamp` is ahead of `reference`, over the wrap at 32 bits."""
    return ((timestamp - reference + 0x8000_0000) & TIMESTAMP_MASK) - 0x8000_0000


class RtpWriter:
    """Builds the packets of one outgoing stream. Start values should be random (RFC 3550 section 5.1)."""

    __slots__ = ("sequence", "ssrc", "timestamp")

    def __init__(self, ssrc: int, sequence: int, timestamp: int) -> None:
        self.ssrc = ssrc
        self.sequence = sequence & SEQUENCE_MASK
        """Of the next packet."""
        self.timestamp = timestamp & TIMESTAMP_MASK
        """Of the next packet, in samples."""

    def packet(self, payload: bytes, payload_type: int, samples: int, marker: bool = False) -> bytes:
        """The next packet; the stream moves on by one number and `samples`."""
        second = payload_type | _MARKER if marker else payload_type
        header = _HEADER.pack(_PLAIN, second, self.sequence, self.timestamp, self.ssrc)
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK
        self.timestamp = (self.timestamp + samples) & TIMESTAMP_MASK
        return header + payload

    def skip(self, samples: int) -> None:
        """Let `samples` of time pass without a packet."""
        self.timestamp = (self.timestamp + samples) & TIMESTAMP_MASK

    def retract(self) -> None:
        """The last packet never left: use its number again. Its time has passed all the same."""
        self.sequence = (self.sequence - 1) & SEQUENCE_MASK
