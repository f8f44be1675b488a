"""RTCP packets (RFC 3550 section 6): reports, CNAME and BYE; also alone in a datagram (RFC 5506)."""

import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

VERSION = 2
SR, RR, SDES, BYE = 200, 201, 202, 203
CNAME = 1
"""Item of a source description."""
LONGEST_TEXT = 255
"""Bytes of a CNAME or a reason: their length is one byte."""
UNIX_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""

Reason = Literal["short", "version", "type", "length", "padding", "item"]

_HEADER = struct.Struct("!BBH")
_WORD = struct.Struct("!I")
_BLOCK = struct.Struct("!6I")
_SENDER = struct.Struct("!IQIII")
_FIRST = VERSION << 6
_PADDED = 0x20
_MASK = 0xFFFF_FFFF
_LOST_LIMIT = 0x80_0000


class RtcpError(ValueError):
    """A datagram that is no RTCP; `reason` is one word, fit for a counter."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What one receiver says of one stream (RFC 3550 section 6.4.1)."""

    ssrc: int
    """Of the stream."""
    fraction_lost: int
    """Since the block before, in 1/256, 0 to 255."""
    cumulative_lost: int
    """Packets, 24 bits with sign: below 0 when more came than were sent."""
    highest_sequence: int
    """Number in the lower 16 bits, how often it wrapped in the upper ones."""
    jitter: int
    """In units of the stream's timestamp."""
    last_sr: int
    """Middle 32 bits of the NTP timestamp of the sender's newest report; 0: there was none."""
    delay_since_last_sr: int
    """Since that report came, in 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """A report of somebody who sends (RFC 3550 section 6.4.1)."""

    ssrc: int
    ntp: int
    """Seconds since 1900 in 32.32 bits."""
    rtp_timestamp: int
    """The same instant on the stream's clock."""
    packets: int
    octets: int
    """Of payload."""
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """A report of somebody who only listens (RFC 3550 section 6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The CNAME of each source that has one (RFC 3550 section 6.5); other items are passed over."""

    cnames: tuple[tuple[int, str], ...]
    """SSRC and name."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """These sources leave (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...]
    reason: str = ""


Packet = SenderReport | ReceiverReport | SourceDescription | Goodbye


def parse(datagram: bytes) -> tuple[Packet, ...]:
    """The packets of a datagram, those of unknown types left out; RtcpError when any of it is malformed."""
    packets: list[Packet] = []
    for kind, count, body in _split(datagram):
        if kind == SR:
            packets.append(_sender_report(count, body))
        elif kind == RR:
            packets.append(ReceiverReport(_ssrc(body), _blocks(count, body, _WORD.size)))
        elif kind == SDES:
            packets.append(_source_description(count, body))
        elif kind == BYE:
            packets.append(_goodbye(count, body))
    return tuple(packets)


