import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.reception import Reception
from bridge.media.rtcp import ReportBlock

RATE = 8000
SSRC = 0xCAFEBABE


def hear(reception: Reception, *numbers: int, ssrc: int = SSRC) -> None:
    """Packets of these numbers, each exactly when its timestamp says."""
    for number in numbers:
        reception.received(number & 0xFFFF, number * 160 & 0xFFFF_FFFF, ssrc, number * 0.02)


def block_of(reception: Reception) -> ReportBlock:
    block = reception.block()
    assert block is not None
    return block


def reference_jitter(packets: list[tuple[int, float]], rate: int = RATE) -> float:
    """Appendix A.8 as it stands, on timestamps that never wrap."""
    jitter = 0.0
    for (timestamp, came), (next_timestamp, next_came) in pairwise(packets):
        difference = (next_came * rate - next_timestamp) - (came * rate - timestamp)
        jitter += (abs(difference) - jitter) / 16
    return jitter


def test_nothing_came_yet() -> None:
    reception = Reception(RATE)
    assert (reception.expected, reception.lost, reception.jitter_ms, reception.ssrc) == (0, 0, 0.0, None)
    assert reception.block() is None


def test_a_block_of_a_stream_without_loss() -> None:
    reception = Reception(RATE)
    hear(reception, *range(100, 150))
    assert reception.block(0xB705_2000, 0x5_4000) == ReportBlock(SSRC, 0, 0, 149, 0, 0xB705_2000, 0x5_4000)
    assert (reception.expected, reception.lost, reception.ssrc) == (50, 0, SSRC)


def test_the_fraction_is_that_since_the_last_block() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 1, 2, 7)  # four of eight
    first = block_of(reception)
    hear(reception, *range(8, 12))
    second = block_of(reception)
    hear(reception, 15)  # one of four
    third = block_of(reception)
    assert [block.fraction_lost for block in (first, second, third)] == [128, 0, 192]
    assert [block.cumulative_lost for block in (first, second, third)] == [4, 4, 7]
    assert (reception.expected, reception.lost) == (16, 7)


def test_there_is_no_block_about_an_interval_in_which_nothing_came() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 1)
    assert reception.block() is not None
    assert reception.block() is None
    hear(reception, 4)
    assert block_of(reception).fraction_lost == 2 * 256 // 3


def test_loss_over_the_wrap_of_the_sequence() -> None:
    reception = Reception(RATE)
    hear(reception, 0xFFFD, 0xFFFE, 0x1_0001, 0x1_0002)  # 65535 and 0 are missing
    block = block_of(reception)
    assert (block.highest_sequence, block.cumulative_lost, reception.expected) == (0x1_0002, 2, 6)


def test_a_stream_that_wraps_twice_in_order() -> None:
    reception = Reception(RATE)
    hear(reception, *range(0xFFF0, 0x2_0010))
    assert block_of(reception).highest_sequence == 0x2_000F
    assert (reception.expected, reception.lost) == (0x1_0020, 0)


def test_what_comes_late_is_not_lost() -> None:
    reception = Reception(RATE)
    hear(reception, 0xFFFF, 0x1_0001)
    assert reception.lost == 1
    hear(reception, 0x1_0000, 0x1_0002)
    assert (reception.lost, block_of(reception).highest_sequence) == (0, 0x1_0002)


def test_duplicates_make_the_cumulative_loss_go_down_below_zero() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 2)
    assert block_of(reception).cumulative_lost == 1
    hear(reception, 2, 2, 0)
    block = block_of(reception)
    assert (block.cumulative_lost, block.fraction_lost) == (-2, 0)
    assert reception.lost == 0


def test_a_single_stray_number_far_away_counts_for_nothing() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 1, 30_000, 2, 40_000, 3)
    assert (reception.expected, reception.lost, block_of(reception).highest_sequence) == (4, 0, 3)


def test_two_neighbours_far_away_begin_anew_and_the_totals_stay() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 2)
    reception.block()
    hear(reception, 29_999, 30_000, 30_002)
    block = block_of(reception)
    assert (block.highest_sequence, block.cumulative_lost, block.fraction_lost) == (30_002, 1, 64)
    assert (reception.expected, reception.lost) == (3 + 4, 2)


def test_the_edges_of_gap_and_late_packet() -> None:
    reception = Reception(RATE)
    hear(reception, 10_000, 12_999)
    assert reception.expected == 3000
    hear(reception, 12_999 + 3000)
    assert reception.expected == 3000
    hear(reception, 12_999 - 99)
    assert (reception.expected, reception.lost) == (3000, 2997)
    hear(reception, 12_999 - 100)
    assert reception.lost == 2997


