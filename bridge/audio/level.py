"""How loud audio is."""

import math

from bridge.audio._audioop import audioop

FULL_SCALE = 32768
SILENCE_DBFS = -96.0
"""What `dbfs` calls digital silence: the range of 16 bits, so that the figure stays finite."""


def rms(pcm: bytes) -> int:
    """Root mean square of 16-bit little-endian PCM, 0 to 32768; 0 for no samples."""
    return int(audioop.rms(pcm, 2)) if pcm else 0


def dbfs(rms: float) -> float:
    """An RMS value in dB below full scale: 0.0 at 32768, `SILENCE_DBFS` at 0."""
    if rms <= 0:
        return SILENCE_DBFS
    return max(20 * math.log10(rms / FULL_SCALE), SILENCE_DBFS)
