"""A masked text frame of a WebSocket client (RFC 6455 section 5.2), made for what leaves fifty times a second per call.

`websockets` makes the same bytes, but with some objects and one call into the kernel for each mask; this is a fifth of
that work (docs/performance.md). The library still does everything else: handshake, reading, control frames, closing.
"""

from __future__ import annotations

import os
import struct

from websockets.utils import apply_mask as _apply_mask_in_python

try:
    from websockets.speedups import apply_mask
except ImportError:  # a wheel without the compiled part
    apply_mask = _apply_mask_in_python

_TEXT = 0x81
"""FIN and the opcode of text."""
_MASKED = 0x80
_SHORT, _LONG = 126, 1 << 16
_MEDIUM_HEAD = struct.Struct("!BBH")
_LONG_HEAD = struct.Struct("!BBQ")
_POOL_BYTES = 4096


class TextFrames:
    """Makes frames. Masks come from the system's generator, as section 5.3 asks, but a thousand at a time."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def frame(self, message: bytes) -> bytes:
        """The whole frame around a message of UTF-8."""
        at = self._at
        if at >= len(self._pool):
            self._pool, at = os.urandom(_POOL_BYTES), 0
        self._at = at + 4
        mask = self._pool[at : at + 4]
        size = len(message)
        if _SHORT <= size < _LONG:
            head = _MEDIUM_HEAD.pack(_TEXT, _MASKED | 126, size)
        else:
            head = bytes((_TEXT, _MASKED | size)) if size < _SHORT else _LONG_HEAD.pack(_TEXT, _MASKED | 127, size)
        return head + mask + apply_mask(message, mask)
