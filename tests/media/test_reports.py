import gc
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bridge.media import rtcp
from bridge.media.quality import mos
from bridge.media.reports import RtcpReporter
from bridge.media.rtcp import Goodbye, Packet, ReceiverReport, ReportBlock, RtcpError, SenderReport, SourceDescription

OURS, CALLER = 0x0000_0001, 0x0000_0002
WALL = 1_700_000_000.0
HALF = 0.5
"""What `random` gives for an interval of the mean length."""


def reporter(ssrc: int = OURS, clock_rate: int = 8000) -> RtcpReporter:
    """One whose first report is due 2 s after 0, and the others 4.1 s after the one before."""
    side = RtcpReporter(ssrc, "abc", clock_rate, lambda: HALF)
    assert side.due(0.0, WALL, 0) is None
    return side


def report(side: RtcpReporter, now: float, wall: float = WALL) -> bytes:
    """The next report, which must be due."""
    datagram = side.due(now, wall, 160)
    assert datagram is not None
    return datagram


def first_of(datagram: bytes) -> Packet:
    return rtcp.parse(datagram)[0]


def block_of(datagram: bytes) -> ReportBlock:
    packet = first_of(datagram)
    assert isinstance(packet, SenderReport | ReceiverReport)
    (block,) = packet.blocks
    return block


def about_us(**fields: int) -> bytes:
    """A receiver report of the caller about our stream."""
    values = dict(fraction_lost=0, cumulative_lost=0, highest_sequence=9, jitter=0, last_sr=0, delay_since_last_sr=0)
    return rtcp.receiver_report(CALLER, ReportBlock(**{"ssrc": OURS, **values, **fields}))


def hear(side: RtcpReporter, *numbers: int, ssrc: int = CALLER) -> None:
    for number in numbers:
        side.received(number, number * 160, ssrc, number * 0.02)


def last_sr(datagram: bytes) -> int:
    packet = first_of(datagram)
    assert isinstance(packet, SenderReport)
    return rtcp.middle(packet.ntp)


def test_who_sent_makes_a_sender_report_with_its_name() -> None:
    side = reporter()
    side.sent(160)
    side.sent(80)
    assert rtcp.parse(report(side, 1000, WALL + 0.5)) == (
        SenderReport(OURS, (1_700_000_000 + 2_208_988_800 << 32) + 0x8000_0000, 160, 2, 240),
        SourceDescription(((OURS, "abc"),)),
    )


def test_who_did_not_send_since_the_last_report_makes_a_receiver_report() -> None:
    side = reporter()
    side.sent(160)
    hear(side, 10, 11)
    kinds = [type(first_of(report(side, 1000)))]
    hear(side, 14)
    second = report(side, 2000)
    kinds.append(type(first_of(second)))
    side.sent(160)
    kinds.append(type(first_of(report(side, 3000))))
    assert kinds == [SenderReport, ReceiverReport, SenderReport]
    assert block_of(second) == ReportBlock(CALLER, 170, 2, 14, 0, 0, 0)
    assert side.reports_sent == 3


def due_times(side: RtcpReporter, count: int) -> Iterator[float]:
    """When reports come out, asked every 20 ms."""
    slot = 0
    while count:
        if side.due(slot * 0.02, WALL, 0) is not None:
            yield slot * 0.02
            count -= 1
        slot += 1


@pytest.mark.parametrize(
    ("chance", "first", "interval"), [(0.0, 1.026, 2.052), (0.5, 2.052, 4.104), (1.0, 3.078, 6.156)]
)
def test_reports_come_in_intervals_of_five_seconds_the_first_after_half(
    chance: float, first: float, interval: float
) -> None:
    times = list(due_times(RtcpReporter(OURS, "abc", 8000, lambda: chance), 4))
    assert times[0] == pytest.approx(first, abs=0.021)
    assert [later - sooner for sooner, later in pairwise(times)] == pytest.approx([interval] * 3, abs=0.021)


def test_intervals_are_spread_evenly() -> None:
    times = list(due_times(RtcpReporter(OURS, "abc", 8000, random.Random(5).random), 400))
    gaps = sorted(later - sooner for sooner, later in pairwise(times))
    assert 2.05 <= gaps[0] < 2.15
    assert 6.05 < gaps[-1] <= 6.18
    assert sum(gaps) / len(gaps) == pytest.approx(4.104, abs=0.2)


