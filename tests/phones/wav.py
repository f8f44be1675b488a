"""The WAV files of the softphones: 16 bit, of any rate; a phone that speaks stereo says the same on both sides."""

import struct
import wave
from array import array
from pathlib import Path

_CHANNELS_AT, _RATE_AT = 22, 24  # in a header that begins with its fmt chunk, as they all do


def write(path: Path, pcm: bytes, seconds: float, *, rate: int = 8000, channels: int = 1) -> None:
    """Keep `pcm` (mono), then silence up to `seconds`."""
    mono = array("h", pcm.ljust(2 * round(rate * seconds), b"\0"))
    samples = array("h", bytes(2 * channels * len(mono)))
    for channel in range(channels):
        samples[channel::channels] = mono
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def read(path: Path) -> bytes:
    """The samples behind the header, mono (the first channel), also of a file that is still being written.

    (Its lengths are not true yet.)
    """
    data = path.read_bytes() if path.exists() else b""
    start = data.find(b"data")
    if start < 0:
        return b""
    (channels,) = struct.unpack_from("<H", data, _CHANNELS_AT)
    samples = data[start + 8 :]
    return array("h", samples[: len(samples) & -2])[::channels].tobytes()


def rate(path: Path) -> int:
    """Samples a second, as the header says."""
    return int(struct.unpack_from("<I", path.read_bytes(), _RATE_AT)[0])
