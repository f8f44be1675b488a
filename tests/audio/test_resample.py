import math
import struct
import sys

import pytest

from bridge.audio.level import rms
from bridge.audio.resample import Resampler


def tone(rate: int, hz: float, seconds: float, level: int = 10000) -> bytes:
    count = int(rate * seconds)
    return struct.pack(f"<{count}h", *(int(level * math.sin(2 * math.pi * hz * n / rate)) for n in range(count)))


def samples(pcm: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(8000, 24000), (24000, 8000), (16000, 8000), (8000, 16000)])
def test_length_and_level_survive_in_uneven_blocks(rate_in: int, rate_out: int) -> None:
    pcm = tone(rate_in, 440, 1.0)
    resampler = Resampler(rate_in, rate_out)
    out, at = b"", 0
    for size in [2, 4, 320, 998] * 1000:
        out += resampler.process(pcm[at : at + size])
        at += size
    out += resampler.process(b"", last=True)
    assert abs(len(out) // 2 - rate_out) <= 2
    assert rms(out) == pytest.approx(rms(pcm), rel=0.02)


def test_what_the_target_cannot_carry_is_filtered() -> None:
    high = tone(24000, 7000, 0.5)
    resampler = Resampler(24000, 8000)
    out = resampler.process(high) + resampler.process(b"", last=True)
    # 7 kHz would fold to 1 kHz at full strength without the filter; the edges of the tone leave a trace.
    assert rms(out[800:-800]) < rms(high) / 100


def test_after_the_last_block_it_is_new() -> None:
    resampler = Resampler(24000, 8000)
    once = samples(resampler.process(tone(24000, 440, 0.1), last=True))
    again = samples(resampler.process(tone(24000, 440, 0.1), last=True))
    assert len(again) == len(once) == 800
    # soxr dithers 16-bit output, so the last bit may differ.
    assert max(abs(a - b) for a, b in zip(again, once, strict=True)) <= 2


def test_equal_rates_pass_untouched() -> None:
    pcm = b"\1\0\2\0"
    assert Resampler(8000, 8000).process(pcm) is pcm


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        Resampler(8000, 24000).process(b"abc")
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 8000)


def test_without_soxr_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(RuntimeError, match=r"pip install sipbridge\[agent\]"):
        Resampler(8000, 24000)
