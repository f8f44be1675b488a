"""Keys to send: RFC 4733 events on the slot grid, one key after the other with a pause between."""

from __future__ import annotations

from collections import deque

from bridge.media.dtmf import DtmfSender
from bridge.media.rtp import RtpWriter

PAUSE_MS = 60
"""Silence between two keys, at least."""


class Keypad:
    """The keys that wait. While one is sent it takes the place of the audio."""

    __slots__ = (
        "_begun",
        "_clock_rate",
        "_pause",
        "_payload_type",
        "_slot_ms",
        "_waiting",
        "busy",
    )  # fmt: skip

    def __init__(self, payload_type: int | None) -> None:
        self._payload_type = payload_type
        self.busy = False
        """Whether a key is being sent or waits."""
        self._waiting: deque[DtmfSender] = deque()
        self._pause = 0  # slots of audio until the next key
        self._slot_ms = 20
        self._clock_rate = 8000
        self._begun = 0  # timestamp of the key that is being sent

    def __len__(self) -> int:
        """The keys that are not yet sent."""
        return len(self._waiting)

    def retype(self, payload_type: int | None, slot_ms: int = 20, clock_rate: int = 8000) -> None:
        """Go on with another payload type, packet length, or clock in Hz; without a type, keys that wait are lost."""
        self._payload_type = payload_type
        self._slot_ms = slot_ms
        self._clock_rate = clock_rate
        if payload_type is None:
            self._waiting.clear()
            self.busy = False

    def press(self, digits: str) -> None:
        """Queue keys. ValueError for what is no key, or when the other side takes no telephone-events."""
        if self._payload_type is None:
            raise ValueError("the other side takes no telephone-events")
        self._waiting.extend(DtmfSender(digit, slot_ms=self._slot_ms, clock_rate=self._clock_rate) for digit in digits)
        self.busy = bool(self._waiting)

    def packet(self, writer: RtpWriter, ticks: int) -> bytes | None:
        """The packet of this slot, which takes `ticks` of the audio's clock; None: this slot is for audio."""
        if self._pause:
            self._pause -= 1
            return None
        if not self._waiting or self._payload_type is None:
            return None
        pulled = self._waiting[0].pull()
        if pulled is None:
            self._waiting.popleft()
            self.busy = bool(self._waiting)
            self._pause = -(-PAUSE_MS // self._slot_ms)
            return None
        payload, first = pulled
        # All packets of a key carry the timestamp of its first, while the stream's own time goes on.
        now = writer.timestamp
        self._begun = now if first else self._begun
        writer.timestamp = self._begun
        packet = writer.packet(payload, self._payload_type, 0, first)
        writer.timestamp = now
        writer.skip(ticks)
        return packet
