from hypothesis import given
from hypothesis import strategies as st

from bridge.media.rtp import RtpPacket
from bridge.media.source import (
    CONSECUTIVE,
    CONSECUTIVE_OLD,
    CONSECUTIVE_SAME_HOST,
    MAX_CANDIDATES,
    SourceLatch,
)

SDP = ("198.51.100.7", 4000)
SIGNALLING = "203.0.113.9"
STRANGER = ("192.0.2.66", 4000)


def latch(remote: tuple[str, int] = SDP) -> SourceLatch:
    return SourceLatch(remote, SIGNALLING, frozenset({0, 101}))


def packet(sequence: int, *, ssrc: int = 7, payload_type: int = 0) -> RtpPacket:
    return RtpPacket(payload_type, False, sequence & 0xFFFF, 0, ssrc, b"")


def send(
    at: SourceLatch, source: tuple[str, int], count: int, now: float = 0.0, first: int = 65534, ssrc: int = 7
) -> int:
    """How many of `count` packets in a row are accepted."""
    return sum(at.knows(source) and at.accept(source, packet(first + n, ssrc=ssrc), now) for n in range(count))


def test_the_address_of_the_sdp_is_the_caller_from_the_first_packet() -> None:
    at = latch()
    assert at.destination == SDP
    assert send(at, SDP, 1) == 1
    assert (at.latched, at.strangers) == (SDP, 0)


def test_symmetric_rtp_latches_after_some_packets_in_a_row() -> None:
    for source, needed in (((SDP[0], 5000), CONSECUTIVE_SAME_HOST), ((SIGNALLING, 5000), CONSECUTIVE)):
        at = latch()
        assert send(at, source, needed - 1) == 0
        assert at.destination == SDP
        assert send(at, source, 3, first=65534 + needed - 1) == 3
        assert (at.destination, at.strangers) == (source, needed - 1)


def test_a_private_address_behind_nat_is_found_by_the_signalling_source() -> None:
    at = latch(("192.168.1.20", 4000))
    assert send(at, (SIGNALLING, 61000), 20) == 20 - CONSECUTIVE + 1


def test_a_stranger_never_gets_in_however_much_it_sends() -> None:
    at = latch()
    assert send(at, STRANGER, 1000) == 0
    assert (at.destination, at.strangers) == (SDP, 1000)
    assert send(at, SDP, 1) == 1
    assert send(at, STRANGER, 1000, now=99.0) == 0
    assert at.destination == SDP


def test_the_right_port_does_not_make_a_wrong_address_right() -> None:
    at = latch()
    assert send(at, ("198.51.100.8", SDP[1]), 100) == 0


def test_gaps_other_sources_and_wrong_payloads_are_no_row() -> None:
    at, source = latch(), (SDP[0], 5000)
    assert not any(at.accept(source, packet(2 * n), 0.0) for n in range(50))
    assert not any(at.accept(source, packet(n, ssrc=n), 0.0) for n in range(50))
    assert not any(at.accept(source, packet(n, payload_type=96), 0.0) for n in range(50))
    assert not any(at.accept((SDP[0], 5000 + n % 3 * 2), packet(n), 0.0) for n in range(50))
    assert at.latched is None


def test_an_unoffered_payload_does_not_latch_even_from_the_sdp_address() -> None:
    at = latch()
    assert not at.accept(SDP, packet(0, payload_type=96), 0.0)
    assert at.latched is None


def test_a_port_change_needs_the_old_source_silent() -> None:
    at, moved = latch(), (SDP[0], 5000)
    send(at, SDP, 1, now=1.0)
    send(at, SDP, 1, now=2.0)
    assert send(at, moved, 100, now=2.49) == 0
    assert at.destination == SDP
    assert send(at, moved, CONSECUTIVE, now=2.51) == 1
    assert at.destination == moved


def test_another_stream_of_the_same_host_never_takes_a_silent_callers_place() -> None:
    at, other = latch(), (SDP[0], 5000)
    send(at, SDP, 1, now=1.0)
    assert send(at, other, 1000, now=60.0, ssrc=8) == 0
    assert at.destination == SDP
    assert send(at, SDP, 1, now=61.0, ssrc=9) == 1


