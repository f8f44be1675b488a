"""G.711: µ-law and A-law, 8000 Hz, one byte a sample (ITU-T G.711; payload types of RFC 3551 table 4)."""

from enum import Enum

from bridge.audio._audioop import audioop

RATE = 8000
"""Samples, and bytes, per second."""
BYTES_PER_MS = RATE // 1000


class Law(Enum):
    """A companding law. `Law("PCMU")` finds it by its SDP encoding name."""

    PCMU = "PCMU", 0, 0xFF
    PCMA = "PCMA", 8, 0xD5

    payload_type: int
    """Static RTP payload type."""
    silence: int
    """The code word of silence: +0 in this law."""
    rate: int
    """Hz."""
    bytes_per_ms: int

    def __new__(cls, name: str, payload_type: int, silence: int) -> "Law":
        """Keep the encoding name as the value, the rest as attributes."""
        law = object.__new__(cls)
        law._value_ = name
        law.payload_type = payload_type
        law.silence = silence
        law.rate = RATE
        law.bytes_per_ms = BYTES_PER_MS
        return law


def silence(samples: int, law: Law) -> bytes:
    """`samples` code words of silence."""
    return bytes((law.silence,)) * samples


def encode(pcm: bytes, law: Law) -> bytes:
    """Code words of 16-bit little-endian PCM; half as many bytes. ValueError on an odd number of bytes."""
    _check_whole_samples(pcm)
    return audioop.lin2ulaw(pcm, 2) if law is Law.PCMU else audioop.lin2alaw(pcm, 2)


def decode(code: bytes, law: Law) -> bytes:
    """16-bit little-endian PCM of code words; twice as many bytes."""
    return audioop.ulaw2lin(code, 2) if law is Law.PCMU else audioop.alaw2lin(code, 2)


def translation(source: Law, target: Law) -> bytes | None:
    """A table for `bytes.translate` that turns one law into the other; None when there is nothing to do."""
    return _TRANSLATIONS.get((source, target))


def _check_whole_samples(pcm: bytes) -> None:
    if len(pcm) % 2:
        raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")


_EVERY_CODE = bytes(range(256))
_TRANSLATIONS = {
    (source, target): encode(decode(_EVERY_CODE, source), target)
    for source in Law
    for target in Law
    if source is not target
}
