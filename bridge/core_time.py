"""What a thread has taken of its core, and what others have taken from it, as the operating system counts it."""

from __future__ import annotations

import os
import time

_SCHEDSTAT = "/proc/thread-self/schedstat"
"""Of Linux: nanoseconds on a core, nanoseconds ready to run but waiting for one, turns."""


class CoreTime:
    """The times of the thread that calls it first, and only that one may. `close` it at the end."""

    def __init__(self) -> None:
        self._file: int | None = None  # before the first call, and where the system has no such file
        self._opened = False

    def __call__(self) -> tuple[float, float]:
        """Seconds that the thread has worked, and seconds that it had to wait for a core: 0 if nobody counts."""
        if not self._opened:
            self._open()
        waited = int(os.pread(self._file, 64, 0).split()[1]) / 1e9 if self._file is not None else 0.0
        return time.thread_time(), waited

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self._opened = True
        try:
            self._file = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if len(os.pread(self._file, 64, 0).split()) < 2:  # a kernel that counts nothing
            self.close()
