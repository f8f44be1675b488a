"""WAV files: read 16-bit PCM and G.711, write 16-bit PCM that survives a crash (codes of RFC 2361)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Self

from bridge.audio._audioop import audioop
from bridge.audio.g711 import Law, decode

FORMAT_PCM = 1
FORMAT_ALAW = 6
FORMAT_MULAW = 7
FORMAT_EXTENSIBLE = 0xFFFE

_LAWS = {FORMAT_ALAW: Law.PCMA, FORMAT_MULAW: Law.PCMU}
_FMT = struct.Struct("<HHIIHH")
_CHUNK = struct.Struct("<4sI")
_HEADER = struct.Struct("<4sI4s4sI HHIIHH 4sI")
_LARGEST = 0xFFFF_FFFF - _HEADER.size


class WavError(ValueError):
    """Not a WAV file, or one of a coding that we do not read; the text says which."""


@dataclass(frozen=True, slots=True)
class Wav:
    """Audio of one file: `rate` in Hz, `channels` interleaved, `pcm` 16-bit little-endian."""

    rate: int
    channels: int
    pcm: bytes

    @property
    def seconds(self) -> float:
        """Playing time."""
        return len(self.pcm) / (2 * self.channels * self.rate)

    def mono(self) -> "Wav":
        """The mean of all channels as one."""
        if self.channels == 1:
            return self
        usable = len(self.pcm) - len(self.pcm) % (2 * self.channels)
        samples = memoryview(self.pcm)[:usable].cast("h")
        mixed = bytes(usable // self.channels)
        for channel in range(self.channels):
            one = audioop.mul(samples[channel :: self.channels].tobytes(), 2, 1 / self.channels)
            mixed = audioop.add(mixed, one, 2)
        return Wav(self.rate, 1, mixed)


def read(path: str | PathLike[str]) -> Wav:
    """Read a file of 16-bit PCM, A-law or µ-law. WavError otherwise, OSError when it cannot be opened."""
    with open(path, "rb") as file:
        return parse(file.read())


def parse(data: bytes) -> Wav:
    """Parse a whole RIFF/WAVE file. A data chunk that is cut short gives what is there."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a RIFF/WAVE file")
    layout: tuple[int, int, int, int] | None = None
    for name, body in _chunks(data):
        if name == b"fmt ":
            layout = _parse_format(body)
        elif name == b"data":
            if layout is None:
                raise WavError("data before its format")
            return _decode(layout, body)
    raise WavError("no audio in it")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + _CHUNK.size <= len(data):
        name, size = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        yield name, data[at : at + size]
        at += size + size % 2


def _parse_format(body: bytes) -> tuple[int, int, int, int]:
    if len(body) < _FMT.size:
        raise WavError("format chunk too short")
    code, channels, rate, _, _, bits = _FMT.unpack_from(body)
    if code == FORMAT_EXTENSIBLE and len(body) >= 26:
        # The sub-format GUID begins with the code that it extends.
        code = int.from_bytes(body[24:26], "little")
    if not channels or not rate:
        raise WavError("no channels or no rate")
    return code, channels, rate, bits


def _decode(layout: tuple[int, int, int, int], body: bytes) -> Wav:
    code, channels, rate, bits = layout
    if code == FORMAT_PCM and bits == 16:
        pcm = body
    elif code in _LAWS and bits == 8:
        pcm = decode(body, _LAWS[code])
    else:
        raise WavError(f"coding {code} with {bits} bits: only 16-bit PCM and G.711 are read")
    return Wav(rate, channels, pcm[: len(pcm) - len(pcm) % (2 * channels)])


class WavWriter:
    """Writes 16-bit little-endian PCM. Readable after a crash but for the last second of audio."""

    def __init__(self, path: str | PathLike[str], rate: int, channels: int) -> None:
        self.rate = rate
        self.channels = channels
        self.data_bytes = 0
        self._stated_bytes = 0
        self._file = open(path, "wb")  # noqa: SIM115
        self._state_size()

    def write(self, pcm: bytes) -> None:
        """Append interleaved PCM. OSError from the disk; ValueError when closed or past the 4 GiB of RIFF."""
        if self.data_bytes + len(pcm) > _LARGEST:
            raise ValueError("a WAV file ends at 4 GiB")
        self._file.write(pcm)
        self.data_bytes += len(pcm)
        if self.data_bytes - self._stated_bytes >= 2 * self.rate * self.channels:
            self._state_size()

    def close(self) -> None:
        """Write the final sizes and close; a second call does nothing."""
        if not self._file.closed:
            try:
                self._state_size()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _state_size(self) -> None:
        """Rewrite the header with the bytes so far and hand everything to the operating system."""
        block = 2 * self.channels
        self._file.seek(0)
        self._file.write(
            _HEADER.pack(
                b"RIFF", self.data_bytes + _HEADER.size - 8, b"WAVE",
                b"fmt ", 16, FORMAT_PCM, self.channels, self.rate, self.rate * block, block, 16,
                b"data", self.data_bytes,
            )
        )  # fmt: skip
        self._file.seek(0, 2)
        self._file.flush()
        self._stated_bytes = self.data_bytes