def _split(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, count and body without padding of each packet (the checks of RFC 3550 appendix A.2)."""
    position, end = 0, len(datagram)
    while position < end or not end:
        if end - position < _HEADER.size:
            raise RtcpError("short")
        first, kind, words = _HEADER.unpack_from(datagram, position)
        if first >> 6 != VERSION:
            raise RtcpError("version")
        if not 192 <= kind <= 223:  # RTP has marker and payload type here (RFC 5761 section 4)
            raise RtcpError("type")
        start, position = position + _HEADER.size, position + 4 * (words + 1)
        if position > end:
            raise RtcpError("length")
        body = datagram[start:position]
        yield kind, first & 0x1F, _unpadded(body, position == end) if first & _PADDED else body


def _unpadded(body: bytes, last: bool) -> bytes:
    """Only the last packet of a datagram may be padded, by whole words (RFC 3550 section 6.4.1)."""
    padding = body[-1] if body else 0
    if not last or padding % 4 or not 0 < padding <= len(body):
        raise RtcpError("padding")
    return body[:-padding]


def _ssrc(body: bytes) -> int:
    if len(body) < _WORD.size:
        raise RtcpError("length")
    return int(_WORD.unpack_from(body)[0])


def _sender_report(count: int, body: bytes) -> SenderReport:
    if len(body) < _SENDER.size:
        raise RtcpError("length")
    ssrc, ntp, rtp_timestamp, packets, octets = _SENDER.unpack_from(body)
    return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, _blocks(count, body, _SENDER.size))


def _blocks(count: int, body: bytes, start: int) -> tuple[ReportBlock, ...]:
    """What follows the blocks is an extension of a profile, which we have none of."""
    end = start + count * _BLOCK.size
    if end > len(body):
        raise RtcpError("length")
    return tuple(_block(*fields) for fields in _BLOCK.iter_unpack(body[start:end]))


def _block(ssrc: int, losses: int, highest: int, jitter: int, last_sr: int, delay: int) -> ReportBlock:
    cumulative = ((losses + _LOST_LIMIT) & 0xFF_FFFF) - _LOST_LIMIT
    return ReportBlock(ssrc, losses >> 24, cumulative, highest, jitter, last_sr, delay)


def _source_description(count: int, body: bytes) -> SourceDescription:
    cnames: list[tuple[int, str]] = []
    position = 0
    for _ in range(count):
        ssrc = _ssrc(body[position : position + _WORD.size])
        position += _WORD.size
        while (kind := _octet(body, position)) != 0:
            length = _octet(body, position + 1)
            if kind == CNAME:
                cnames.append((ssrc, body[position + 2 : position + 2 + length].decode(errors="replace")))
            position += 2 + length  # beyond the end, the next item is missing
        position += 4 - position % 4  # one to four zeros end a chunk on a whole word
    return SourceDescription(tuple(cnames))


def _octet(body: bytes, position: int) -> int:
    if position >= len(body):
        raise RtcpError("item")
    return body[position]


def _goodbye(count: int, body: bytes) -> Goodbye:
    end = count * _WORD.size
    if end > len(body):
        raise RtcpError("length")
    ssrcs = tuple(ssrc for (ssrc,) in _WORD.iter_unpack(body[:end]))
    if end == len(body):
        return Goodbye(ssrcs)
    text = body[end + 1 : end + 1 + body[end]]
    if len(text) < body[end]:
        raise RtcpError("length")
    return Goodbye(ssrcs, text.decode(errors="replace"))


def random_cname() -> str:
    """A name of one call only, 96 random bits in 16 characters: it tells nobody who we are (RFC 7022 section 4.2)."""
    return secrets.token_urlsafe(12)


def ntp_time(wall: float) -> int:
    """Unix seconds as an NTP timestamp of 32.32 bits, which wraps in 2036."""
    seconds = int(wall)
    return (((seconds + UNIX_EPOCH) << 32) + int((wall - seconds) * 2**32)) & 0xFFFF_FFFF_FFFF_FFFF


def middle(ntp: int) -> int:
    """The 32 bits in the middle: 1/65536 s, wraps every 18 hours."""
    return (ntp >> 16) & _MASK


def sender_report(
    ssrc: int, ntp: int, rtp_timestamp: int, packets: int, octets: int, block: ReportBlock | None
) -> bytes:
    """An SR with at most one block; the counts wrap at 32 bits."""
    fields = _SENDER.pack(ssrc, ntp, rtp_timestamp & _MASK, packets & _MASK, octets & _MASK)
    return _packet(SR, int(block is not None), fields + _packed(block))


def receiver_report(ssrc: int, block: ReportBlock | None) -> bytes:
    """An RR with at most one block."""
    return _packet(RR, int(block is not None), _WORD.pack(ssrc) + _packed(block))


def source_description(ssrc: int, cname: str) -> bytes:
    """An SDES of one source with its CNAME; ValueError when that is empty, longer than 255 bytes or has a zero."""
    text = cname.encode()
    if not 0 < len(text) <= LONGEST_TEXT or b"\0" in text:
        raise ValueError("a CNAME has 1 to 255 bytes, none of them zero")
    item = bytes((CNAME, len(text))) + text
    return _packet(SDES, 1, _WORD.pack(ssrc) + item + bytes(4 - len(item) % 4))


def goodbye(ssrc: int, reason: str = "") -> bytes:
    """A BYE of one source; of the reason, 255 bytes at most."""
    text = reason.encode()[:LONGEST_TEXT].decode(errors="ignore").encode()  # no half character at the end
    tail = bytes((len(text),)) + text if text else b""
    return _packet(BYE, 1, _WORD.pack(ssrc) + tail + bytes(-len(tail) % 4))


def _packed(block: ReportBlock | None) -> bytes:
    if block is None:
        return b""
    losses = block.fraction_lost << 24 | block.cumulative_lost & 0xFF_FFFF
    return _BLOCK.pack(
        block.ssrc, losses, block.highest_sequence, block.jitter, block.last_sr, block.delay_since_last_sr
    )


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(_FIRST | count, kind, len(body) // 4) + body