def test_a_long_pause_of_the_questions_makes_one_report_not_many() -> None:
    side = reporter()
    report(side, 1000)
    assert side.due(1000.02, WALL, 0) is None


def test_a_round_trip_without_what_the_peer_waited() -> None:
    side = reporter()
    side.sent(160)
    sent = last_sr(report(side, 1000.0))
    side.receive(about_us(last_sr=sent, delay_since_last_sr=int(3.5 * 65536)), 1003.62)
    assert side.round_trip_ms == pytest.approx(120, abs=0.1)
    assert side.reports_received == 1


def test_two_reporters_measure_each_other() -> None:
    ours, caller = reporter(), reporter(CALLER)
    hear(ours, 1)
    hear(caller, 1, ssrc=OURS)
    ours.sent(160)
    caller.sent(160)
    caller.receive(report(ours, 50.0), 950.03)  # their clocks and their walls have nothing in common
    ours.receive(report(caller, 952.0, WALL - 99_999), 52.05)
    assert ours.round_trip_ms == pytest.approx((52.05 - 50.0 - (952.0 - 950.03)) * 1000, abs=0.1)
    ours.sent(160)
    hear(ours, 2)
    hear(caller, 2, ssrc=OURS)
    caller.receive(report(ours, 56.0), 956.1)
    assert caller.round_trip_ms == pytest.approx((956.1 - 952.0 - (56.0 - 52.05)) * 1000, abs=0.1)


def test_a_round_trip_over_the_wrap_of_the_middle_bits() -> None:
    side = reporter()
    side.sent(160)
    wrap = (1_700_000_000 + 2_208_988_800 | 0xFFFF) + 1 - 2_208_988_800  # when the lower half of the seconds is 0
    sent = last_sr(report(side, 1000.0, wrap - 0.05))
    assert sent > 0xFFFF_0000
    side.sent(160)
    after = last_sr(report(side, 1010.0, wrap + 9.95))
    assert after < 0x000A_0000
    side.receive(about_us(last_sr=sent, delay_since_last_sr=0x4000), 1000.33)
    assert side.round_trip_ms == pytest.approx(80, abs=0.1)
    side.receive(about_us(last_sr=after, delay_since_last_sr=0x4000), 1010.27)
    assert side.round_trip_ms == pytest.approx(20, abs=0.1)


def test_a_wall_clock_that_is_set_does_not_move_the_round_trip() -> None:
    side = reporter()
    side.sent(160)
    sent = last_sr(report(side, 1000.0, WALL))
    side.sent(160)
    report(side, 1005.0, WALL - 3600)
    side.receive(about_us(last_sr=sent, delay_since_last_sr=6 * 65536), 1006.1)
    assert side.round_trip_ms == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize(
    ("offset", "delay_s", "came", "round_trip_ms"),
    [
        (0, 5.0, 1001.0, None),  # it waited longer than the report is old
        (0, 0.0, 1010.1, None),
        (0, 0.0, 1009.9, 9900.0),
        (1, 0.0, 1000.1, None),  # a report that we never sent
        (0, 0.101, 1000.1, 0.0),  # rounded up to the millisecond by a neighbour
        (0, 0.110, 1000.1, None),
    ],
)
def test_nonsense_is_no_round_trip(offset: int, delay_s: float, came: float, round_trip_ms: float | None) -> None:
    side = reporter()
    side.sent(160)
    sent = last_sr(report(side, 1000.0))
    side.receive(about_us(last_sr=sent + offset, delay_since_last_sr=round(delay_s * 65536)), came)
    assert side.round_trip_ms == (None if round_trip_ms is None else pytest.approx(round_trip_ms, abs=0.1))


def test_a_peer_that_had_no_report_of_ours_is_no_round_trip() -> None:
    side = reporter()
    side.sent(160)
    whole = (1_700_000_000 + 2_208_988_800 | 0xFFFF) + 1 - 2_208_988_800
    assert last_sr(report(side, 999.0, whole)) == 0  # which is also what a peer says that had none
    side.receive(about_us(), 1000.0)
    assert (side.round_trip_ms, side.remote_lost) == (None, 0)


