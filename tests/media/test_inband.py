from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, encode
from bridge.media.inband import COLUMNS, KEYS, ROWS, ToneDetector

ALL = "".join(KEYS)
FULL = 32124 / 10 ** (3.17 / 20)
"""Peak of a sine of 0 dBm0."""


def tones(
    keys: str,
    on_ms: float = 50,
    off_ms: float = 50,
    *,
    low_dbm: float = -12,
    high_dbm: float = -12,
    off_percent: float = 0,
    snr_db: float | None = None,
    seed: int = 0,
    rate: int = 8000,
) -> Any:
    """Presses as PCM, begun at any phase and anywhere in a frame."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(rate // 20 + int(rng.integers(0, rate // 50)))]
    time = np.arange(round(on_ms * rate / 1000)) / rate
    for key in keys:
        row = next(index for index, line in enumerate(KEYS) if key in line)
        pair = ((ROWS[row], low_dbm), (COLUMNS[KEYS[row].index(key)], high_dbm))
        parts.append(np.zeros(len(time)))
        for hz, dbm in pair:
            phase = 2 * np.pi * hz * (1 + off_percent / 100) * time + rng.uniform(0, 6.28)
            parts[-1] += FULL * 10 ** (dbm / 20) * np.sin(phase)
        parts.append(np.zeros(round(off_ms * rate / 1000)))
    pcm = np.concatenate((*parts, np.zeros(rate // 20)))
    if snr_db is not None:
        power = FULL**2 / 2 * (10 ** (low_dbm / 10) + 10 ** (high_dbm / 10))
        pcm += rng.normal(size=len(pcm)) * np.sqrt(power / 10 ** (snr_db / 10))
    return pcm


def written(pcm: Any, audio_format: Format = Law.PCMU) -> bytes:
    linear: bytes = np.clip(np.round(pcm), -32768, 32767).astype("<i2").tobytes()
    return encode(linear, audio_format) if isinstance(audio_format, Law) else linear


def heard(audio: bytes, audio_format: Format = Law.PCMU, sizes: tuple[int, ...] = (160,)) -> str:
    detector, at, told, number = ToneDetector(audio_format), 0, "", 0
    while at < len(audio):
        size = sizes[number % len(sizes)]
        told += detector.hear(audio[at : at + size])
        at += size
        number += 1
    assert detector.presses == len(told)
    return told


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize(
    "line",
    [
        {"on_ms": 40, "off_ms": 40},
        {"on_ms": 250, "off_ms": 100},
        {"low_dbm": -30, "high_dbm": -30},
        {"low_dbm": 0, "high_dbm": 0},
        {"low_dbm": -10, "high_dbm": -18},
        {"low_dbm": -18, "high_dbm": -10},
        {"off_percent": 1.5},
        {"off_percent": -1.5},
        {"off_percent": 0.6, "on_ms": 40},
        {"snr_db": 15},
        {"snr_db": 15, "low_dbm": -10, "high_dbm": -14, "off_percent": -1.5},
    ],
    ids=str,
)
def test_every_key_is_told_once_on_any_line(law: Law, line: dict[str, float]) -> None:
    for seed in range(3):
        assert heard(written(tones(ALL, seed=seed, **line), law), law) == ALL  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(80,), (240,), (480,), (37, 111), (1, 7, 400)])
def test_pieces_of_any_length_tell_the_same(sizes: tuple[int, ...]) -> None:
    assert heard(written(tones(ALL)), Law.PCMU, sizes) == ALL


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("size", [1920, 77])
def test_linear_audio_even_when_a_piece_ends_within_a_sample(rate: int, size: int) -> None:
    assert heard(written(tones(ALL, rate=rate), Linear(rate)), Linear(rate), (size,)) == ALL


@pytest.mark.parametrize("seed", range(5))
def test_the_same_key_again_after_40_ms_is_another_press(seed: int) -> None:
    assert heard(written(tones("55555", 40, 40, seed=seed))) == "55555"


@pytest.mark.parametrize("gap_ms", [5, 10])
def test_a_short_break_does_not_make_two_presses(gap_ms: int) -> None:
    pcm = tones("5", 200)
    pcm[1400 : 1400 + gap_ms * 8] = 0
    assert heard(written(pcm)) == "5"


def test_a_key_that_follows_without_a_pause_is_told() -> None:
    assert heard(written(tones("159D", 60, 0))) == "159D"


@pytest.mark.parametrize("seed", range(5))
def test_too_short_is_no_key(seed: int) -> None:
    assert heard(written(tones(ALL, 23, 60, seed=seed))) == ""


@pytest.mark.parametrize(
    "line",
    [
        {"off_percent": 3.5},
        {"off_percent": -3.5},
        {"low_dbm": -10, "high_dbm": -25},
        {"low_dbm": -25, "high_dbm": -10},
        {"low_dbm": -45, "high_dbm": -45},
    ],
    ids=str,
)
def test_what_is_no_key_is_not_told(line: dict[str, float]) -> None:
    assert heard(written(tones(ALL, 60, 60, **line))) == ""  # type: ignore[arg-type]


def test_a_third_tone_beside_them_is_no_key() -> None:
    pcm = tones("5", 200)
    pcm += 3000 * np.sin(2 * np.pi * 852 * np.arange(len(pcm)) / 8000)
    assert heard(written(pcm)) == ""


def speech(seconds: int, seed: int) -> Any:
    """Gliding harmonics below moving formants, with hisses and pauses."""
    rng = np.random.default_rng(seed)
    parts, left = [], seconds * 8000
    while left > 0:
        count = min(int(rng.uniform(0.06, 0.3) * 8000), left)
        time = np.arange(count) / 8000
        pitch = rng.uniform(80, 320) * (1 + rng.uniform(-0.25, 0.25) * time)
        phase = 2 * np.pi * np.cumsum(pitch) / 8000
        formants = rng.uniform(250, 950), rng.uniform(900, 2300), rng.uniform(2300, 3200)
        sound = rng.normal(size=count) * rng.choice([0.02, 0.3], p=[0.85, 0.15])
        for number in range(1, int(3400 / pitch.max()) + 1):
            level = sum(1 / (1 + ((number * pitch[0] - formant) / 120) ** 2) for formant in formants)
            sound += level * np.sin(number * phase + rng.uniform(0, 6))
        parts.append(sound * np.sin(np.pi * np.arange(count) / count) ** 0.5 * rng.uniform(500, 6000))
        left -= count
    return np.concatenate(parts)


@pytest.mark.parametrize("seed", range(3, 8))
def test_a_minute_of_speech_is_no_key(seed: int) -> None:
    assert heard(written(speech(60, seed))) == ""


def test_a_tone_is_told_as_soon_as_40_ms_were_heard_and_on_until_it_ends() -> None:
    audio, detector = written(tones("7", 300, 100, seed=1)), ToneDetector(Law.PCMU)
    begin = next(at for at, code in enumerate(audio) if code != 0xFF)
    told_at, talking = 0, []
    for at in range(0, len(audio), 40):
        if detector.hear(audio[at : at + 40]):
            told_at = at + 40
        talking.append(detector.talking)
    assert 30 <= (told_at - begin) / 8 <= 45
    on = [at * 5 for at, is_on in enumerate(talking) if is_on]
    assert on[0] - begin / 8 >= 15
    assert on[0] + 5 < told_at / 8
    assert 300 <= on[-1] - begin / 8 <= 340
    assert len(on) == (on[-1] - on[0]) // 5 + 1


@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from([*Law, Linear(8000), Linear(24_000)]))
def test_noise_of_any_kind_is_no_error(pieces: list[bytes], audio_format: Format) -> None:
    detector = ToneDetector(audio_format)
    assert "".join(detector.hear(piece) for piece in pieces) == ""
