"""Exact ticks by timerfd(2): `select` and `epoll_wait` round to whole milliseconds, `time.sleep` drifts."""

import ctypes
import os
import struct
import time
from typing import Self

_libc = ctypes.CDLL(None, use_errno=True)
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_NS = 1_000_000_000


class Ticks:
    """A tick each `period_ns` on an absolute grid of CLOCK_MONOTONIC. `begun_ns`: when tick 0 is due."""

    def __init__(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self.begun_ns = time.monotonic_ns() + period_ns
        self._fileno = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
        times = (*divmod(period_ns, _NS), *divmod(self.begun_ns, _NS))
        if self._fileno < 0 or _libc.timerfd_settime(self._fileno, _ABSOLUTE, (ctypes.c_long * 4)(*times), None) < 0:
            raise OSError(ctypes.get_errno(), "no timer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fileno)

    def wait(self) -> int:
        """Wait for the next tick; how many have passed since the last call, 1 when we are in time."""
        return int(struct.unpack("Q", os.read(self._fileno, 8))[0])

    def due_ns(self, tick: int) -> int:
        """When that tick should come, `time.monotonic_ns()`."""
        return self.begun_ns + tick * self.period_ns
