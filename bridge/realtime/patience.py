"""How long a call waits for another session, and what it keeps meanwhile."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.faults import FATAL_CODES
from bridge.realtime.protocol import Provider

_REFUSED = frozenset({"http_400", "http_401", "http_403", "http_404", "unusable_format", "bad_signed_url"})


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds unless the name says ms."""

    seconds: float = 10.0
    """From the loss of a session to giving up; 0: a lost session is the end."""
    keep_ms: int = 20_000
    """Of the caller's audio while there is no session, or while he speaks."""
    attempt_s: float = 4.0
    """One attempt to open a session."""
    pause_s: float = 0.25
    """Between two attempts."""
    losses_per_minute: int = 6
    """With more, the service is not worth another session."""
    change_before_s: float = 300.0
    """Before the end of a session: from when on a quiet moment is looked for."""
    change_at_last_s: float = 20.0
    """Before the end of a session: from when on any moment will do."""


class Losses:
    """Counts the lost sessions of one call: a service that takes and drops it again and again is no help."""

    def __init__(self, per_minute: int) -> None:
        self._times: deque[float] = deque(maxlen=per_minute)

    def too_many(self, now: float) -> bool:
        """Another one, at `now` seconds; whether as many as are allowed came within the minute before."""
        times = self._times
        full = len(times) == times.maxlen and now - times[0] < 60
        times.append(now)
        return full


def is_final(end: ev.Lost | SessionFailed, protocol: Provider) -> bool:
    """Whether another session would end the same way: a wrong key, no credit, a service that has said goodbye."""
    if isinstance(end, ev.Lost):
        return protocol.is_final_close(end.code, end.reason)
    if end.close is not None and protocol.is_final_close(*end.close):
        return True
    return end.reason in FATAL_CODES - {"session_expired"} or end.reason in _REFUSED
