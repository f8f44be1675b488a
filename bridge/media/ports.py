"""The UDP ports of the calls: even numbers for RTP (RFC 3550 section 11), each reused as late as possible."""

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

EXPEDITED_FORWARDING = 46 << 2
"""The DSCP of voice as a TOS byte (RFC 4594 section 4.1)."""


class NoPort(Exception):
    """Every port of the range is taken, by calls or by other programs."""


class RtpSocket(socket.socket):
    """A UDP socket that gives its port back to the pool when it is closed."""

    _give_back: Callable[[], None] | None = None

    def close(self) -> None:
        """Close; a second call does nothing."""
        super().close()
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class PortPool:
    """The even ports from `low` to `high`, both included, handed out round robin."""

    def __init__(self, low: int, high: int) -> None:
        """ValueError when that is no range of ports or has no even one."""
        if not 0 < low <= high <= 65535:
            raise ValueError(f"{low}-{high} is no range of ports")
        self._free = deque(range(low + low % 2, high + 1, 2))
        if not self._free:
            raise ValueError(f"no even port in {low}-{high}")
        self.size = len(self._free)

    @property
    def free(self) -> int:
        """Ports that no open socket of the pool holds."""
        return len(self._free)

    def open(self, host: str) -> RtpSocket:
        """A non-blocking socket bound to the next free port of `host`, an IP address.

        NoPort when none is left; OSError when the address cannot be bound at all.
        """
        for _ in range(len(self._free)):
            port = self._free.popleft()
            try:
                sock = _bind(host, port)
            except OSError as error:
                self._free.append(port)
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            sock._give_back = partial(self._free.append, port)
            return sock
        raise NoPort(f"all {self.size} RTP ports are taken")

    def companion(self, sock: socket.socket) -> socket.socket | None:
        """A socket on the odd port above, for RTCP (RFC 3550 section 11); None when somebody else has that."""
        host, port = sock.getsockname()[:2]
        try:
            return _bind(host, port + 1)
        except OSError:
            return None

    def release(self, sock: RtpSocket) -> None:
        """Close a socket that nobody else will close; the same as its own `close`."""
        sock.close()


def _bind(host: str, port: int) -> RtpSocket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = RtpSocket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _mark_as_voice(sock, family)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _mark_as_voice(sock: socket.socket, family: int) -> None:
    # Better queues on the way are a wish: a system that refuses carries the call all the same.
    with contextlib.suppress(OSError):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED_FORWARDING)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED_FORWARDING)
