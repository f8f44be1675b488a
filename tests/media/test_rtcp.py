import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media import rtcp
from bridge.media.rtcp import Goodbye, ReceiverReport, ReportBlock, RtcpError, SenderReport, SourceDescription, parse

BLOCK = ReportBlock(0xCAFEBABE, 64, -2, 0x0001_FFFE, 33, 0xB705_2000, 0x0005_4000)
BLOCK_BYTES = bytes.fromhex("cafebabe 40 fffffe 0001fffe 00000021 b7052000 00054000")
SENDER_BYTES = bytes.fromhex("81c8000c 11223344 b44db705 20000000 0000a0a0 00000003 000001e0") + BLOCK_BYTES
SENDER = SenderReport(0x11223344, 0xB44D_B705_2000_0000, 0xA0A0, 3, 480, (BLOCK,))
RECEIVER_BYTES = bytes.fromhex("81c90007 11223344") + BLOCK_BYTES
SDES_BYTES = bytes.fromhex("81ca0003 11223344 0103 616263 000000")  # "abc" and three zeros to the next word
BYE_BYTES = bytes.fromhex("81cb0002 11223344 03 656e64")  # "end"

WORD = st.integers(0, 0xFFFF_FFFF)
BLOCKS = st.builds(ReportBlock, WORD, st.integers(0, 255), st.integers(-0x80_0000, 0x7F_FFFF), WORD, WORD, WORD, WORD)


def reason_of(datagram: bytes) -> str:
    with pytest.raises(RtcpError) as refused:
        parse(datagram)
    return refused.value.reason


def test_a_sender_report_and_what_follows_it() -> None:
    assert parse(SENDER_BYTES + SDES_BYTES + BYE_BYTES) == (
        SENDER,
        SourceDescription(((0x11223344, "abc"),)),
        Goodbye((0x11223344,), "end"),
    )


def test_a_receiver_report_alone_and_one_without_blocks() -> None:
    assert parse(RECEIVER_BYTES) == (ReceiverReport(0x11223344, (BLOCK,)),)
    assert parse(bytes.fromhex("80c90001 11223344")) == (ReceiverReport(0x11223344),)


def test_what_we_build_is_what_we_know_by_hand() -> None:
    assert rtcp.sender_report(SENDER.ssrc, SENDER.ntp, 0xA0A0, 3, 480, BLOCK) == SENDER_BYTES
    assert rtcp.receiver_report(SENDER.ssrc, BLOCK) == RECEIVER_BYTES
    assert rtcp.source_description(0x11223344, "abc") == SDES_BYTES
    assert rtcp.goodbye(0x11223344, "end") == BYE_BYTES
    assert rtcp.goodbye(0x11223344) == bytes.fromhex("81cb0001 11223344")


@pytest.mark.parametrize(("word", "lost"), [("ff7fffff", 0x7F_FFFF), ("ff800000", -0x80_0000), ("00ffffff", -1)])
def test_the_cumulative_loss_has_a_sign(word: str, lost: int) -> None:
    block = BLOCK_BYTES[:4] + bytes.fromhex(word) + BLOCK_BYTES[8:]
    (report,) = parse(RECEIVER_BYTES[:8] + block)
    assert isinstance(report, ReceiverReport)
    assert (report.blocks[0].fraction_lost, report.blocks[0].cumulative_lost) == (int(word[:2], 16), lost)


def test_unknown_packets_are_passed_over_also_when_they_come_first() -> None:
    app = bytes.fromhex("80cc0002 11223344 6e616d65")
    nack = bytes.fromhex("81cd0003 11223344 cafebabe 00010000")
    extended = bytes.fromhex("80cf0001 11223344")
    assert parse(app) == ()
    assert parse(nack + SDES_BYTES + extended + BYE_BYTES)[1] == Goodbye((0x11223344,), "end")


def test_the_extension_of_a_report_is_passed_over() -> None:
    assert parse(bytes.fromhex("80c90003 11223344 deadbeef deadbeef") + BYE_BYTES)[0] == ReceiverReport(0x11223344)


def test_items_other_than_the_cname_and_empty_chunks_are_passed_over() -> None:
    chunks = bytes.fromhex("00000001 0201ff 0102 6162 00 00000002 00000000 00000003 010163 00")
    assert parse(bytes.fromhex("83ca0007") + chunks) == (SourceDescription(((1, "ab"), (3, "c"))),)


def test_a_name_that_is_no_utf_8_is_no_fault() -> None:
    assert parse(bytes.fromhex("81ca0002 00000001 0101ff00")) == (SourceDescription(((1, "�"),)),)


def test_several_sources_leave_at_once() -> None:
    assert parse(bytes.fromhex("82cb0002 00000001 00000002")) == (Goodbye((1, 2)),)


