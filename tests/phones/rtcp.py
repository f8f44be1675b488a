"""RTCP as a stranger reads it (RFC 3550 section 6): strictly, byte by byte. Knows nothing of `bridge`."""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

SENDER, RECEIVER, SOURCE, GOODBYE = 200, 201, 202, 203
_KNOWN = {SENDER, RECEIVER, SOURCE, GOODBYE, 204, 205, 206, 207}
_BLOCK = 24
_ETH_P_IP = 0x0800
_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_FILTER = (
    (0x30, 0, 0, 9),  # the protocol of the IP packet
    (0x15, 0, 5, 17),  # is UDP
    (0xB1, 0, 0, 0),  # behind its header
    (0x50, 0, 0, 9),  # the second byte that UDP carries
    (0x54, 0, 0, 0xE0),
    (0x15, 0, 1, 0xC0),  # is 192 to 223: never the payload type of an RTP packet (RFC 5761 section 4)
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)
"""For the kernel: a test that counts calls by the hundred may run beside us."""


@dataclass(frozen=True, slots=True)
class Report:
    """One packet of a datagram; `blocks` are its report blocks, `packets` the sender's count of a sender report."""

    kind: int
    ssrc: int
    packets: int = 0
    blocks: tuple[tuple[int, int, int, int], ...] = ()
    """SSRC, fraction lost of 256, packets lost, jitter in ticks."""


def parse(datagram: bytes) -> list[Report]:
    """The packets of one datagram; ValueError where it is no compound packet of section 6.1."""
    found, at = [], 0
    while at < len(datagram):
        first, kind, words = struct.unpack_from("!BBH", datagram, at)
        body = datagram[at + 4 : at + 4 * (words + 1)]
        _check(first >> 6 == 2 and kind in _KNOWN, "version or type", datagram)
        _check(len(body) == 4 * words and not first & 0x20, "length or padding", datagram)
        found.append(_read(kind, first & 0x1F, body))
        at += 4 * (words + 1)
    kinds = [report.kind for report in found]
    _check(kinds[:1] in ([SENDER], [RECEIVER]), "no report comes first", datagram)
    _check(SOURCE in kinds, "no source description", datagram)
    return found


def _read(kind: int, count: int, body: bytes) -> Report:
    if kind in (SENDER, RECEIVER):
        start = 24 if kind == SENDER else 4
        _check(len(body) >= start + _BLOCK * count, "blocks do not fit", body)
        blocks = []
        for at in range(start, start + _BLOCK * count, _BLOCK):
            ssrc, lost, _, jitter = struct.unpack_from("!IIII", body, at)
            signed = (lost & 0xFFFFFF) - (0x1000000 if lost & 0x800000 else 0)
            blocks.append((ssrc, lost >> 24, signed, jitter))
        sent = struct.unpack_from("!I", body, 16)[0] if kind == SENDER else 0
        return Report(kind, struct.unpack_from("!I", body)[0], sent, tuple(blocks))
    if kind == SOURCE:
        _check(count > 0 and body[4] == 1 and 0 < body[5] <= len(body) - 6, "no CNAME", body)
    _check(kind != GOODBYE or len(body) >= 4 * count, "sources do not fit", body)
    return Report(kind, struct.unpack_from("!I", body)[0] if body else 0)


def _check(good: bool, what: str, data: bytes) -> None:
    if not good:
        raise ValueError(f"{what}: {data.hex()}")


def is_protected(datagram: bytes) -> bool:
    """Whether it ends as SRTCP with a tag of 80 bits and encryption does (RFC 3711 section 3.4)."""
    return len(datagram) >= 22 and bool(datagram[-14] & 0x80)


class Sniffer:
    """The RTCP on loopback between `with` and its end. PermissionError where the kernel does not let us look."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        steps = b"".join(struct.pack("HBBI", *step) for step in _FILTER)
        place = ctypes.create_string_buffer(steps)
        program = struct.pack("HL", len(_FILTER), ctypes.addressof(place))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def datagrams(self, ports: range) -> Iterator[tuple[int, int, bytes]]:
        """What came from or to these ports since the last time: source port, destination port, payload."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, address = self._socket.recvfrom(65535)
                start = 4 * (packet[0] & 15)
                source, destination = struct.unpack_from("!HH", packet, start)
                # Loopback shows each packet twice.
                if address[2] != _OUTGOING and (source in ports or destination in ports):
                    yield source, destination, packet[start + 8 :]
