"""Speech and what is none, by webrtcvad."""

from __future__ import annotations

import random
import sys
from array import array

import pytest

from bridge.agent.patterns import tone
from bridge.audio.resample import Resampler
from bridge.audio.vad import FRAME_MS, SpeechDetector, VadMissing

pytest.importorskip("webrtcvad", reason="the extra 'turns' is not installed")
RATES = [8000, 16000, 24000]


def noise(ms: int, level: int, rate: int) -> bytes:
    chance = random.Random(1)
    return array("h", (int(chance.gauss(0, level)) for _ in range(rate * ms // 1000))).tobytes()


def vowel(ms: int, rate: int) -> bytes:
    """Something like a voice: a buzz of 120 Hz through two resonances, loud and soft by turns."""
    out, a, b = array("h"), [0.0, 0.0], [0.0, 0.0]
    for n in range(rate * ms // 1000):
        pulse = 3000.0 if n % (rate // 120) == 0 else 0.0
        for state, hz in ((a, 700), (b, 1200)):
            cos = _cos(hz / rate)
            state[:] = [pulse + 2 * 0.97 * cos * state[0] - 0.94 * state[1], state[0]]
        loud = 0.3 + 0.7 * (n * 4 // rate % 2)
        out.append(int(max(-32768, min(32767, loud * (a[0] + b[0])))))
    return out.tobytes()


def _cos(turn: float) -> float:
    import math

    return math.cos(2 * math.pi * turn)


def judged(pcm: bytes, rate: int, aggressiveness: int = 2) -> list[bool]:
    detector = SpeechDetector(rate, aggressiveness)
    size = detector.frame_bytes
    assert size == rate * FRAME_MS // 1000 * 2
    return [detector.is_speech(pcm[i : i + size]) for i in range(0, len(pcm) - size + 1, size)]


@pytest.mark.parametrize("rate", RATES)
def test_a_voice_is_speech_and_silence_is_not(rate: int) -> None:
    assert not any(judged(bytes(2 * rate), rate))
    found = judged(bytes(rate) + vowel(1000, rate) + bytes(2 * rate), rate)
    assert sum(found[25:75]) > 40
    assert not any(found[:24]) and not any(found[90:])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("level", [20, 200])
def test_noise_is_taken_for_speech_only_while_it_is_new(rate: int, level: int) -> None:
    found = judged(noise(3000, level, rate), rate)
    assert sum(found) <= 7 and not any(found[8:])


def test_all_rates_judge_the_same_sound_alike() -> None:
    voice = vowel(1000, 24000)
    found = {rate: judged(Resampler(24000, rate).process(voice, last=True), rate) for rate in RATES}
    for rate in (16000, 24000):
        same = sum(a == b for a, b in zip(found[8000], found[rate], strict=False))
        assert same >= 45, rate


def test_a_steady_tone_is_speech_only_to_the_credulous() -> None:
    tones = [sum(judged(tone(300, 1000, 8000), 8000, each)) for each in range(4)]
    assert tones[0] == 50 and tones[3] < 10


def test_what_it_cannot_work_with_is_refused() -> None:
    for rate, aggressiveness in ((44100, 2), (48000, 2), (0, 2), (8000, 4), (8000, -1)):
        with pytest.raises(ValueError):
            SpeechDetector(rate, aggressiveness)
    detector = SpeechDetector(8000)
    for size in (0, 318, 319, 322, 640):
        with pytest.raises(ValueError):
            detector.is_speech(bytes(size))


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(VadMissing, match=r"pip install 'sipbridge\[turns\]'"):
        SpeechDetector(8000)
