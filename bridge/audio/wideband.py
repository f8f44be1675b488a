"""What every codec past G.711 has in common: its two directions, the error for a damaged payload, how a loss fades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bridge.audio._audioop import audioop


class CodecError(ValueError):
    """A payload that is not of its codec. The decoder that raised it may be used further."""


class Encoder(Protocol):
    """One direction of one stream: PCM16 little-endian mono at `rate` Hz becomes payloads."""

    rate: int

    def encode(self, pcm: bytes) -> bytes:
        """The payload of one packet. ValueError where `pcm` is no whole frame."""


class Decoder(Protocol):
    """The other direction: payloads become PCM16 little-endian mono at `rate` Hz."""

    rate: int

    def decode(self, payload: bytes) -> bytes:
        """Exactly as many milliseconds as `duration_ms` says. CodecError on a damaged payload."""

    def lost(self, ms: int, following: bytes = b"") -> bytes:
        """Exactly `ms` in the place of what never came; `following` is the payload after the gap, where it is known."""

    def duration_ms(self, payload: bytes) -> float:
        """Milliseconds in `payload`, without decoding it; 0 where that cannot be told."""


@dataclass(frozen=True, slots=True)
class Fade:
    """What stands in for lost audio is at full level for `full_ms`, then goes down to silence in `fade_ms`."""

    full_ms: int
    fade_ms: int

    def left(self, gone: int) -> int:
        """Milliseconds until silence, `gone` milliseconds after the loss."""
        return max(0, self.full_ms + self.fade_ms - gone)

    def apply(self, pcm: bytes, gone: int, bytes_per_ms: int) -> bytes:
        """PCM16 at the levels due from `gone` milliseconds after the loss on."""
        starts = range(0, len(pcm), bytes_per_ms)
        levels = (min(1.0, 1.0 - (gone + at - self.full_ms + 1) / self.fade_ms) for at in range(len(starts)))
        pieces = (pcm[start : start + bytes_per_ms] for start in starts)
        return b"".join(audioop.mul(piece, 2, max(0.0, level)) for piece, level in zip(pieces, levels, strict=True))
