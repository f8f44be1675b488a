"""How audio is written as bytes between a leg and a session: G.711 of either law, or 16-bit linear PCM."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.audio.g711 import Law

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Linear:
    """16-bit little-endian mono PCM at `rate` Hz, whole samples per millisecond."""

    rate: int

    @property
    def bytes_per_ms(self) -> int:
        """Bytes of one millisecond."""
        return SAMPLE_BYTES * self.rate // 1000

    @property
    def name(self) -> str:
        """For logs and records."""
        return f"PCM{self.rate // 1000}"


Format = Law | Linear
"""Both have `rate` in Hz, `bytes_per_ms` and `name`."""


def silence_of(ms: int, audio_format: Format) -> bytes:
    """`ms` milliseconds of silence."""
    code = bytes((audio_format.silence,)) if isinstance(audio_format, Law) else b"\0"
    return code * (ms * audio_format.bytes_per_ms)
