"""From one format to another as a stream: laws by table, rates by a filter that keeps back 2 ms at most."""

from __future__ import annotations

from typing import Protocol

from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import Law, decode, encode, translation
from bridge.audio.resample import Polyphase


class Converter(Protocol):
    """Converts one stream, piece by piece; the pieces may be of any size, 0 too."""

    latency_ms: float
    """What it keeps back for its filter: 2 ms to and from 8000 Hz, 1.1 ms from 16000 to 24000 Hz and back, else 0."""

    def __call__(self, audio: bytes) -> bytes:
        """What of the target is known after `audio`."""

    def finish(self) -> bytes:
        """The rest: all that came out is exactly as long as what went in, rounded to a sample. Then as if new."""


def converter(source: Format, target: Format) -> Converter | None:
    """None where both are the same. RuntimeError that names the extra to install, where rates differ without numpy."""
    if source == target:
        return None
    if isinstance(source, Law) and isinstance(target, Law):
        return _Table(source, target)
    return _Conversion(source, target)


class _Table:
    """One law to the other, byte by byte, with no memory."""

    __slots__ = ("_table", "latency_ms")

    def __init__(self, source: Law, target: Law) -> None:
        self.latency_ms = 0.0
        self._table = translation(source, target)

    def __call__(self, audio: bytes) -> bytes:
        return audio.translate(self._table)

    def finish(self) -> bytes:
        return b""


class _Conversion:
    """By way of linear PCM: decoded, brought to the other rate, encoded; each only where it is due."""

    __slots__ = ("_filter", "_half", "_source", "_target", "latency_ms")

    def __init__(self, source: Format, target: Format) -> None:
        self._source = None if isinstance(source, Linear) else source
        self._target = None if isinstance(target, Linear) else target
        self._filter = None if source.rate == target.rate else Polyphase(source.rate, target.rate)
        self._half = b""  # the first byte of a sample whose second has not come
        self.latency_ms = self._filter.latency_ms if self._filter else 0.0

    def __call__(self, audio: bytes) -> bytes:
        pcm = self._whole_samples(audio) if self._source is None else decode(audio, self._source)
        if self._filter is not None:
            pcm = self._filter.process(pcm)
        return pcm if self._target is None else encode(pcm, self._target)

    def finish(self) -> bytes:
        self._half = b""
        if self._filter is None:
            return b""
        pcm = self._filter.finish()
        return pcm if self._target is None else encode(pcm, self._target)

    def _whole_samples(self, audio: bytes) -> bytes:
        if self._half:
            audio = self._half + audio
        if len(audio) % SAMPLE_BYTES == 0:
            self._half = b""
            return audio
        self._half = audio[-1:]
        return audio[:-1]
