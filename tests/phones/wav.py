"""The WAV files of the softphones: 16 bit, 8000 Hz, mono."""

import wave
from pathlib import Path


def write(path: Path, pcm: bytes, seconds: float) -> None:
    """Keep `pcm`, then silence up to `seconds`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm.ljust(2 * round(8000 * seconds), b"\0"))


def read(path: Path) -> bytes:
    """The samples behind the header, also of a file that is still being written (its lengths are not true yet)."""
    data = path.read_bytes() if path.exists() else b""
    start = data.find(b"data")
    return data[start + 8 :] if start >= 0 else b""
