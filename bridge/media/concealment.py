"""What stands in for lost audio: the last frame again, fading out, then silence (in the caller's law)."""

from bridge.audio._audioop import audioop
from bridge.audio.g711 import Law, decode, encode, silence

BLOCK = 160
"""Samples of one step of the fade: 20 ms."""
GAINS = (0.8, 0.4, 0.15)
"""Gain of each repetition; after 60 ms a repeated frame sounds like a machine, so silence follows."""

_EVERY_CODE = bytes(range(256))
_FADES = {law: tuple(encode(audioop.mul(decode(_EVERY_CODE, law), 2, gain), law) for gain in GAINS) for law in Law}


def conceal(last: bytes, samples: int, law: Law) -> bytes:
    """Exactly `samples` code words that continue `last`, the newest frame that came (may be empty)."""
    if not last:
        return silence(samples, law)
    newest = last[-BLOCK:]
    block = (newest * (BLOCK // len(newest) + 1))[:BLOCK]
    faded = b"".join(block.translate(fade) for fade in _FADES[law])
    return (faded + silence(samples - len(faded), law))[:samples]
