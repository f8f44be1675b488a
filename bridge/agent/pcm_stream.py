"""Audio of a speech server: raw PCM, or a WAV file, as it comes, into the format of a session."""

from __future__ import annotations

import struct

from bridge.agent.fault import Fault
from bridge.agent.formats import AudioFormat
from bridge.audio.conversion import Converter, converter
from bridge.audio.format import SAMPLE_BYTES, Linear

RATE = 24000
"""Of raw PCM, as `response_format: pcm` has it."""
_MAX_HEADER = 8192
_OTHERS = (b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"{")
_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_ENDLESS = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_PCM = (1, 0xFFFE)


class PcmStream:
    """Bytes of the server in, wire bytes of the session out. Raises Fault for what is no 16-bit mono PCM."""

    def __init__(self, form: AudioFormat) -> None:
        self._form = form
        self._head: bytearray | None = bytearray()
        """Until it is known what it is; then None."""
        self._left: int | None = None
        """Bytes of the WAV file's audio that are still to come; None: all that comes."""
        self._half = b""
        self._converter: Converter | None = None

    def feed(self, data: bytes) -> bytes:
        """What of the audio is known now."""
        if self._head is not None:
            self._head += data
            begin = self._begin(bytes(self._head))
            if begin is None:
                return b""
            data, self._head = bytes(self._head[begin:]), None
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return self._convert(data)

    def finish(self) -> bytes:
        """The rest of it."""
        if self._head is not None:
            head, self._head = bytes(self._head), None
            if head.startswith(b"RIFF"):
                raise _unusable("the header of its file is cut off")
            self._choose(RATE)
            return self._convert(head) + self._tail()
        return self._tail()

    def _tail(self) -> bytes:
        return self._converter.finish() if self._converter is not None else b""

    def _begin(self, head: bytes) -> int | None:
        """Where the audio begins; None: not known yet."""
        if len(head) < 12:
            return None
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            return self._wav(head)
        if head.startswith(_OTHERS):
            raise _unusable("it is neither PCM nor WAV")
        self._choose(RATE)
        return 0

    def _wav(self, head: bytes) -> int | None:
        at, known = 12, False
        while at + _CHUNK.size <= len(head):
            name, size = _CHUNK.unpack_from(head, at)
            at += _CHUNK.size
            if name == b"data":
                if not known:
                    raise _unusable("its file has audio before the format")
                self._left = None if size in _ENDLESS else size
                return at
            if name == b"fmt ":
                if at + _FMT.size > len(head):
                    break
                self._wav_format(head[at : at + _FMT.size])
                known = True
            at += size + size % 2
            if at > _MAX_HEADER:
                raise _unusable("the header of its file does not end")
        return None

    def _wav_format(self, body: bytes) -> None:
        code, channels, rate, _, _, bits = _FMT.unpack(body)
        if code not in _PCM or channels != 1 or bits != 16 or not 8000 <= rate <= 48000:
            raise _unusable("its file is not 16-bit PCM of one channel")
        self._choose(rate)

    def _choose(self, rate: int) -> None:
        target = self._form.law or Linear(self._form.rate)
        self._converter = converter(Linear(rate), target)

    def _convert(self, data: bytes) -> bytes:
        data = self._half + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._half, data = data[whole:], data[:whole]
        return data if self._converter is None else self._converter(data)


def _unusable(why: str) -> Fault:
    return Fault("server_error", f"The voice's audio cannot be used: {why}.")
