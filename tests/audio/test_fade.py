from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.fade import FADE_MS, faded
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode

LOUD = array("h", [20_000, -20_000] * 60).tobytes()


def samples(audio: bytes, audio_format: Format) -> list[int]:
    return array("h", audio if isinstance(audio_format, Linear) else decode(audio, audio_format)).tolist()


def test_it_falls_straight_from_all_to_nearly_nothing() -> None:
    out = samples(faded(LOUD, Linear(24000)), Linear(24000))
    assert out[0] == 20_000
    levels = [abs(sample) for sample in out]
    steps = [before - after for before, after in pairwise(levels)]
    assert all(20_000 // 120 - 1 <= step <= 20_000 // 120 + 2 for step in steps)
    assert 0 < levels[-1] <= 20_000 // 120 + 1


@pytest.mark.parametrize("law", Law)
def test_in_a_law_it_falls_too(law: Law) -> None:
    code = bytes((0x80 if law is Law.PCMU else 0xAA,)) * 8 * FADE_MS
    levels = [abs(sample) for sample in samples(faded(code, law), law)]
    full = abs(samples(code, law)[0])
    assert levels[0] == full
    assert levels == sorted(levels, reverse=True)
    assert levels[len(levels) // 2] == pytest.approx(full / 2, rel=0.1)
    assert levels[-1] < full / 30


@pytest.mark.parametrize("audio_format", [*Law, Linear(16000)])
def test_nothing_fades_to_nothing(audio_format: Format) -> None:
    assert faded(b"", audio_format) == b""


def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert faded(LOUD + b"\x01", Linear(16000)) == faded(LOUD, Linear(16000))


@given(st.binary(max_size=200), st.sampled_from([*Law, Linear(24000)]))
def test_it_is_as_long_and_nowhere_louder(audio: bytes, audio_format: Format) -> None:
    out = faded(audio, audio_format)
    whole = audio[: len(out)]
    assert len(audio) - len(out) == (len(audio) % 2 if isinstance(audio_format, Linear) else 0)
    pairs = zip(samples(out, audio_format), samples(whole, audio_format), strict=True)
    assert all(abs(after) <= abs(before) + 1 for after, before in pairs)
