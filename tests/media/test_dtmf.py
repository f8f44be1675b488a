import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.dtmf import DtmfReceiver, DtmfSender, TelephoneEvent, parse
from bridge.media.rtp import RtpPacket


def event(
    code: int, duration: int, *, ts: int = 1000, end: bool = False, ssrc: int = 1, marker: bool = False
) -> RtpPacket:
    payload = struct.pack("!BBH", code, 0x80 * end | 10, duration)
    return RtpPacket(101, marker, 0, ts & 0xFFFFFFFF, ssrc, payload)


def test_the_payload_of_rfc_4733() -> None:
    assert parse(bytes.fromhex("0b 8a 0320")) == TelephoneEvent(11, True, 10, 800)
    assert parse(bytes.fromhex("0b 0a 03")) is None


def test_a_key_is_told_once_at_its_end_however_often_that_comes() -> None:
    receiver = DtmfReceiver()
    told = [receiver.receive(event(5, d), d / 8000) for d in (160, 320, 480)]
    told += [receiver.receive(event(5, 640, end=True), 0.08) for _ in range(3)]
    assert told == ["", "", "", "5", "", ""]
    assert receiver.due(10.0) == ""
    assert receiver.digits == 1


def test_a_late_packet_of_a_told_key_tells_nothing() -> None:
    receiver = DtmfReceiver()
    assert receiver.receive(event(1, 640, end=True), 0.0) == "1"
    assert receiver.receive(event(2, 160, ts=2000), 0.1) == ""
    assert receiver.receive(event(1, 320), 0.11) == ""
    assert receiver.receive(event(2, 640, ts=2000, end=True), 0.15) == "2"


def test_the_same_key_twice_is_two_digits() -> None:
    receiver = DtmfReceiver()
    assert receiver.receive(event(7, 640, end=True), 0.0) == "7"
    assert receiver.receive(event(7, 640, ts=3000, end=True), 0.2) == "7"


def test_a_lost_end_is_made_up_for_by_the_next_key() -> None:
    receiver = DtmfReceiver()
    receiver.receive(event(1, 320), 0.0)
    assert receiver.receive(event(2, 160, ts=2000), 0.1) == "1"
    assert receiver.receive(event(3, 640, ts=4000, end=True), 0.15) == "23"


def test_a_lost_end_is_made_up_for_by_time_once() -> None:
    receiver = DtmfReceiver(timeout_ms=200)
    receiver.receive(event(9, 320), 1.0)
    assert receiver.next_deadline == pytest.approx(1.2)
    assert receiver.due(1.19) == ""
    assert receiver.due(1.21) == "9"
    assert receiver.next_deadline is None
    assert receiver.due(1.3) == ""
    assert receiver.receive(event(9, 960, end=True), 1.31) == ""


def test_a_stray_of_an_older_key_does_not_cut_the_running_one() -> None:
    receiver = DtmfReceiver()
    receiver.receive(event(2, 160, ts=2000), 0.0)
    assert receiver.receive(event(1, 160, ts=1000), 0.01) == ""
    assert receiver.receive(event(2, 640, ts=2000, end=True), 0.05) == "2"
    assert receiver.digits == 1


def test_a_very_long_key_comes_in_segments_and_is_one() -> None:
    receiver = DtmfReceiver()
    assert receiver.receive(event(4, 0xFFFF, ts=0xFFFFF000), 0.0) == ""
    assert receiver.receive(event(4, 160, ts=0xFFFFF000 + 0xFFFF), 0.02) == ""
    assert receiver.receive(event(4, 320, ts=0xFFFFF000 + 0xFFFF, end=True), 0.04) == "4"
    assert receiver.digits == 1


def test_timestamps_wrap_between_keys() -> None:
    receiver = DtmfReceiver()
    receiver.receive(event(1, 320, ts=0xFFFFFF00), 0.0)
    assert receiver.receive(event(2, 160, ts=500), 0.1) == "1"


def test_another_source_may_use_the_same_timestamp() -> None:
    receiver = DtmfReceiver()
    assert receiver.receive(event(1, 640, end=True), 0.0) == "1"
    assert receiver.receive(event(1, 640, end=True, ssrc=2), 0.1) == "1"


@pytest.mark.parametrize("code", [16, 32, 255])
def test_flash_and_tones_are_no_keys(code: int) -> None:
    receiver = DtmfReceiver()
    assert receiver.receive(event(code, 640, end=True), 0.0) == ""
    assert (receiver.ignored, receiver.digits) == (1, 0)


@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 3), st.booleans()), max_size=50))
def test_any_payload_tells_only_digits(packets: list[tuple[bytes, int, bool]]) -> None:
    receiver = DtmfReceiver()
    for at, (payload, timestamp, marker) in enumerate(packets):
        told = receiver.receive(RtpPacket(101, marker, at, timestamp, 1, payload), at * 0.02)
        assert set(told) <= set("0123456789*#ABCD")
        assert len(told) <= 2


@pytest.mark.parametrize("digit", "0123456789*#ABCDd")
def test_what_the_sender_sends_the_receiver_tells(digit: str) -> None:
    sender, receiver, told = DtmfSender(digit), DtmfReceiver(), ""
    sent = []
    while (pulled := sender.pull()) is not None:
        sent.append(pulled)
        told += receiver.receive(RtpPacket(101, pulled[1], 0, 0, 1, pulled[0]), 0.0)
    assert told == digit.upper()
    events = [parse(payload) for payload, _ in sent]
    assert [e.duration for e in events if e] == [160, 320, 480, 640, 800, 800, 800]
    assert [e.end for e in events if e] == [False] * 4 + [True] * 3
    assert [marker for _, marker in sent] == [True] + [False] * 6
    assert sender.samples == 7 * 160


def test_the_sender_refuses_what_is_no_key() -> None:
    for digit in ("", "12", "x"):
        with pytest.raises(ValueError, match="no telephone key"):
            DtmfSender(digit)
    for duration in (0, 9000):
        with pytest.raises(ValueError, match="one event"):
            DtmfSender("1", duration_ms=duration)