def test_the_address_of_the_sdp_wins_back_at_once_from_whoever_came_first() -> None:
    at, other = latch(), (SDP[0], 5000)
    assert send(at, other, CONSECUTIVE_SAME_HOST, now=1.0, ssrc=8) == 1
    assert send(at, SDP, 1, now=1.0) == 1
    assert at.destination == SDP
    assert send(at, other, 100, now=9.0, ssrc=8) == 0


def test_once_latched_another_address_does_not_get_in_by_silence() -> None:
    at = latch()
    send(at, SDP, 1, now=1.0)
    assert send(at, (SIGNALLING, 5000), 100, now=60.0) == 0


class TestRetarget:
    def test_the_same_address_keeps_the_latch(self) -> None:
        at, nat = latch(), (SIGNALLING, 5000)
        send(at, nat, CONSECUTIVE)
        at.retarget(SDP)
        assert at.destination == nat

    def test_a_new_address_is_the_caller_from_its_first_packet(self) -> None:
        at, moved = latch(), ("198.51.100.99", 6000)
        send(at, SDP, 1)
        at.retarget(moved)
        assert at.destination == moved
        assert send(at, moved, 1) == 1
        assert send(at, SDP, 100, now=99.0) == 0

    def test_the_last_packets_of_the_old_port_do_not_win_the_place(self) -> None:
        at, moved = latch(), (SDP[0], 6000)
        send(at, SDP, 1)
        at.retarget(moved)
        assert send(at, SDP, CONSECUTIVE_OLD - 1, now=0.1) == 0
        assert send(at, moved, 1, now=0.1) == 1

    def test_a_phone_that_did_not_move_after_all_is_heard_in_the_end(self) -> None:
        at = latch()
        send(at, SDP, 1)
        at.retarget((SDP[0], 6000))
        assert send(at, SDP, CONSECUTIVE_OLD) == 1

    def test_to_the_latched_source_changes_nothing(self) -> None:
        at, nat = latch(), (SIGNALLING, 5000)
        send(at, nat, CONSECUTIVE)
        at.retarget(nat)
        assert send(at, (SIGNALLING, 7000), 100, now=0.1) == 0
        assert (at.destination, send(at, nat, 1)) == (nat, 1)

    def test_a_probation_begins_anew(self) -> None:
        at, nat = latch(), (SIGNALLING, 5000)
        send(at, nat, CONSECUTIVE - 1, first=0)
        at.retarget((SDP[0], 6000))
        assert send(at, nat, CONSECUTIVE, first=CONSECUTIVE - 1) == 1


def test_candidates_are_bounded() -> None:
    at = latch()
    for port in range(5000, 9000):
        send(at, (SDP[0], port), 2)
    assert len(at._candidates) <= MAX_CANDIDATES


def test_one_spelling_per_ipv6_address() -> None:
    at = SourceLatch(("2001:DB8:0::1", 4000), "2001:db8::2", frozenset({0}))
    assert send(at, ("2001:db8::1", 4000), 1) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from([STRANGER, ("192.0.2.66", 9), ("198.51.100.8", 4000), ("", 0), ("x", 4000)]),
            st.integers(0, 65535),
            st.floats(0, 100),
        ),
        max_size=50,
    ),
    st.booleans(),
)
def test_no_story_of_strangers_redirects(packets: list[tuple[tuple[str, int], int, float]], begun: bool) -> None:
    at = latch()
    if begun:
        send(at, SDP, 1)
    for source, sequence, now in packets:
        assert not at.accept(source, packet(sequence), now)
        assert at.destination == SDP


def test_it_tells_whether_the_caller_sends_from_elsewhere() -> None:
    latch = SourceLatch(("2001:DB8:0::1", 4000), "2001:db8::9", frozenset({0}))
    assert not latch.has_moved
    packet = RtpPacket(0, False, 1, 160, 7, b"x")
    assert latch.accept(("2001:db8::1", 4000), packet, 0.0)
    assert not latch.has_moved, "another spelling is the same address"
    for number in range(5):
        latch.accept(("2001:db8::1", 4010), packet._replace(sequence=2 + number), 1.0)
    assert latch.has_moved
