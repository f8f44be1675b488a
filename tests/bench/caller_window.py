"""One window of the caller: what its counters were when it began, and from that the report when it has ended."""

from __future__ import annotations

import resource
import time
from array import array
from typing import Any

import numpy as np

from tests.bench.arrivals import Arrivals
from tests.bench.percentiles import summary
from tests.bench.sip_calls import SipCalls
from tests.bench.streams import Voices
from tests.bench.wire_figures import heard, window_figures


class Window:
    """Begins with its making. `late_ms`: how late each round of the caller was, for the caller to fill."""

    def __init__(self, sip: SipCalls, voices: Voices, arrivals: Arrivals) -> None:
        self.late_ms: array[float] = array("d")
        self._sip, self._voices, self._arrivals = sip, voices, arrivals
        self._up_since = {call.number for call in sip.up()}
        self._sent, self._skipped = voices.sent, voices.skipped
        self._answers, self._ended = len(sip.tally.answer_ms), sip.tally.ended
        arrivals.begin()
        self._cpu = resource.getrusage(resource.RUSAGE_SELF)
        self._begun_ns = time.time_ns()
        self._report: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self._report is not None

    def end(self) -> None:
        """Take the counters; from now on nothing changes. The figures of the packets are made by `report`."""
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        self._ended_ns = time.time_ns()
        dropped = self._arrivals.end()
        skipped = self._voices.skipped - self._skipped
        user_s, system_s = cpu.ru_utime - self._cpu.ru_utime, cpu.ru_stime - self._cpu.ru_stime
        self._lasting = self._up_since & {call.number for call in self._sip.up()}
        self._report = {
            "window_s": round((self._ended_ns - self._begun_ns) / 1e9, 3),
            "calls": len(self._lasting),
            "sent": self._voices.sent - self._sent,
            "skipped": skipped,
            "dropped": dropped + skipped,
            "strangers": self._arrivals.strangers,
            "unkept": self._arrivals.unkept,
            "cpu_s": round(user_s + system_s, 3),
            "cpu_user_s": round(user_s, 3),
            "cpu_system_s": round(system_s, 3),
            "ended_in_window": self._sip.tally.ended - self._ended,
            "answered_in_window": len(self._sip.tally.answer_ms) - self._answers,
            "setup_in_window_ms": summary(self._sip.tally.answer_ms[self._answers :]),
            "late_ms": summary(self.late_ms),
        }

    def report(self, *, with_heard: bool) -> dict[str, Any]:
        """All figures; only once it has ended."""
        assert self._report is not None
        rows = self._arrivals.rows()
        latencies = self._arrivals.latencies_ms
        figures = window_figures(rows, self._begun_ns, self._ended_ns, self._lasting)
        figures["downlink_ms"] = summary(np.concatenate(latencies) if latencies else [])
        return self._report | figures | ({"heard": heard(rows)} if with_heard else {})
