"""Sounds of our own: as long, as loud and as smooth as they say."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from itertools import pairwise

import pytest

from bridge.audio.level import dbfs, rms
from bridge.audio.music import (
    FAREWELL_MS,
    MUSIC_MS,
    TONE_MS,
    farewell,
    hold_music,
    waiting_tone,
)

Make = Callable[[int], bytes]
ALL = [(waiting_tone, TONE_MS), (hold_music, MUSIC_MS), (farewell, FAREWELL_MS)]
LOOPS = [waiting_tone, hold_music]
RATES = (8000, 16000, 24000)
TWO_PI = 2 * math.pi


def strength(pcm: bytes, hertz: float, rate: int = 8000) -> float:
    """The part of one frequency in the amplitude, by Goertzel's sum."""
    samples = array("h", pcm)
    real = sum(sample * math.cos(TWO_PI * hertz * at / rate) for at, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(TWO_PI * hertz * at / rate) for at, sample in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / len(samples)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("make", "ms"), ALL)
def test_it_is_as_long_as_it_says_at_every_rate(make: Make, ms: int, rate: int) -> None:
    assert len(make(rate)) == 2 * ms * rate // 1000


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("make", "_ms"), ALL)
def test_it_never_jumps_and_is_never_clipped(make: Make, _ms: int, rate: int) -> None:
    """Nothing in it is above 1 kHz but the overtones, so no step is longer than such a sine's of the same height."""
    samples = array("h", make(rate))
    peak = max(map(abs, samples))
    assert 500 < peak < 20_000
    assert max(abs(after - before) for before, after in pairwise(samples)) <= peak * TWO_PI * 1200 / rate


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("make", LOOPS)
def test_its_end_goes_on_in_its_beginning(make: Make, rate: int) -> None:
    """Across the seam the curve bends no more than beside it: neither its height nor its direction jumps."""
    samples = array("h", make(rate))
    ring = [*samples[-rate // 50 :], *samples[: rate // 50]]
    bends = [abs(one - 2 * two + three) for one, two, three in zip(ring, ring[1:], ring[2:], strict=False)]
    middle = len(bends) // 2
    beside = bends[: middle - 2] + bends[middle + 2 :]
    assert max(bends[middle - 2 : middle + 2]) <= max(beside) * 1.2


def test_the_music_has_something_to_carry_over_its_seam() -> None:
    """Or the test above would say nothing: the last notes still sound when the first begin."""
    music = hold_music(8000)
    assert rms(music[-800:]) > 300 and rms(music[:800]) > 300
    alone = waiting_tone(8000)
    assert not any(alone[-16000:]), "and the tone is a pause by then"


@pytest.mark.parametrize("rate", RATES)
def test_the_music_is_as_loud_as_a_voice(rate: int) -> None:
    assert dbfs(rms(hold_music(rate))) == pytest.approx(-20, abs=0.2)


def test_a_note_dies_away_to_nothing_before_it_ends() -> None:
    samples = array("h", waiting_tone(8000))
    last = max(at for at, sample in enumerate(samples) if sample)
    assert rms(samples[last - 40 : last + 1].tobytes()) <= 3


def test_it_is_quiet_nowhere_for_long() -> None:
    music = hold_music(8000)
    bars = [dbfs(rms(music[at : at + 9600])) for at in range(0, len(music), 9600)]
    assert min(bars) > -25 and max(bars) < -15


def test_the_tone_is_far_below_a_voice() -> None:
    tone = waiting_tone(8000)
    peak = max(map(abs, array("h", tone)))
    assert dbfs(peak) == pytest.approx(-26, abs=0.1)
    assert dbfs(rms(tone)) < -36


@pytest.mark.parametrize("network_hz", [350, 400, 425, 440, 450, 480, 620, 950, 1400, 1800])
def test_the_tone_is_none_that_a_network_speaks_with(network_hz: int) -> None:
    """ITU-T E.180 and E.182: ringing, busy, dial tone, special information."""
    tone = waiting_tone(8000)[: 16 * 1200]
    assert strength(tone, network_hz) < strength(tone, 523.25) / 5


def test_the_farewell_begins_and_ends_in_silence_and_falls() -> None:
    notes = farewell(8000)
    assert not any(notes[:2]) and not any(notes[-200:])
    first, last = notes[: 16 * 320], notes[16 * 640 : 16 * 1280]
    assert strength(first, 783.99) > 5 * strength(first, 523.25)
    assert strength(last, 523.25) > 2 * strength(last, 783.99)
