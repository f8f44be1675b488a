"""What stands in for lost audio: the last pitch period again and again, fading out, then silence.

In the manner of ITU-T G.711 Appendix I, by history alone, as nothing that was handed on can be taken back: the period
is the lag at which the end of the history fits best what came before it. Its end is blended into what preceded its
beginning, so that repetitions join without a seam, and the step at the very start is ramped away.
"""

from array import array

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES
from bridge.audio.g711 import RATE, Law, decode, encode, silence

HISTORY = 400
"""Bytes of G.711 that `conceal` wants, 50 ms; more is not looked at, less will do."""
HISTORY_MS = HISTORY * 1000 // RATE
FULL_MS, FADED_MS = 5, 60
"""How long the repetition keeps its level, and when it has faded: longer, it sounds like a machine."""
STEP_MS = 1
"""The fade goes down in steps of this: larger ones click."""
MIN_PITCH_MS, MAX_PITCH_MS = 3, 15
"""Periods looked for: 333 to 66 Hz; a higher voice is found at a multiple of its period."""
FITTED_MS = 5
"""How much of the end must fit."""
UNVOICED_MS = 20
"""What is repeated where there is no pitch: short pieces of noise would buzz."""
VOICED = 0.3
"""Least part of the end's energy that the lag must explain."""


def conceal(last: bytes, samples: int, law: Law) -> bytes:
    """Exactly `samples` code words that continue `last`, the newest audio that came (`HISTORY`; may be empty)."""
    faded = _continuation(decode(last[-HISTORY:], law), samples, RATE)
    code = encode(faded, law)
    return code + silence(samples - len(code), law)


def conceal_linear(last: bytes, samples: int, rate: int = RATE) -> bytes:
    """Exactly `samples` samples of 16-bit PCM at `rate` Hz that continue `last`, which wants to be `HISTORY_MS` long.

    ValueError on an odd number of bytes.
    """
    if len(last) % SAMPLE_BYTES:
        raise ValueError(f"{len(last)} bytes are not whole 16-bit samples")
    faded = _continuation(last[-HISTORY_MS * rate // 1000 * SAMPLE_BYTES :], samples, rate)
    return faded + bytes(samples * SAMPLE_BYTES - len(faded))


def _continuation(pcm: bytes, samples: int, rate: int) -> bytes:
    """At most `FADED_MS` of audio; nothing if the history is silent."""
    ms = rate // 1000
    samples = min(samples, FADED_MS * ms)
    if samples <= 0 or not audioop.max(pcm, SAMPLE_BYTES):
        return b""
    history = array("h", pcm)
    period = _pitch(history, ms)
    cycle = _seamless(history, period)
    out = cycle * (samples // period + 1)
    if period < len(history):
        _ramp(out, history, period)
    return _fade(out[:samples].tobytes(), ms)


def _pitch(history: "array[int]", ms: int) -> int:
    """The period in samples: first at 8 kHz, as that is fast, then around it."""
    longest, unvoiced = MAX_PITCH_MS * ms, min(UNVOICED_MS * ms, len(history))
    if len(history) < longest + MIN_PITCH_MS * ms:
        return unvoiced
    factor = max(1, ms * 1000 // RATE)
    size = min(FITTED_MS * ms, len(history) - longest)
    coarse, explained = _best_lag(
        history[len(history) % factor :: factor], size // factor, MIN_PITCH_MS * 8, longest // factor
    )
    if explained < VOICED:
        return unvoiced
    if factor == 1:
        return coarse
    low, high = max(coarse * factor - factor, 1), min(coarse * factor + factor, longest)
    return _best_lag(history, size, low, high)[0]


def _best_lag(history: "array[int]", size: int, low: int, high: int) -> tuple[int, float]:
    """Where the last `size` samples fit best what was `low` to `high` samples earlier; the share it explains."""
    end = history[-size:].tobytes()
    offset, factor = audioop.findfit(history[-size - high : -low].tobytes(), end)
    lag = high - offset
    start = len(history) - size - lag
    before = history[start : start + size].tobytes()
    energies = audioop.rms(end, SAMPLE_BYTES), audioop.rms(before, SAMPLE_BYTES)
    share = (factor * energies[1] / energies[0]) ** 2 if energies[0] and factor > 0 else 0.0
    return lag, share


def _seamless(history: "array[int]", period: int) -> "array[int]":
    """The last period, whose last quarter turns into what came before its beginning."""
    cycle = history[-period:]
    count = min(period // 4, len(history) - period)
    for at in range(count):
        share = (at + 1) / (count + 1)
        index = period - count + at
        cycle[index] = round(cycle[index] * (1 - share) + history[-period - count + at] * share)
    return cycle


def _ramp(out: "array[int]", history: "array[int]", period: int) -> None:
    """Begin where the history ended, within its extremes."""
    low, high = audioop.minmax(history.tobytes(), SAMPLE_BYTES)
    step = history[-1] - history[-period - 1]
    count = period // 4
    for at in range(min(count, len(out))):
        out[at] = min(max(out[at] + round(step * (1 - (at + 1) / (count + 1))), low), high)


def _fade(pcm: bytes, ms: int) -> bytes:
    size = STEP_MS * ms * SAMPLE_BYTES
    steps = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return b"".join(audioop.mul(step, SAMPLE_BYTES, _gain(number * STEP_MS)) for number, step in enumerate(steps))


def _gain(ms: int) -> float:
    return min(1.0, (FADED_MS - ms) / (FADED_MS - FULL_MS))
