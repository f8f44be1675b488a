"""Keeps a call of the test phone as a WAV file."""

from __future__ import annotations

from pathlib import Path

from bridge.audio.wav import WavWriter

RATE = 8000


class PhoneError(Exception):
    """The test call cannot be placed; the text says why."""


class Tape:
    """16-bit PCM at 8000 Hz: what was heard, or with `stereo` left what was said, right what was heard.

    Both sides of a call run on a 20 ms grid from its first packet, so the tracks are laid side by side as they come.
    """

    def __init__(self, path: Path, *, stereo: bool = False) -> None:
        """Raises PhoneError when the file cannot be written."""
        self.path = path
        try:
            self._writer = WavWriter(path, RATE, 2 if stereo else 1)
        except OSError as error:
            raise PhoneError(f"{path}: cannot be written: {error.strerror}") from error
        self._stereo = stereo
        self._said = bytearray()
        self._heard = bytearray()

    def said(self, pcm: bytes) -> None:
        """What the phone sent."""
        if self._stereo:
            self._said += pcm
            self._write()

    def heard(self, pcm: bytes) -> None:
        """What the phone received."""
        self._heard += pcm
        self._write()

    def close(self) -> None:
        """Complete the file; the longer track decides its length."""
        if self._stereo:
            length = max(len(self._said), len(self._heard))
            self._said = self._said.ljust(length, b"\0")
            self._heard = self._heard.ljust(length, b"\0")
            self._write()
        self._writer.close()

    def _write(self) -> None:
        if not self._stereo:
            self._writer.write(bytes(self._heard))
            self._heard.clear()
            return
        length = min(len(self._said), len(self._heard))
        frames = bytearray(2 * length)
        for channel, track in enumerate((self._said, self._heard)):
            for byte in (0, 1):
                frames[2 * channel + byte :: 4] = track[byte:length:2]
            del track[:length]
        self._writer.write(bytes(frames))
