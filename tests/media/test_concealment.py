import itertools
import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.g711 import RATE, Law, decode, encode, silence
from bridge.audio.level import rms
from bridge.media.concealment import FADED_MS, HISTORY, HISTORY_MS, conceal, conceal_linear


def voice(seed: int, samples: int, rate: int = RATE) -> "array[int]":
    """A vowel whose pitch and loudness glide: harmonics of 90 to 220 Hz."""
    chance = random.Random(seed)
    pitch, glide = chance.uniform(90, 220), chance.uniform(-0.15, 0.15)
    swell = chance.uniform(-0.3, 0.3)
    harmonics = [(n, chance.uniform(0.2, 1) / n**0.7, chance.uniform(0, 6.28)) for n in range(1, 12)]
    out = array("h")
    for at in range(samples):
        time = at / rate
        phase = 2 * math.pi * pitch * (time + glide * time * time)
        value = sum(level * math.sin(n * phase + shift) for n, level, shift in harmonics)
        out.append(round(3000 * (1 + swell * time) * value))
    return out


def repeated(last: bytes, samples: int, law: Law) -> bytes:
    """What stood here before: the last 20 ms again, fading."""
    pcm = array("h", decode(last[-160:], law))
    out = array("h")
    for gain in (0.8, 0.4, 0.15):
        out.extend(round(gain * value) for value in pcm)
    return (encode(out.tobytes(), law) + silence(samples, law))[:samples]


def snr_db(true: "array[int]", made: "array[int]") -> float:
    error = sum((a - b) ** 2 for a, b in zip(true, made, strict=True))
    return 10 * math.log10(sum(a * a for a in true) / (error + 1))


def pcm(code: bytes, law: Law) -> "array[int]":
    return array("h", decode(code, law))


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("history", [160, HISTORY])
def test_it_comes_nearer_to_the_voice_than_the_last_frame_again(law: Law, history: int) -> None:
    better, gained = 0, 0.0
    for seed in range(30):
        code = encode(voice(seed, 1400).tobytes(), law)
        true = pcm(code[1000:1160], law)
        new = snr_db(true, pcm(conceal(code[1000 - history : 1000], 160, law), law))
        old = snr_db(true, pcm(repeated(code[:1000], 160, law), law))
        better += new > old
        gained += (new - old) / 30
    assert better >= 24
    assert gained >= 6


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
def test_linear_audio_is_continued_at_its_own_rate(rate: int) -> None:
    ms, gained = rate // 1000, 0.0
    for seed in range(10):
        whole = voice(seed, 160 * ms, rate)
        true = whole[125 * ms : 145 * ms]
        made = array("h", conceal_linear(whole[: 125 * ms].tobytes(), 20 * ms, rate))
        gained += (snr_db(true, made) - snr_db(true, whole[105 * ms : 125 * ms])) / 10
    assert gained >= 6


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("hz", [100, 160, 250, 400])
def test_a_steady_tone_goes_on_in_phase(law: Law, hz: int) -> None:
    tone = array("h", (round(8000 * math.sin(2 * math.pi * hz * at / RATE)) for at in range(700)))
    code = encode(tone.tobytes(), law)
    made = pcm(conceal(code[:HISTORY], 80, law), law)
    assert snr_db(tone[HISTORY : HISTORY + 40], made[:40]) > 20
    assert abs(made[0] - tone[HISTORY]) < 800


@given(st.integers(0, 1000), st.sampled_from([40, 80, 160, 240, HISTORY]))
def test_there_is_no_step_where_it_begins_nor_where_it_repeats(seed: int, length: int) -> None:
    history = voice(seed, 1000)[-length:]
    made = array("h", conceal_linear(history.tobytes(), 320))
    joined = array("h", (*history[-1:], *made))
    steps = [abs(b - a) for a, b in itertools.pairwise(joined)]
    known = max(abs(b - a) for a, b in itertools.pairwise(history))
    # Too short a history has no period: it is repeated whole, from its end to its beginning.
    assert max(steps) <= (1.5 * known if length >= 160 else max(history) - min(history))


def test_a_growing_voice_is_continued_without_a_step() -> None:
    """It ends at a peak that is 1600 higher than the one before: to begin with that one would click."""
    history = array("h", (round((2000 + 20 * at) * math.cos(2 * math.pi * (at - 399) / 80)) for at in range(HISTORY)))
    made = array("h", conceal_linear(history.tobytes(), 320))
    joined = array("h", (*history[-1:], *made))
    assert max(abs(b - a) for a, b in itertools.pairwise(joined)) < 10_000 * 2 * math.pi / 80 * 1.1


@given(st.binary(max_size=600), st.integers(0, 2000), st.sampled_from(Law))
def test_the_length_is_exact_and_nothing_is_louder_than_the_history(last: bytes, samples: int, law: Law) -> None:
    code = conceal(last, samples, law)
    assert len(code) == samples
    assert code == conceal(last, samples, law)
    loudest = max(map(abs, pcm(last[-HISTORY:], law)), default=8)
    assert all(abs(value) <= max(loudest, 8) for value in pcm(code, law))
    assert code[FADED_MS * 8 :] == silence(max(samples - FADED_MS * 8, 0), law)


@given(st.binary(max_size=900), st.integers(0, 3000), st.sampled_from([8000, 16_000, 24_000]))
def test_linear_has_exactly_the_samples_that_are_missing(last: bytes, samples: int, rate: int) -> None:
    last = last[: len(last) & ~1]
    assert len(conceal_linear(last, samples, rate)) == 2 * samples


@pytest.mark.parametrize("law", Law)
def test_a_silent_history_stays_silent(law: Law) -> None:
    for length in (0, 80, 160, HISTORY):
        assert conceal(silence(length, law), 320, law) == silence(320, law)
    assert conceal_linear(bytes(800), 320) == bytes(640)


def test_it_fades_to_silence() -> None:
    history = voice(4, 1000).tobytes()
    made = conceal_linear(history, 640)
    levels = [rms(made[at : at + 160]) for at in range(0, 1280, 160)]
    assert levels[0] > 0.8 * rms(history[-160:])
    assert levels[:6] == sorted(levels[:6], reverse=True)
    assert levels[6:] == [0, 0]


def test_noise_is_not_made_a_tone() -> None:
    """Where there is no pitch, the longest piece is repeated."""
    chance = random.Random(2)
    noise = array("h", (round(chance.gauss(0, 2000)) for _ in range(HISTORY)))
    made = array("h", conceal_linear(noise.tobytes(), 320))
    fade = array("h", conceal_linear(array("h", [1000] * HISTORY).tobytes(), 320))
    plain = [value * 1000 / max(gain, 1) for value, gain in zip(made, fade, strict=True)]
    alike = sum(a * b for a, b in zip(plain[40:120], plain[200:280], strict=True))
    assert alike / sum(a * a for a in plain[40:120]) > 0.9


def test_older_history_is_not_looked_at() -> None:
    voiced = encode(voice(5, 1000).tobytes(), Law.PCMU)
    assert conceal(voiced, 160, Law.PCMU) == conceal(voiced[-HISTORY:], 160, Law.PCMU)
    assert HISTORY == HISTORY_MS * 8


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        conceal_linear(b"abc", 160)
