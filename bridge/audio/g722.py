"""G.722 at 64 kbit/s: 16000 Hz, one byte for two samples (ITU-T G.722). Its RTP clock says 8000 (RFC 3551 4.5.2)."""

from __future__ import annotations

from array import array
from typing import Any

from bridge.audio._audioop import audioop
from bridge.audio.wideband import Fade

RATE = 16000
"""Samples per second."""
RTP_CLOCK = 8000
"""Hz: a mistake of RFC 1890 that RFC 3551 kept, so a timestamp counts bytes and not samples."""
PAYLOAD_TYPE = 9
"""Static RTP payload type (RFC 3551 table 4)."""
BYTES_PER_MS = 8

_BITRATE = 64000
_PCM_PER_BYTE = 4
_PCM_PER_MS = 2 * RATE // 1000
_FADE = Fade(full_ms=10, fade_ms=50)
"""Longer repetition sounds like a machine."""
_PATTERN = 5 * _PCM_PER_MS
_SHORTEST_PERIOD = 5 * _PCM_PER_MS // 2
_LONGEST_PERIOD = 15 * _PCM_PER_MS
"""A voice repeats itself after 2.5 to 15 ms, which is 400 to 67 Hz; 5 ms of it are enough to find where."""


def check_installed() -> None:
    """RuntimeError that names the extra to install, where there is no G.722 library."""
    _library()


class G722Encoder:
    """One stream of PCM16 little-endian mono at 16000 Hz to G.722."""

    __slots__ = ("_encode", "rate")

    def __init__(self) -> None:
        self.rate = RATE
        self._encode = _library()(RATE, _BITRATE, use_numpy=False).encode

    def encode(self, pcm: bytes) -> bytes:
        """A quarter as many bytes. ValueError where `pcm` is no whole number of pairs of samples."""
        if len(pcm) % _PCM_PER_BYTE:
            raise ValueError(f"{len(pcm)} bytes are no whole pairs of 16-bit samples")
        return bytes(self._encode(array("h", pcm)))


class G722Decoder:
    """One stream of G.722 to PCM16 little-endian mono at 16000 Hz. Every byte has a meaning: nothing is damaged."""

    __slots__ = ("_before", "_decode", "_gone", "_last", "rate")

    def __init__(self) -> None:
        self.rate = RATE
        self._decode = _library()(RATE, _BITRATE, use_numpy=False).decode
        self._before = b""
        self._last = b""
        self._gone = 0  # ms concealed since the last payload

    def decode(self, payload: bytes) -> bytes:
        """Four times as many bytes."""
        pcm: bytes = self._decode(payload).tobytes()
        self._before, self._last, self._gone = self._last, pcm, 0
        return pcm

    def lost(self, ms: int, following: bytes = b"") -> bytes:
        """Exactly `ms`: the voice's last period again and again, fading to silence. `following` tells nothing here."""
        heard = (self._before + self._last)[-(_LONGEST_PERIOD + _PATTERN) :]
        voiced = max(0, min(ms, _FADE.left(self._gone))) if heard else 0
        faded = b""
        if voiced:
            period = heard[-_period(heard) :]
            # A gap told in two calls must not jump back: the period goes on where the first call left it.
            start = self._gone * _PCM_PER_MS % len(period)
            end = start + voiced * _PCM_PER_MS
            faded = _FADE.apply((period * (end // len(period) + 1))[start:end], self._gone, _PCM_PER_MS)
            self._gone += voiced
        return faded.ljust(ms * _PCM_PER_MS, b"\0")

    def duration_ms(self, payload: bytes) -> float:
        """Milliseconds in `payload`."""
        return len(payload) / BYTES_PER_MS


def _period(heard: bytes) -> int:
    """Bytes after which the end of `heard` came before: the best fit of its last 5 ms; all where that is short."""
    if len(heard) < _PATTERN + _SHORTEST_PERIOD + _PCM_PER_MS:
        return len(heard)
    pattern = heard[-_PATTERN:]
    earlier = heard[: len(heard) - _SHORTEST_PERIOD]
    found, _ = audioop.findfit(earlier, pattern)
    return len(heard) - _PATTERN - 2 * int(found)


def _library() -> Any:
    try:
        from G722 import G722
    except ImportError as error:
        raise RuntimeError("G.722 needs its library: pip install sipbridge[wideband]") from error
    return G722
