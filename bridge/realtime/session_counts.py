"""What the sessions of one call have counted."""

from __future__ import annotations

from bridge.realtime.session import Session


class SessionCounts:
    """Sums over the sessions of one call; bytes are of the caller's audio."""

    __slots__ = ("dropped_bytes", "events", "late_deltas", "malformed", "unknown", "uplink_bytes")

    def __init__(self) -> None:
        self.uplink_bytes = self.dropped_bytes = self.events = self.malformed = self.unknown = self.late_deltas = 0

    def plus(self, session: Session) -> SessionCounts:
        """These and those of one session more."""
        total, protocol = SessionCounts(), session.protocol
        total.uplink_bytes = self.uplink_bytes + session.audio_in_bytes
        total.dropped_bytes = self.dropped_bytes + session.audio_dropped_bytes
        total.events = self.events + protocol.events_in
        total.malformed = self.malformed + protocol.malformed
        total.unknown = self.unknown + protocol.unknown
        total.late_deltas = self.late_deltas + protocol.late_deltas
        return total
