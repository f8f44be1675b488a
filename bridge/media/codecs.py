"""The codecs of a stream and what turns their payloads into a leg's audio (RFC 3551 section 4.5, RFC 7587)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bridge.audio import g722, opus, wideband
from bridge.audio.conversion import converter
from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import Law, translation
from bridge.media.concealment import conceal
from bridge.media.quality import Codec as CodecName


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write audio: `clock_rate` of its timestamps in Hz, `audio_format` of what it is made from."""

    name: CodecName
    clock_rate: int
    audio_format: Format

    @property
    def is_plain(self) -> bool:
        """Whether its payloads are the leg's audio as it is."""
        return isinstance(self.audio_format, Law)


CODECS = {
    "PCMU": Codec("PCMU", 8000, Law.PCMU),
    "PCMA": Codec("PCMA", 8000, Law.PCMA),
    # RFC 3551 section 4.5.2: by an old mistake the clock of G.722 is half its sampling rate.
    "G722": Codec("G722", 8000, Linear(16000)),
    "OPUS": Codec("OPUS", 48000, Linear(24000)),
}
"""By their encoding names in upper case."""
_SESSION = Linear(24000)
"""What a session speaks to whom has more than G.711."""


class Decoder(Protocol):
    """One payload type of what comes, up to the format of the leg."""

    clock_rate: int
    """Ticks of the timestamp per second."""
    is_plain: bool
    """Whether the payload is the audio itself, one byte a tick."""

    def ticks(self, payload: bytes) -> int:
        """How much time a payload takes; 0 for one that makes no sense."""

    def decode(self, payload: bytes) -> bytes:
        """The audio; CodecError when the payload is damaged."""

    def conceal(self, history: bytes, ticks: int) -> bytes:
        """What stands in for lost audio; `history` is the audio before it."""


class G711Decoder:
    """G.711 for a leg that speaks G.711: the very bytes, or a table of 256 between the laws."""

    __slots__ = (
        "_leg",
        "_table",
        "is_plain",
    )  # fmt: skip

    clock_rate = 8000

    def __init__(self, law: Law, leg: Law) -> None:
        self._table = translation(law, leg)
        self._leg = leg
        self.is_plain = self._table is None

    def ticks(self, payload: bytes) -> int:
        """One byte each."""
        return len(payload)

    def decode(self, payload: bytes) -> bytes:
        """Never fails: every byte is a sample."""
        return payload if self._table is None else payload.translate(self._table)

    def conceal(self, history: bytes, ticks: int) -> bytes:
        """In the leg's law."""
        return conceal(history, ticks, self._leg)


class CodedDecoder:
    """A codec whose payloads are not the leg's audio: decoded, and brought to the leg's format."""

    is_plain = False

    def __init__(self, codec: Codec, leg: Format) -> None:
        self.clock_rate = codec.clock_rate
        self._codec = codec
        self._leg = leg
        self._wide = _wide_decoder(codec.name)
        self._last = b""  # payload of G.711, to conceal from
        self._convert = converter(codec.audio_format, leg)

    def ticks(self, payload: bytes) -> int:
        """By its length or, for Opus, its first bytes."""
        if self._wide is None:
            return len(payload)
        return int(self._wide.duration_ms(payload) * self.clock_rate / 1000)

    def decode(self, payload: bytes) -> bytes:
        """CodecError when the payload is damaged."""
        self._last = payload
        audio = payload if self._wide is None else self._wide.decode(payload)
        return audio if self._convert is None else self._convert(audio)

    def conceal(self, history: bytes, ticks: int) -> bytes:
        """By the codec's own means; exactly as long as the gap."""
        if self._wide is not None:
            audio = self._wide.lost(-(-ticks * 1000 // self.clock_rate))
        else:
            assert isinstance(self._codec.audio_format, Law)
            audio = conceal(self._last, ticks, self._codec.audio_format)
        if self._convert is not None:
            audio = self._convert(audio)
        return _exactly(audio, ticks * self._leg.rate // self.clock_rate, self._leg)


def decoder(codec: Codec, leg: Format) -> Decoder:
    """What turns its payloads into the leg's format. RuntimeError that names the extra to install."""
    if isinstance(codec.audio_format, Law) and isinstance(leg, Law):
        return G711Decoder(codec.audio_format, leg)
    return CodedDecoder(codec, leg)


def encoder(codec: Codec) -> Callable[[bytes], bytes] | None:
    """What turns one packet's audio into its payload; None for G.711, whose payload is the audio."""
    if codec.name == "G722":
        return g722.G722Encoder().encode
    if codec.name == "OPUS":
        return opus.OpusEncoder().encode
    return None


def why_not(name: str) -> str:
    """Why a codec cannot be spoken here; empty when it can. Loads its libraries, so that no call waits for them."""
    try:
        if name == "G722":
            g722.check_installed()
            converter(CODECS[name].audio_format, _SESSION)
        elif name == "OPUS":
            opus.check_installed()
    except RuntimeError as error:
        return str(error)
    return ""


def _wide_decoder(name: str) -> wideband.Decoder | None:
    if name == "G722":
        return g722.G722Decoder()
    return opus.OpusDecoder() if name == "OPUS" else None


def _exactly(audio: bytes, samples: int, audio_format: Format) -> bytes:
    """The filter between two rates keeps some audio back or gives some of before: neither may move the time line."""
    if isinstance(audio_format, Law):
        return audio[:samples].ljust(samples, bytes((audio_format.silence,)))
    return audio[: SAMPLE_BYTES * samples].ljust(SAMPLE_BYTES * samples, b"\0")
