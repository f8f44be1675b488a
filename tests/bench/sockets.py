"""UDP sockets of the caller: kernel stamps, big buffers, and what the kernel had to drop."""

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
_SO_RCVBUFFORCE = 33  # above net.core.rmem_max, where the process may
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_TIMESPEC = struct.Struct("qq")
_BUFFER_BYTES = 16 << 20
_ATTEMPTS = 200


def udp_socket(host: str, port: int = 0) -> socket.socket:
    """A bound IPv4 socket that never waits, with stamps and a big receive buffer."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    with contextlib.suppress(PermissionError):
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.setblocking(False)
    try:
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def dropped(opened: socket.socket) -> int:
    """Datagrams that this socket's full buffer has cost so far."""
    return int(_MEMINFO.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8])


def kernel_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The stamp of one datagram that `recvmsg` gave, CLOCK_REALTIME in ns."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def own_address(host: str, port: int) -> str:
    """The address of this machine that faces that one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return str(probe.getsockname()[0])


@dataclass(frozen=True, slots=True)
class MediaSocket:
    """An even port for the RTP of many calls, and the odd one above for RTCP, which nobody reads."""

    rtp: socket.socket
    rtcp: socket.socket
    port: int

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


def media_socket(host: str) -> MediaSocket:
    """Open such a pair. The second only keeps the machine from answering reports with "port unreachable"."""
    for _ in range(_ATTEMPTS):
        rtp = udp_socket(host)
        port = rtp.getsockname()[1]
        if port % 2 == 0:
            rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                rtcp.bind((host, port + 1))
                return MediaSocket(rtp, rtcp, port)
            except OSError:
                rtcp.close()
        rtp.close()
    raise OSError("no pair of free ports for RTP and RTCP")
