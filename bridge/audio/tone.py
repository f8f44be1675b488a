"""The tone a caller hears while somebody else's phone rings."""

from __future__ import annotations

import math
import struct
from functools import cache

from bridge.audio.g711 import Law, encode

RING_HZ = 425
"""ITU-T E.180: the ringing tone of most of the world."""
RING_S = 1.0
PERIOD_S = 5.0
"""One second of tone in every five."""
_LEVEL = 3000


@cache
def ringing(law: Law) -> bytes:
    """One period of the ringing tone: tone, then silence, in `law` at 8000 Hz. Made once."""
    count = int(RING_S * 8000)
    wave = [int(_LEVEL * math.sin(2 * math.pi * RING_HZ * index / 8000)) for index in range(count)]
    quiet = int((PERIOD_S - RING_S) * 8000)
    return encode(struct.pack(f"<{count}h", *wave) + bytes(2 * quiet), law)
