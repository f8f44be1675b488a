"""The caller's audio by its place on the audio clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.agent import input_buffer
from bridge.agent.formats import AudioFormat
from bridge.agent.input_buffer import InputBuffer


def test_take_gives_all_from_a_moment_on() -> None:
    buffer = InputBuffer(AudioFormat.PCMU)
    buffer.append(b"a" * 800 + b"b" * 800)
    buffer.keep_last(150)
    assert buffer.take(100) == b"b" * 800
    assert (buffer.end_ms, buffer.held_ms) == (200, 0)
    buffer.append(b"c" * 80)
    assert buffer.take(0) == b"c" * 80
    assert buffer.end_ms == 210


def test_the_clock_goes_on_in_another_format() -> None:
    buffer = InputBuffer(AudioFormat.PCM)
    buffer.append(bytes(4800))
    buffer.change_format(AudioFormat.PCMA)
    buffer.append(b"x" * 80)
    assert buffer.end_ms == 110
    assert buffer.take(100) == b"x" * 80


def test_it_is_bounded() -> None:
    buffer = InputBuffer(AudioFormat.PCMU)
    for _ in range(5):
        buffer.append(bytes(input_buffer.MAX_BYTES // 2))
    assert len(buffer.take_all()) == input_buffer.MAX_BYTES
    assert buffer.end_ms == 5 * input_buffer.MAX_BYTES // 2 // 8


@given(st.lists(st.tuples(st.sampled_from(["append", "keep", "take"]), st.integers(0, 500)), max_size=30))
def test_it_is_the_end_of_what_was_appended(steps: list[tuple[str, int]]) -> None:
    buffer, everything, count = InputBuffer(AudioFormat.PCMU), b"", 0
    for what, number in steps:
        if what == "append":
            piece = bytes((count + n) % 251 for n in range(number))
            count += number
            everything += piece
            buffer.append(piece)
        elif what == "keep":
            buffer.keep_last(number)
        else:
            taken = buffer.take(number)
            assert everything.endswith(taken)
            assert len(taken) <= max(0, len(everything) - number * 8)
    assert buffer.end_ms == len(everything) // 8
