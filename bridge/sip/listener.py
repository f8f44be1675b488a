"""A listening TCP socket in the loop: hands on what it accepts, and rests when the machine is full."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from .advertise import family_of

log = structlog.get_logger("sipbridge.sip")

BATCH = 64
"""Connections accepted before the loop gets its turn again."""
BACKLOG = 512
REST_S = 1.0
"""How long nothing is accepted when no descriptor is left, in seconds: trying at once burns the processor."""

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Gives `admit` each accepted socket and its source. It decides before anything is spent on TLS."""

    def __init__(self, host: str, port: int, admit: Callable[[socket.socket, tuple[str, int]], None]) -> None:
        """Bind and listen; OSError when the address cannot be had. Needs a running loop."""
        family = family_of(host) or socket.AF_INET
        self._admit = admit
        self._rest: asyncio.TimerHandle | None = None
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((host, port))
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        bound = self._socket.getsockname()
        self.local: tuple[str, int] = (bound[0], bound[1])
        self._loop = asyncio.get_running_loop()
        self._resume()

    def close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                accepted, source = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._pause(error)
                    return
                continue  # this one peer is gone already; the others are not
            self._admit(accepted, (source[0], source[1]))

    def _pause(self, error: OSError) -> None:
        log.warning("sip.cannot_accept", reason=str(error), hint="raise the limit of open files")
        self._loop.remove_reader(self._socket.fileno())
        self._rest = self._loop.call_later(REST_S, self._resume)
