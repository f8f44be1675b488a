"""What the two sides of one RTP stream agreed on, as the stream needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bridge.audio.format import Format
from bridge.media.codecs import Codec
from bridge.media.srtp import Keys

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
"""Ours, of the answer (RFC 3264 section 6.1)."""
STATIC = {"PCMU": 0, "PCMA": 8, "G722": 9}
"""Payload types that need no agreement (RFC 3551 table 4)."""


@dataclass(frozen=True, slots=True)
class Events:
    """Telephone-events in one direction (RFC 4733): payload type, and the clock of their durations in Hz."""

    payload_type: int
    clock_rate: int = 8000


@dataclass(frozen=True, slots=True)
class Rtcp:
    """Where the caller takes RTCP; `mux`: on the port of RTP, both ways (RFC 5761)."""

    remote: tuple[str, int]
    mux: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """One agreement; a re-INVITE brings the next.

    `remote` is where the caller wants our packets. `codec` is what we send, of `payload_type` (None: the static one),
    in packets of `ptime_ms`. `receives` are all payload types of audio that may come, with their codecs; the codec of
    ours is among them under its own payload type when nothing else is said. `events` are those that we send,
    `receive_events` those that come; None when that direction has none. `keys` are those of SRTP, None for plain RTP.
    `rtcp` is None when the caller wants none.
    """

    codec: Codec
    remote: tuple[str, int]
    direction: Direction = "sendrecv"
    payload_type: int | None = None
    receives: Mapping[int, Codec] = field(default_factory=dict)
    events: Events | None = None
    receive_events: Events | None = None
    keys: Keys | None = None
    ptime_ms: int = 20
    rtcp: Rtcp | None = None

    @property
    def audio_format(self) -> Format:
        """Of the audio between the leg and what is behind it."""
        return self.codec.audio_format

    @property
    def sends_as(self) -> int:
        """The payload type of our audio."""
        return STATIC[self.codec.name] if self.payload_type is None else self.payload_type

    @property
    def receives_as(self) -> Mapping[int, Codec]:
        """Payload type → codec of what may come."""
        return self.receives or {self.sends_as: self.codec}
