"""Telephone-events: the caller's keys (RFC 4733).

The receiver only tells digits. While an event runs, the jitter buffer keeps the model's time line going: its
`put_silent` turns each event packet into silence of the event's length.
"""

import struct
from collections import deque
from dataclasses import dataclass

from bridge.media.rtp import TIMESTAMP_MASK, RtpPacket, timestamp_ahead

DIGITS = "0123456789*#ABCD"
"""Events 0 to 15 (RFC 4733 table 3)."""
END_REPEATS = 3
"""How often the end of an event is sent (RFC 4733 section 2.5.1.4)."""
LONGEST = 0xFFFF

_EVENT = struct.Struct("!BBH")
_END = 0x80


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """The payload of one packet: `duration` in samples since the packet's timestamp."""

    event: int
    end: bool
    volume: int
    duration: int


def parse(payload: bytes) -> TelephoneEvent | None:
    """The event in a payload; None when there is none."""
    if len(payload) < _EVENT.size:
        return None
    event, flags, duration = _EVENT.unpack_from(payload)
    return TelephoneEvent(event, flags >= _END, flags & 0x3F, duration)


@dataclass(slots=True)
class _Running:
    packet: RtpPacket
    event: TelephoneEvent
    at: float


class DtmfReceiver:
    """Tells each key once: at its end, or, when every end was lost, at the next event or after `timeout_ms`."""

    __slots__ = (
        "_running",
        "_timeout",
        "_told",
        "digits",
        "ignored",
    )  # fmt: skip

    def __init__(self, timeout_ms: float = 200) -> None:
        self.digits = 0
        self.ignored = 0
        """Packets of events that are no key (flash, fax tones) or too short."""
        self._timeout = timeout_ms / 1000
        self._running: _Running | None = None  # between events
        # Ends are repeated and may come late: an event is known by source and timestamp.
        self._told: deque[tuple[int, int]] = deque(maxlen=64)

    @property
    def next_deadline(self) -> float | None:
        """When `due` gives the running event up; None between events."""
        return self._running.at + self._timeout if self._running else None

    def receive(self, packet: RtpPacket, now: float) -> str:
        """The digits that this packet completes: none, one, or two when the end of the one before was lost."""
        event = parse(packet.payload)
        if event is None or event.event >= len(DIGITS):
            self.ignored += 1
            return ""
        if (packet.ssrc, packet.timestamp) in self._told:
            return ""
        told = ""
        running = self._running
        if running and packet.timestamp != running.packet.timestamp and not _continues(running, packet, event):
            if _is_older(packet, running.packet):
                return ""
            told = self._tell(running)
        self._running = _Running(packet, event, now)
        return told + self._tell(self._running) if event.end else told

    def due(self, now: float) -> str:
        """The digit whose packets stopped without an end, once `timeout_ms` has passed; else nothing."""
        running = self._running
        if running is None or now - running.at < self._timeout:
            return ""
        return self._tell(running)

    def _tell(self, running: _Running) -> str:
        self._told.append((running.packet.ssrc, running.packet.timestamp))
        self._running = None
        self.digits += 1
        return DIGITS[running.event.event]


def _continues(running: _Running, packet: RtpPacket, event: TelephoneEvent) -> bool:
    """Whether the packet is the next segment of a very long event (RFC 4733 section 2.5.1.3)."""
    follows = (running.packet.timestamp + LONGEST) & TIMESTAMP_MASK
    return not packet.marker and event.event == running.event.event and packet.timestamp == follows


def _is_older(packet: RtpPacket, running: RtpPacket) -> bool:
    return packet.ssrc == running.ssrc and timestamp_ahead(packet.timestamp, running.timestamp) < 0


class DtmfSender:
    """The packets of one key, one per slot. All of them carry the timestamp of the first.

    With `RtpWriter`: `packet(payload, event_payload_type, 0, marker)` for each pull, then `skip` the slot's ticks.
    """

    def __init__(
        self, digit: str, duration_ms: int = 100, volume: int = 10, *, slot_ms: int = 20, clock_rate: int = 8000
    ) -> None:
        """`volume` in dBm0 below zero, 0 to 63. ValueError on what is no digit or no such length."""
        if len(digit) != 1 or digit.upper() not in DIGITS:
            raise ValueError(f"{digit!r} is no telephone key")
        self._duration = duration_ms * clock_rate // 1000
        if not 0 < self._duration <= LONGEST:
            raise ValueError(f"a key of {duration_ms} ms cannot be sent as one event")
        self._event = DIGITS.index(digit.upper())
        self._volume = volume & 0x3F
        self._slot = slot_ms * clock_rate // 1000
        self._packets = -(-duration_ms // slot_ms)
        self._sent = 0

    @property
    def samples(self) -> int:
        """Time that the packets pulled so far take, in units of the events' clock."""
        return self._sent * self._slot

    def pull(self) -> tuple[bytes, bool] | None:
        """Payload and marker bit for the next slot; None after the last repeated end."""
        if self._sent >= self._packets + END_REPEATS - 1:
            return None
        self._sent += 1
        end = _END if self._sent >= self._packets else 0
        duration = min(self._sent * self._slot, self._duration)
        return _EVENT.pack(self._event, end | self._volume, duration), self._sent == 1
