import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.media.rtp import RtpError, RtpPacket, RtpWriter, parse, sequence_ahead, timestamp_ahead

PLAIN = bytes.fromhex("8000 1234 0000a0a0 cafebabe") + b"\xff" * 160


def test_a_plain_packet_of_pcmu() -> None:
    assert parse(PLAIN) == RtpPacket(0, False, 0x1234, 0xA0A0, 0xCAFEBABE, b"\xff" * 160)


def test_marker_and_payload_type_share_a_byte() -> None:
    packet = parse(bytes.fromhex("80 e5 0001 00000001 00000001 05 8a 0320"))
    assert (packet.marker, packet.payload_type, packet.payload) == (True, 101, b"\x05\x8a\x03\x20")


def test_csrc_extension_and_padding_are_no_payload() -> None:
    head = bytes.fromhex("b2 08 0001 00000002 00000003")
    csrc = b"\x11" * 8
    extension = bytes.fromhex("bede 0001 22222222")
    assert parse(head + csrc + extension + b"audio" + b"\0\0\3").payload == b"audio"


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "short"),
        (PLAIN[:11], "short"),
        (b"\x00" + PLAIN[1:], "version"),
        (b"\x16\xfe\xff" + bytes(40), "version"),  # DTLS
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "version"),  # STUN
        (b"\x80\xc8" + bytes(26), "rtcp"),  # sender report
        (b"\x81\xc9" + bytes(30), "rtcp"),
        (b"\x80\xc9\x00\x01\x00\x00\x00\x01", "rtcp"),  # empty receiver report, shorter than an RTP header
        (b"\x8f" + PLAIN[1:40], "csrc"),
        (b"\x90" + PLAIN[1:14], "extension"),
        (b"\x90" + PLAIN[1:12] + b"\xbe\xde\x00\x02" + bytes(4), "extension"),
        (b"\xa0" + PLAIN[1:12] + b"\x00\x00", "padding"),
        (b"\xa0" + PLAIN[1:12] + b"\x00\x03", "padding"),
        (b"\xa0" + PLAIN[1:12], "padding"),
    ],
)
def test_what_is_no_rtp_says_why(datagram: bytes, reason: str) -> None:
    with pytest.raises(RtpError) as refused:
        parse(datagram)
    assert refused.value.reason == reason


@given(st.binary(max_size=100))
@example(b"\xbf\x00" + bytes(80))
def test_any_bytes_are_a_packet_or_an_rtp_error(datagram: bytes) -> None:
    for candidate in (datagram, b"\x80" + datagram, b"\xbf\x00" + datagram):
        with contextlib.suppress(RtpError):
            assert len(parse(candidate).payload) <= len(candidate) - 12


@given(
    st.integers(0, 63) | st.integers(96, 127),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=480),
)
def test_what_is_written_is_parsed(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> None:
    written = RtpWriter(ssrc, sequence, timestamp).packet(payload, payload_type, 160, marker)
    assert parse(written) == RtpPacket(payload_type, marker, sequence, timestamp, ssrc, payload)


def test_the_writer_wraps_at_16_and_32_bits() -> None:
    writer = RtpWriter(1, 0xFFFF, 0xFFFFFFFF)
    writer.packet(b"", 0, 160)
    assert struct.unpack_from("!HI", writer.packet(b"", 0, 160), 2) == (0, 159)
    writer.timestamp = 0xFFFFFFF0
    writer.skip(32)
    assert (writer.sequence, writer.timestamp) == (1, 16)


def test_a_retracted_packet_leaves_no_hole_in_the_sequence() -> None:
    writer = RtpWriter(1, 0, 0)
    writer.packet(b"", 0, 160)
    writer.retract()
    again = parse(writer.packet(b"", 0, 160))
    assert (again.sequence, again.timestamp) == (0, 160)


@given(st.integers(0, 0xFFFF), st.integers(-0x8000, 0x7FFF))
def test_sequence_distance_over_the_wrap(reference: int, ahead: int) -> None:
    assert sequence_ahead((reference + ahead) & 0xFFFF, reference) == ahead


@given(st.integers(0, 0xFFFFFFFF), st.integers(-0x80000000, 0x7FFFFFFF))
def test_timestamp_distance_over_the_wrap(reference: int, ahead: int) -> None:
    assert timestamp_ahead((reference + ahead) & 0xFFFFFFFF, reference) == ahead
