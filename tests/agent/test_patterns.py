"""The byte pattern tells item and position from any run of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.formats import AudioFormat
from bridge.agent.patterns import Place, counter, locate, make
from bridge.audio.wav import WavWriter


@given(st.integers(1, 4095), st.integers(0, 40_000), st.integers(15, 400))
def test_any_15_bytes_tell_item_and_position(number: int, start: int, length: int) -> None:
    run = counter(number, start + length)[start:]
    assert locate(run) == [Place(number, start, 0, length)]


def test_silence_and_other_items_beside_it_are_told_apart() -> None:
    data = b"\xff" * 20 + counter(3, 500)[100:200] + b"\xd5" * 9 + counter(4, 40) + b"\xff" * 3
    assert locate(data) == [Place(3, 100, 20, 120), Place(4, 0, 129, 169)]


def test_a_hole_and_a_repeat_are_seen() -> None:
    pattern = counter(7, 1000)
    hole = locate(pattern[:160] + pattern[320:480])
    assert [(each.position, each.end - each.start) for each in hole] == [(0, 160), (320, 160)]
    repeat = locate(pattern[:160] + pattern[:160])
    assert [each.position for each in repeat] == [0, 0]


@given(st.binary(max_size=300))
def test_other_audio_is_hardly_ever_taken_for_it(data: bytes) -> None:
    assert all(place.end - place.start >= 8 for place in locate(data))


def test_no_byte_of_it_is_silence() -> None:
    for number in (1, 31, 32, 4095):
        assert not {0xFF, 0xD5} & set(counter(number, 100_000))


def test_long_items_have_no_repeats() -> None:
    minutes = counter(1, 8000 * 60 * 5)
    assert len({minutes[start : start + 8] for start in range(0, len(minutes), 8)}) == len(minutes) // 8


@pytest.mark.parametrize("form", list(AudioFormat))
@pytest.mark.parametrize("pattern", ["counter", "silence", "tone:440"])
def test_patterns_have_the_length_asked_for(form: AudioFormat, pattern: str) -> None:
    assert len(make(pattern, 250, 1, form)) == 250 * form.bytes_per_ms


def test_a_wav_file_is_cut_or_filled_up(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "tone.wav"
    with WavWriter(path, 8000, 1) as wav:
        wav.write(b"\x00\x10" * 800)
    assert make(f"wav:{path}", 50, 1, AudioFormat.PCMU) == AudioFormat.PCMU.from_pcm(b"\x00\x10" * 400)
    assert make(f"wav:{path}", 150, 1, AudioFormat.PCMU)[800:] == b"\xff" * 400