def test_only_so_many_reports_of_ours_are_remembered() -> None:
    side = reporter()
    sent = []
    for number in range(9):
        side.sent(160)
        sent.append(last_sr(report(side, 1000.0 + 8 * number, WALL + 8 * number)))
    side.receive(about_us(last_sr=sent[0], delay_since_last_sr=64 * 65536), 1064.1)
    assert side.round_trip_ms is None
    side.receive(about_us(last_sr=sent[1], delay_since_last_sr=56 * 65536), 1064.1)
    assert side.round_trip_ms == pytest.approx(100, abs=0.1)


def test_our_block_names_the_newest_report_of_the_caller_and_how_old_it_is() -> None:
    side = reporter()
    side.receive(rtcp.sender_report(CALLER, 0x1111_2222_3333_4444, 0, 1, 160, None), 990.0)
    hear(side, 1)
    side.receive(rtcp.sender_report(CALLER, 0xB44D_B705_2000_0000, 0, 1, 160, None), 998.75)
    block = block_of(report(side, 1000.0))
    assert (block.last_sr, block.delay_since_last_sr) == (0xB705_2000, 0x1_4000)


def test_a_report_that_is_sooner_than_the_first_packet_counts() -> None:
    side = reporter()
    side.receive(rtcp.sender_report(CALLER, 0xB44D_B705_2000_0000, 0, 1, 160, None), 999.5)
    hear(side, 1)
    block = block_of(report(side, 1000.0))
    assert (block.last_sr, block.delay_since_last_sr) == (0xB705_2000, 0x8000)


def test_the_report_of_another_source_is_not_the_callers() -> None:
    side = reporter()
    hear(side, 1)
    side.receive(rtcp.sender_report(CALLER, 0xB44D_B705_2000_0000, 0, 1, 160, None), 999.0)
    side.receive(rtcp.sender_report(99, 0x1111_2222_3333_4444, 0, 1, 160, None), 999.5)
    assert block_of(report(side, 1000.0)).last_sr == 0xB705_2000
    hear(side, 1, ssrc=99)
    block = block_of(report(side, 2000.0))
    assert (block.ssrc, block.last_sr, block.delay_since_last_sr) == (99, 0, 0)


def test_what_the_peer_says_of_our_stream() -> None:
    side = reporter(clock_rate=48_000)
    assert (side.remote_jitter_ms, side.remote_fraction_lost, side.remote_lost, side.loss_out) == (None,) * 4
    for _ in range(200):
        side.sent(160)
    side.receive(about_us(fraction_lost=64, cumulative_lost=10, jitter=480), 1000.0)
    for _ in range(200):
        side.sent(160)  # of these the report says nothing
    assert side.remote_jitter_ms == pytest.approx(10)
    assert (side.remote_fraction_lost, side.remote_lost, side.loss_out) == (0.25, 10, 0.05)


def test_blocks_about_others_are_passed_over_and_ours_is_found_among_them() -> None:
    side = reporter()
    side.sent(160)
    other = rtcp.receiver_report(CALLER, ReportBlock(77, 255, 99, 0, 99, 0, 0))
    side.receive(other, 1000.0)
    assert side.loss_out is None
    both = b"\x82\xc9\x00\x0d" + other[4:] + about_us(fraction_lost=1)[8:]
    side.receive(both, 1000.0)
    assert (side.remote_fraction_lost, side.remote_lost) == (1 / 256, 0)


@pytest.mark.parametrize(("lost", "ratio"), [(-5, 0.0), (0x7F_FFFF, 1.0)])
def test_what_cannot_be_is_a_ratio_all_the_same(lost: int, ratio: float) -> None:
    side = reporter()
    side.receive(about_us(cumulative_lost=lost, jitter=0xFFFF_FFFF), 1000.0)
    assert (side.loss_out, side.remote_jitter_ms) == (ratio, 10_000.0)
    side.sent(160)
    side.receive(about_us(cumulative_lost=lost), 1000.0)
    assert side.loss_out == ratio


def test_what_is_malformed_counts_for_nothing() -> None:
    side = reporter()
    side.sent(160)
    with pytest.raises(RtcpError):
        side.receive(about_us(cumulative_lost=9) + b"\x80", 1000.0)
    assert (side.reports_received, side.loss_out) == (0, None)


