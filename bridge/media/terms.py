"""What the two sides of one RTP stream agreed on, as the stream needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bridge.audio.g711 import Law
from bridge.media.srtp import Keys

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
"""Ours, of the answer (RFC 3264 section 6.1)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """One agreement; a re-INVITE brings the next.

    `remote` is where the caller wants our packets. `payload_type` is the law's in what we send and
    `receive_payload_type` in what comes, None for the static one. `also_receives` are further payload types that may
    come with audio: an answer to an offer of both laws may use both. The event types are those of RFC 4733, None when
    that direction has none. `keys` are those of SRTP, None for plain RTP.
    """

    law: Law
    remote: tuple[str, int]
    direction: Direction = "sendrecv"
    payload_type: int | None = None
    receive_payload_type: int | None = None
    also_receives: Mapping[int, Law] = field(default_factory=dict)
    event_payload_type: int | None = None
    receive_event_payload_type: int | None = None
    keys: Keys | None = None

    @property
    def sends_as(self) -> int:
        """The payload type of our audio."""
        return self.law.payload_type if self.payload_type is None else self.payload_type

    @property
    def receives_as(self) -> int:
        """The payload type of the caller's audio."""
        return self.law.payload_type if self.receive_payload_type is None else self.receive_payload_type
