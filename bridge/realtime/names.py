"""Addresses of the hosts we connect to, remembered for a minute: a caller should not wait for DNS."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

KEPT_S = 60.0
"""Name servers of clouds ask for about this; a shorter life would make every other call wait."""


class Names:
    """A cache over the system's resolver. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, str]] = {}

    async def address(self, host: str, port: int) -> str | None:
        """The host's first address; None when the system does not know it. Asked anew after a minute."""
        known = self._known.get((host, port))
        if known is not None and known[0] > self._clock():
            return known[1]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return None
        if not found:
            return None
        address = str(found[0][4][0])
        self._known[host, port] = self._clock() + KEPT_S, address
        return address

    def forget(self, host: str, port: int) -> None:
        """Nobody answered at the address that was known."""
        self._known.pop((host, port), None)
