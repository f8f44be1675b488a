"""What the fast server counts, within a window that two signals begin and end."""

import resource
import time
from array import array
from collections import Counter
from typing import Any

from tests.bench.percentiles import summary

SAMPLES = 1 << 18
"""Values that are kept of one figure; beyond it every second one, then every fourth."""
_APPEND_AROUND = 47
"""Characters of an append's JSON around its audio."""
_WHOLE_MS = 8
"""G.711 has so many bytes per ms, PCM of 24 kHz a multiple of them."""


class Samples:
    """Values of which the percentiles are wanted, in bounded memory."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self.values = array("d")
        self._stride = 1
        self._left_out = 0
        self._most = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self._most = max(self._most, value)
        self._left_out += 1
        if self._left_out >= self._stride:
            self._left_out = 0
            self.values.append(value)
            if len(self.values) >= SAMPLES:
                self.values = self.values[::2]
                self._stride *= 2

    def summary(self) -> dict[str, float]:
        """Count, percentiles and the largest of all."""
        told = summary(self.values)
        return told | {"count": len(self.values) * self._stride, "max": round(self._most, 3)}


class Figures:
    """One server's figures. `begin` clears them, `end` keeps what is there for `report`."""

    def __init__(self) -> None:
        self.open_sessions = 0
        self.sizes: dict[int, int] = {}
        """Payload bytes of an append → how many came."""
        self.events: Counter[str] = Counter()
        self.uplink_ms = Samples()
        """From the caller's sendmmsg to the kernel's receipt of the append."""
        self.lateness_ms = Samples()
        """How much later than due the server's own writes were."""
        self.truncates: list[tuple[int | None, int, int, int]] = []
        self.interruptions: list[tuple[int | None, int, int]] = []
        self._kept: dict[str, Any] | None = None
        self.begin()

    def begin(self) -> None:
        """The window begins: clear all."""
        self.sizes.clear()
        self.events.clear()
        self.uplink_ms.clear()
        self.lateness_ms.clear()
        self.truncates.clear()
        self.interruptions.clear()
        self.sessions_opened = self.sessions_closed = self.faults = 0
        self.responses = self.deltas = 0
        self.sampled_appends = self.broken_appends = self.up_frames_lost = self.up_frames_repeated = 0
        self.unstamped_appends = 0
        self.bytes_held = self.bytes_unsent = 0
        self._kept = None
        self._since, self._cpu = time.monotonic(), _cpu_seconds()

    def end(self) -> None:
        """The window ends. Truncates are still taken: they may answer interruptions within it."""
        if self._kept is None:
            self._kept = self._report()

    def interrupted(self, call: int | None, response: int, t_ns: int) -> None:
        """`speech_started` was written at `t_ns` since the epoch, while that response was heard."""
        if self._kept is None:
            self.interruptions.append((call, response, t_ns))

    def report(self) -> dict[str, Any]:
        """The window's figures, or those from its beginning to now."""
        self.end()
        return (self._kept or {}) | {"truncates": self.truncates, "interruptions": self.interruptions}

    def _report(self) -> dict[str, Any]:
        user, system = (now - then for now, then in zip(_cpu_seconds(), self._cpu, strict=True))
        return {
            "window_s": round(time.monotonic() - self._since, 3),
            "sessions": self.open_sessions,
            "sessions_opened": self.sessions_opened,
            "sessions_closed": self.sessions_closed,
            "appends": sum(self.sizes.values()),
            "append_audio_bytes": sum(count * audio_bytes(size) for size, count in self.sizes.items()),
            "events": dict(self.events),
            "responses": self.responses,
            "deltas": self.deltas,
            "uplink_ms": self.uplink_ms.summary(),
            "sampled_appends": self.sampled_appends,
            "unstamped_appends": self.unstamped_appends,
            "broken_appends": self.broken_appends,
            "up_frames_lost": self.up_frames_lost,
            "up_frames_repeated": self.up_frames_repeated,
            "lateness_ms": self.lateness_ms.summary(),
            "bytes_held": self.bytes_held,
            "bytes_unsent": self.bytes_unsent,
            "faults": self.faults,
            "cpu_user_s": round(user, 4),
            "cpu_system_s": round(system, 4),
        }


def audio_bytes(size: int) -> int:
    """Of an append with a payload of so many bytes; what Base64 leaves open is told by whole milliseconds."""
    most = (size - _APPEND_AROUND) // 4 * 3
    return most - most % _WHOLE_MS if most % _WHOLE_MS <= 2 else most


def _cpu_seconds() -> tuple[float, float]:
    """Of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime
