"""The ringing tone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bridge.audio.g711 import Law, decode, silence
from bridge.audio.tone import PERIOD_S, RING_HZ, RING_S, ringing


@pytest.mark.parametrize("law", list(Law))
def test_a_second_of_tone_then_silence(law: Law) -> None:
    tone = ringing(law)
    assert len(tone) == PERIOD_S * 8000
    sounding = int(RING_S * 8000)
    assert tone[sounding:] == silence(len(tone) - sounding, law)
    assert ringing(law) is tone


def test_its_pitch_and_loudness() -> None:
    samples = decode(ringing(Law.PCMU)[:8000], Law.PCMU)
    values = [int.from_bytes(samples[at : at + 2], "little", signed=True) for at in range(0, len(samples), 2)]
    rising = sum(a < 0 <= b for a, b in pairwise(values))
    assert abs(rising - RING_HZ) <= 2
    assert 1000 < max(values) < 8000