def test_the_caller_says_goodbye() -> None:
    side = reporter()
    hear(side, 1)
    side.receive(about_us() + rtcp.goodbye(99), 1000.0)
    assert not side.left
    side.receive(about_us() + rtcp.goodbye(CALLER, "over"), 1000.0)
    assert side.left
    hear(side, 1, ssrc=99)  # only a change of source
    assert not side.left


def test_a_caller_who_never_sent_says_goodbye() -> None:
    side = reporter()
    side.receive(rtcp.goodbye(CALLER), 1000.0)
    assert side.left
    hear(side, 1, ssrc=99)
    assert not side.left


def test_we_say_goodbye_after_a_last_report() -> None:
    side = reporter()
    side.sent(160)
    hear(side, 1)
    last = side.goodbye(1000.0, WALL, 320, "over")
    assert last is not None
    sender, description, bye = rtcp.parse(last)
    assert isinstance(sender, SenderReport)
    assert (sender.rtp_timestamp, len(sender.blocks)) == (320, 1)
    assert (description, bye) == (SourceDescription(((OURS, "abc"),)), Goodbye((OURS,), "over"))
    side.sent(160)
    assert side.due(9000.0, WALL, 0) is None
    assert side.reports_sent == 1


def test_who_never_sent_anything_leaves_without_a_word() -> None:
    assert reporter().goodbye(1000.0, WALL, 0) is None
    listener = reporter()
    report(listener, 1000.0)
    assert listener.goodbye(1001.0, WALL, 0) is not None


def test_scores_need_something_to_judge() -> None:
    side = reporter()
    assert (side.mos_in, side.mos_out, side.loss_in) == (None, None, 0.0)
    hear(side, 1)
    side.receive(about_us(), 1000.0)
    assert side.mos_in == side.mos_out == mos("PCMU", 0.0, 0.0)


def test_scores_take_loss_half_the_round_trip_and_twice_the_jitter() -> None:
    side = reporter()
    for _ in range(100):
        side.sent(160)
    side.received(0, 0, CALLER, 0.0)
    side.received(3, 480, CALLER, 0.06 + 0.64)  # 640 ms late: jitter 40 ms
    sent = last_sr(report(side, 1000.0))
    side.receive(about_us(cumulative_lost=10, jitter=8 * 30, last_sr=sent), 1000.4)
    assert side.jitter_ms == pytest.approx(40)
    assert side.mos_in == pytest.approx(mos("PCMU", 0.5, 200 + 80), abs=0.001)
    assert side.mos_out == pytest.approx(mos("PCMU", 0.1, 200 + 60), abs=0.001)


def test_another_rate_holds_in_both_directions() -> None:
    side = reporter()
    side.retime(48_000)
    side.received(0, 0, CALLER, 0.0)
    side.received(1, 960, CALLER, 0.036)
    side.receive(about_us(jitter=480), 1000.0)
    assert [side.jitter_ms, side.remote_jitter_ms] == pytest.approx([1.0, 10.0])


def test_a_stranger_leaves_nothing_but_the_newest() -> None:
    chance = random.Random(6)
    side = reporter()
    hear(side, 1)
    good = rtcp.sender_report(CALLER, 1 << 32, 0, 1, 160, ReportBlock(OURS, 1, 2, 3, 4, 5, 6)) + rtcp.goodbye(CALLER)
    refused = 0
    for step in range(5_000):
        datagram = bytearray(good)
        for _ in range(3):
            datagram[chance.randrange(len(datagram))] = chance.randrange(256)
        side.sent(160)
        try:
            side.receive(bytes(datagram), step * 0.5)
        except RtcpError:
            refused += 1
        side.due(step * 0.5, WALL + step, 0)
        assert side.mos_out is None or 1.0 <= side.mos_out <= 4.5
    assert 0 < refused < 5_000
    assert side.reports_received + refused == 5_000
    sizes = [len(value) for value in gc.get_referents(side) if hasattr(value, "__len__")]
    assert max(sizes) <= 40


def test_packets_that_came_too_late_are_lost_to_who_listens() -> None:
    reporter = RtcpReporter(1, "name", 8000, lambda: 0.5)
    assert reporter.score_in(3) is None
    for number in range(100):
        reporter.received(number, 160 * number, 7, number * 0.02)
    good, bad = reporter.score_in(0), reporter.score_in(33)
    assert good is not None and bad is not None
    assert good == reporter.mos_in > 4.3
    assert bad == mos("PCMU", 0.33, 0.0) < 3
