"""Opus for a telephone: mono, 24000 Hz on our side, any packet from the other (RFC 6716, RFC 7587), by libopus."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from bridge.audio.wideband import CodecError, Fade

RATE = 24000
"""Hz: libopus reads and writes it without resampling of ours."""
RTP_CLOCK = 48000
"""Hz, whatever is inside (RFC 7587 section 4.1)."""
BITRATE = 28000
"""bit/s on average: enough for a voice of 12 kHz bandwidth (RFC 7587 section 3.1.1)."""
LONGEST_MS = 120
"""Milliseconds that one packet may have (RFC 6716 section 3.2.5)."""

_COMPLEXITY = 10
_FRAMES_MS = (10, 20, 40, 60)
_LARGEST_PACKET = 1275
_FRAME_MS = (10.0, 20.0, 40.0, 60.0) * 3 + (10.0, 20.0) * 2 + (2.5, 5.0, 10.0, 20.0) * 4
"""Milliseconds of one frame by configuration number (RFC 6716 table 2)."""

_FADE = Fade(full_ms=60, fade_ms=60)
"""Left alone, libopus goes on with comfort noise for ever, and nobody would hear that the caller fell silent."""
_FIRST_CELT = 16
"""The first configuration number without a linear prediction layer, and so without in-band FEC."""

# The requests of opus_encoder_ctl, from libopus' public header.
_APPLICATION_VOIP = 2048
_SET_BITRATE = 4002
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_SIGNAL = 4024
_SIGNAL_VOICE = 3001
_FEC_LOSS_PERCENT = 10


def check_installed() -> None:
    """RuntimeError that names what to install, where there is no libopus."""
    _library()


def duration_ms(payload: bytes) -> float:
    """Milliseconds in `payload` by its first bytes (RFC 6716 sections 3.1 and 3.2); 0 where they are malformed."""
    if not payload:
        return 0.0
    toc = payload[0]
    frame = _FRAME_MS[toc >> 3]
    code = toc & 3
    if code == 0:
        return frame
    if code < 3:
        return 2 * frame
    count = payload[1] & 0x3F if len(payload) > 1 else 0
    return frame * count if frame * count <= LONGEST_MS else 0.0


class OpusEncoder:
    """One stream of PCM16 little-endian mono to Opus; 6.5 ms of delay are inside the signal."""

    __slots__ = ("_encode", "_frames", "_out", "_state", "_view", "rate")

    def __init__(self, rate: int = RATE, bitrate: int = BITRATE, fec: bool = False) -> None:
        """`rate` in Hz: 8000, 12000, 16000, 24000 or 48000; `bitrate` in bit/s, 6000 to 510000; else ValueError.

        With `fec`, a packet also tells the one before it, coarsely, so that one in ten may be lost.
        """
        library = _library()
        self.rate = rate
        self._state = ctypes.create_string_buffer(library.opus_encoder_get_size(1))
        if library.opus_encoder_init(self._state, rate, 1, _APPLICATION_VOIP):
            raise ValueError(f"Opus has no rate of {rate} Hz")
        wishes = {_SET_BITRATE: bitrate, _SET_COMPLEXITY: _COMPLEXITY, _SET_SIGNAL: _SIGNAL_VOICE}
        if fec:
            wishes |= {_SET_INBAND_FEC: 1, _SET_PACKET_LOSS_PERC: _FEC_LOSS_PERCENT}
        for request, value in wishes.items():
            if library.opus_encoder_ctl(self._state, request, ctypes.c_int(value)):
                raise ValueError(f"libopus refuses {value} for request {request}")
        self._encode = library.opus_encode
        self._frames = {2 * ms * rate // 1000: ms * rate // 1000 for ms in _FRAMES_MS}
        self._out = ctypes.create_string_buffer(_LARGEST_PACKET)
        self._view = memoryview(self._out)

    def encode(self, pcm: bytes) -> bytes:
        """One packet of 10, 20, 40 or 60 ms. ValueError on any other length."""
        samples = self._frames.get(len(pcm))
        if samples is None:
            raise ValueError(f"{len(pcm)} bytes are no frame of 10, 20, 40 or 60 ms at {self.rate} Hz")
        size = self._encode(self._state, pcm, samples, self._out, _LARGEST_PACKET)
        if size < 0:
            raise RuntimeError(f"libopus failed to encode: {size}")
        return self._view[:size].tobytes()


class OpusDecoder:
    """One stream of Opus packets, mono or stereo, of any duration, to PCM16 little-endian mono."""

    __slots__ = ("_decode", "_gone", "_out", "_room", "_state", "_view", "rate")

    def __init__(self, rate: int = RATE) -> None:
        """`rate` in Hz: 8000, 12000, 16000, 24000 or 48000; else ValueError."""
        library = _library()
        self.rate = rate
        self._state = ctypes.create_string_buffer(library.opus_decoder_get_size(1))
        if library.opus_decoder_init(self._state, rate, 1):
            raise ValueError(f"Opus has no rate of {rate} Hz")
        self._decode = library.opus_decode
        self._room = LONGEST_MS * rate // 1000
        self._out = ctypes.create_string_buffer(2 * self._room)
        self._view = memoryview(self._out)
        self._gone = 0  # ms concealed since the last packet

    def decode(self, payload: bytes) -> bytes:
        """Exactly as many milliseconds as `duration_ms` says. CodecError on a damaged packet."""
        # libopus takes an empty packet for a lost one.
        count = self._decode(self._state, payload, len(payload), self._out, self._room, 0) if payload else 0
        if count <= 0:
            raise CodecError(f"not an Opus packet: {len(payload)} bytes, libopus says {count}")
        self._gone = 0
        return self._view[: 2 * count].tobytes()

    def lost(self, ms: int, following: bytes = b"") -> bytes:
        """Exactly `ms` in the place of what never came: what libopus makes up, fading to silence within 120 ms.

        `following`, the packet after the gap, may have its end once more (in-band FEC); a damaged one is passed over.
        """
        again = _fec_ms(following)
        if not 0 < again <= ms:
            return self._made_up(ms)
        made_up = self._made_up(ms - again)
        samples = again * self.rate // 1000
        if self._decode(self._state, following, len(following), self._out, samples, 1) != samples:
            return made_up + self._made_up(again)
        self._gone = 0
        return made_up + self._view[: 2 * samples].tobytes()

    def duration_ms(self, payload: bytes) -> float:
        """Milliseconds in `payload` by its first bytes; 0 where they are malformed."""
        return duration_ms(payload)

    def _made_up(self, ms: int) -> bytes:
        per_ms = self.rate // 1000
        voiced = max(0, min(ms, _FADE.left(self._gone)))
        step = self.rate // 400  # libopus conceals in whole 2.5 ms
        samples = -(-voiced * per_ms // step) * step
        faded = b""
        if samples and self._decode(self._state, None, 0, self._out, samples, 0) == samples:
            faded = _FADE.apply(self._view[: 2 * per_ms * voiced].tobytes(), self._gone, 2 * per_ms)
            self._gone += voiced
        return faded.ljust(2 * per_ms * ms, b"\0")


def _fec_ms(payload: bytes) -> int:
    """Milliseconds before this packet that it tells once more (RFC 6716 section 4.2.3); 0 where it has none."""
    # Only packets of one frame: nobody adds FEC to others.
    if len(payload) < 2 or payload[0] >> 3 >= _FIRST_CELT or payload[0] & 3:
        return 0
    ms = int(_FRAME_MS[payload[0] >> 3])
    parts = max(1, ms // 20)
    stereo = payload[0] & 4
    # A bit for each 20 ms that has a voice, then one for FEC; in stereo the same again for the other channel.
    flags = 0x80 >> parts | (0x80 >> (2 * parts + 1) if stereo else 0)
    return ms if payload[1] & flags else 0


@cache
def _library() -> Any:
    """libopus with its signatures: the wheel's, or else the system's."""
    for place in (*_in_wheel(), "libopus.so.0", "libopus.0.dylib"):
        try:
            library = ctypes.CDLL(place)
        except OSError:
            continue
        _declare(library)
        return library
    raise RuntimeError("Opus needs libopus: apt-get install libopus0 (or pip install opuslib-next-bundled)")


def _in_wheel() -> list[str]:
    # Only where it lies: importing the package would bring a second binding of the same functions.
    spec = importlib.util.find_spec("opuslib_next")
    folders = spec.submodule_search_locations if spec else None
    return [str(found) for folder in folders or () for found in sorted(Path(folder, "_native").glob("libopus.*"))]


def _declare(library: Any) -> None:
    number, pointer, text = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
    library.opus_encoder_get_size.argtypes = library.opus_decoder_get_size.argtypes = (number,)
    library.opus_encoder_init.argtypes = (pointer, ctypes.c_int32, number, number)
    library.opus_decoder_init.argtypes = (pointer, ctypes.c_int32, number)
    # Variadic: only the fixed arguments are declared, as some machines pass the others elsewhere.
    library.opus_encoder_ctl.argtypes = (pointer, number)
    library.opus_encode.argtypes = (pointer, text, number, pointer, ctypes.c_int32)
    library.opus_encode.restype = ctypes.c_int32
    library.opus_decode.argtypes = (pointer, text, ctypes.c_int32, pointer, number, number)