def test_a_new_source_begins_anew_and_the_totals_stay() -> None:
    reception = Reception(RATE)
    hear(reception, 0, 3)
    reception.block()
    hear(reception, 500, 501, 503, ssrc=7)
    block = block_of(reception)
    assert (block.ssrc, block.highest_sequence, block.cumulative_lost, block.fraction_lost) == (7, 503, 1, 64)
    assert (reception.expected, reception.lost) == (4 + 4, 3)


def test_a_source_that_uses_up_its_numbers_is_no_gap_of_the_next() -> None:
    reception = Reception(RATE)
    hear(reception, 4, 5)
    hear(reception, 6, ssrc=7)
    assert (reception.ssrc, block_of(reception).cumulative_lost, reception.expected) == (7, 0, 3)


@given(st.integers(0, 0xFFFF_FFFF), st.lists(st.floats(0, 0.2), min_size=2, max_size=60), st.randoms())
def test_jitter_is_that_of_the_appendix(start: int, delays: list[float], chance: random.Random) -> None:
    packets = [(number, number * 160, 1000 + number * 0.02 + delay) for number, delay in enumerate(delays)]
    packets = [packet for packet in packets if packet[0] == 0 or chance.random() < 0.9]
    packets.sort(key=lambda packet: packet[2])
    reception = Reception(RATE)
    for number, timestamp, came in packets:
        reception.received(number, (start + timestamp) & 0xFFFF_FFFF, SSRC, came)
    expected = reference_jitter([packet[1:] for packet in packets])
    assert reception.jitter_ms == pytest.approx(expected / 8, abs=1e-6)
    assert block_of(reception).jitter == pytest.approx(expected, abs=0.5001)


def test_an_event_does_not_count_as_jitter() -> None:
    reception = Reception(RATE)
    hear(reception, 0)
    for number in range(1, 11):  # a key of 200 ms: ten packets of one timestamp
        reception.received(number, 160, SSRC, number * 0.02)
    hear(reception, 11, 12)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("step", "counts"), [(8000, True), (8001, False), (-8000, True), (-8001, False)])
def test_a_jump_of_the_timestamp_by_more_than_a_second_does_not_count_as_jitter(step: int, counts: bool) -> None:
    reception = Reception(RATE)
    reception.received(0, 100, SSRC, 0.0)
    came = step / RATE + 0.01 if step > 0 else 0.0  # late by 10 ms, or back in time at once
    reception.received(1, (100 + step) & 0xFFFF_FFFF, SSRC, came)
    assert (reception.jitter_ms > 0) == counts
    before = reception.jitter_ms
    reception.received(2, (260 + step) & 0xFFFF_FFFF, SSRC, came + 0.02)  # the new time line is exact
    assert reception.jitter_ms == pytest.approx(before * 15 / 16)


def test_a_pause_in_which_time_stood_still_does_not_count_as_jitter() -> None:
    reception = Reception(RATE)
    reception.received(0, 0, SSRC, 0.0)
    reception.received(1, 160, SSRC, 60.0)
    reception.received(2, 320, SSRC, 60.02)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-9)


def test_a_new_source_does_not_count_as_jitter() -> None:
    reception = Reception(RATE)
    reception.received(0, 0, SSRC, 0.0)
    reception.received(1, 160, SSRC, 0.036)
    assert reception.jitter_ms == pytest.approx(1.0)
    reception.received(2, 4000, 7, 0.1)
    reception.received(3, 4160, 7, 0.12)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-9)


def test_another_rate_keeps_the_jitter_in_milliseconds() -> None:
    reception = Reception(48_000)
    reception.received(0, 0, SSRC, 0.0)
    reception.received(1, 960, SSRC, 0.036)
    reception.retime(8000)
    assert reception.jitter_ms == pytest.approx(1.0)
    assert block_of(reception).jitter == 8
    reception.received(2, 960 + 160, SSRC, 0.056)
    assert reception.jitter_ms == pytest.approx(15 / 16)


def test_a_stranger_who_changes_everything_leaves_numbers_that_fit() -> None:
    chance = random.Random(1889)
    reception = Reception(RATE)
    for step in range(5_000):
        reception.received(chance.randrange(0x1_0000), chance.randrange(2**32), chance.randrange(3), step * 0.001)
        if step % 10 == 0 and (block := reception.block()) is not None:
            assert 0 <= block.fraction_lost <= 255
            assert -0x80_0000 <= block.cumulative_lost <= 0x7F_FFFF
            assert 0 <= block.jitter <= 8000
    assert 0 <= reception.lost <= reception.expected