def test_padding_of_the_last_packet_is_no_part_of_it() -> None:
    padded = bytes.fromhex("a1cb0004 11223344 03 656e64") + bytes.fromhex("00000000 00000008")
    assert parse(SENDER_BYTES + padded) == (SENDER, Goodbye((0x11223344,), "end"))


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "short"),
        (b"\x80\xc9\x00", "short"),
        (SENDER_BYTES + b"\x80", "short"),
        (b"\x40" + SENDER_BYTES[1:], "version"),
        (SENDER_BYTES + b"\0\0\0\0", "version"),
        (b"\x80\x00" + bytes(38), "type"),  # RTP
        (b"\x80\xbf\x00\x00", "type"),
        (b"\x80\xe0\x00\x00", "type"),
        (SENDER_BYTES[:-4], "length"),
        (bytes.fromhex("80cc0003 11223344 6e616d65"), "length"),
        (b"\xa1" + RECEIVER_BYTES[1:-1] + b"\x04", "length"),  # the end of its block is padding
        (b"\x82" + SENDER_BYTES[1:], "length"),  # two blocks said, one there
        (b"\x82" + RECEIVER_BYTES[1:], "length"),
        (bytes.fromhex("80c80005") + bytes(20), "length"),
        (bytes.fromhex("80c90000"), "length"),
        (bytes.fromhex("81cb0000"), "length"),
        (bytes.fromhex("81cb0002 11223344 04 656e64"), "length"),
        (bytes.fromhex("81ca0000"), "length"),
        (bytes.fromhex("82ca0003 11223344 0103 616263 000000"), "length"),
        (bytes.fromhex("81ca0001 11223344"), "item"),
        (bytes.fromhex("81ca0002 11223344 01026162"), "item"),  # no zero at the end
        (bytes.fromhex("81ca0002 11223344 01036162"), "item"),
        (bytes.fromhex("81ca0002 11223344 01016101"), "item"),
        (bytes.fromhex("a0c90001 11223304") + BYE_BYTES, "padding"),  # not the last one
        (bytes.fromhex("a0c90001 11223300"), "padding"),
        (bytes.fromhex("a0c90001 11223303"), "padding"),
        (bytes.fromhex("a0c90001 11223308"), "padding"),
        (bytes.fromhex("a0c90000"), "padding"),
    ],
)
def test_what_is_malformed_says_why(datagram: bytes, reason: str) -> None:
    assert reason_of(datagram) == reason


def test_mutated_datagrams_are_packets_or_an_rtcp_error() -> None:
    chance = random.Random(3550)
    good = [SENDER_BYTES + SDES_BYTES + BYE_BYTES, RECEIVER_BYTES + SDES_BYTES, SDES_BYTES + BYE_BYTES]
    parsed = refused = 0
    for _ in range(24_000):
        datagram = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            datagram[chance.randrange(len(datagram))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.3:
            del datagram[chance.randrange(len(datagram)) :]
        elif chance.random() < 0.2:
            datagram += chance.randbytes(chance.randint(1, 9))
        try:
            parse(bytes(datagram))
        except RtcpError:
            refused += 1
        else:
            parsed += 1
    assert parsed > 2_000
    assert refused > 2_000


@given(st.binary(max_size=120))
def test_any_bytes_are_packets_or_an_rtcp_error(tail: bytes) -> None:
    for head in (b"", b"\x81\xc8\x00\x0c", b"\xa2\xca\x00\x05", b"\xbf\xcb\x00\x03"):
        try:
            packets = parse(head + tail)
        except RtcpError as error:
            assert error.reason in ("short", "version", "type", "length", "padding", "item")
        else:
            assert len(packets) <= len(head + tail) // 4


@given(WORD, st.integers(0, 2**64 - 1), WORD, WORD, WORD, BLOCKS | st.none())
def test_reports_come_back_as_they_were(
    ssrc: int, ntp: int, timestamp: int, packets: int, octets: int, block: ReportBlock | None
) -> None:
    blocks = () if block is None else (block,)
    sent = rtcp.sender_report(ssrc, ntp, timestamp, packets, octets, block)
    assert parse(sent) == (SenderReport(ssrc, ntp, timestamp, packets, octets, blocks),)
    assert parse(rtcp.receiver_report(ssrc, block)) == (ReceiverReport(ssrc, blocks),)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(WORD, NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_names_and_reasons_come_back_as_they_were(ssrc: int, cname: str, reason: str) -> None:
    sent = rtcp.source_description(ssrc, cname) + rtcp.goodbye(ssrc, reason)
    assert parse(sent) == (SourceDescription(((ssrc, cname),)), Goodbye((ssrc,), reason))


def test_counts_wrap_at_32_bits() -> None:
    (report,) = parse(rtcp.sender_report(1, 2, 2**32 + 3, 2**32 + 4, 2**32 + 5, None))
    assert report == SenderReport(1, 2, 3, 4, 5)


def test_a_long_reason_is_cut_between_characters() -> None:
    (goodbye,) = parse(rtcp.goodbye(1, "x" + "é" * 200))
    assert goodbye == Goodbye((1,), "x" + "é" * 127)
    assert parse(rtcp.goodbye(1, "é" * 200)) == (Goodbye((1,), "é" * 127),)


@pytest.mark.parametrize("cname", ["", "x" * 256, "a\0b"])
def test_a_cname_that_does_not_fit_is_refused(cname: str) -> None:
    with pytest.raises(ValueError, match="CNAME"):
        rtcp.source_description(1, cname)


def test_a_random_cname_has_96_bits_and_no_second() -> None:
    names = {rtcp.random_cname() for _ in range(100)}
    assert len(names) == 100
    assert {len(name) for name in names} == {16}


def test_ntp_time_counts_from_1900() -> None:
    assert rtcp.ntp_time(0.0) == 2_208_988_800 << 32
    assert rtcp.ntp_time(1.5) == (2_208_988_801 << 32) + 0x8000_0000
    assert rtcp.ntp_time(2_085_978_496.25) == 0x4000_0000  # 2036: a new era
    assert rtcp.middle(0xB44D_B705_2000_1234) == 0xB705_2000
