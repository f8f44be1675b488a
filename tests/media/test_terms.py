"""A stream whose agreement changes in the call: law, payload types, events; its RTP goes on."""

import struct
from dataclasses import replace
from itertools import pairwise

from bridge.audio.g711 import Law, translation
from bridge.media.codecs import CODECS
from bridge.media.concealment import conceal
from bridge.media.terms import Events, Terms
from tests.media.phone import EVENT, Line, Phone, until


def frame(number: int) -> bytes:
    return bytes((number % 200,)) * 160


class TestAgreement:
    """What a re-INVITE may change, and what goes on all the same."""

    async def test_a_changed_law_keeps_source_numbers_and_time(self) -> None:
        with Line() as line:
            line.stream.playout.push("a", frame(1) + frame(2) + frame(3) + frame(4))
            line.tick(2)
            line.stream.follow(Terms(CODECS["PCMA"], line.phone.address))
            line.tick(3)
            packets = line.phone.received()
            table = translation(Law.PCMU, Law.PCMA)
            assert table is not None
            assert [packet.payload_type for packet in packets] == [0, 0, 0, 8, 8, 8]
            assert [packet.payload for packet in packets[1:]] == [
                frame(1), frame(2), frame(3).translate(table), frame(4).translate(table), b"\xd5" * 160,
            ]  # fmt: skip
            assert len({packet.ssrc for packet in packets}) == 1
            assert {b.sequence - a.sequence & 0xFFFF for a, b in pairwise(packets)} == {1}
            assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in pairwise(packets)} == {160}
            assert line.stream.playout.sent_ms("a") == 80

    async def test_what_waits_behind_a_gap_is_given_in_the_old_law(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            line.phone.writer.packet(frame(2), 0, 160)
            line.phone.send(frame(3))
            await until(lambda: line.stream.stats.packets_in == 2)
            line.stream.follow(Terms(CODECS["PCMA"], line.phone.address))
            assert line.audio == [frame(1), conceal(frame(1), 160, Law.PCMU), frame(3)]
            line.phone.send(frame(4), 8)
            await until(lambda: line.stream.stats.packets_in == 3)
            assert line.audio[3:] == [frame(4)]

    async def test_the_old_law_is_still_understood_and_translated(self) -> None:
        table = translation(Law.PCMU, Law.PCMA)
        assert table is not None
        with Line() as line:
            line.stream.follow(Terms(CODECS["PCMA"], line.phone.address))
            line.phone.send(frame(1), 0)
            line.phone.send(frame(2), 8)
            await until(lambda: len(line.audio) == 2)
            assert line.audio == [frame(1).translate(table), frame(2)]

    async def test_payload_types_of_their_own_each_way(self) -> None:
        terms = dict(payload_type=96, receives={0: CODECS["PCMU"], 8: CODECS["PCMA"]})
        with Line() as line:
            line.phone.received()
            line.stream.follow(Terms(CODECS["PCMU"], line.phone.address, **terms))  # type: ignore[arg-type]
            line.tick(1)
            assert [packet.payload_type for packet in line.phone.received()] == [96]
            line.phone.send(frame(1), 0)
            line.phone.send(frame(2), 8)
            line.phone.send(frame(3), 96)
            await until(lambda: line.stream.stats.packets_in == 3)
            table = translation(Law.PCMA, Law.PCMU)
            assert table is not None
            assert line.audio == [frame(1), frame(2).translate(table)]
            assert line.stream.stats.dropped == {"payload_type": 1}

    async def test_another_payload_type_of_events(self) -> None:
        with Line() as line:
            terms = replace(line.stream.terms, events=Events(96), receive_events=Events(97))
            line.stream.follow(terms)
            line.phone.received()
            line.stream.keypad.press("1")
            line.tick(1)
            assert [packet.payload_type for packet in line.phone.received()] == [96]
            line.phone.send(struct.pack("!BBH", 5, 0x80 | 10, 800), 97, 0)
            line.phone.send(struct.pack("!BBH", 6, 0x80 | 10, 800), EVENT, 0)
            await until(lambda: line.stream.stats.packets_in == 2)
            assert line.digits == ["5"]

    async def test_keys_that_wait_are_lost_when_the_other_side_takes_no_events_any_more(self) -> None:
        with Line() as line:
            line.stream.keypad.press("12")
            line.stream.follow(replace(line.stream.terms, events=None))
            assert not line.stream.keypad.busy
            line.tick(3)
            assert {packet.payload_type for packet in line.phone.received()} == {0}

    async def test_a_refresh_that_changes_nothing_disturbs_nothing(self) -> None:
        with Line(rtp_timeout_s=1) as line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(60)))
            line.tick(2)
            line.phone.received()
            line.stream.follow(replace(line.stream.terms))
            line.tick(2)
            assert [packet.marker for packet in line.phone.received()] == [False, False]
            line.tick(46)
            assert line.timeouts == 1

    async def test_a_new_payload_type_passes_the_guard(self) -> None:
        other = Phone(ssrc=0xBEEF)
        with Line() as line:
            line.stream.follow(Terms(CODECS["PCMU"], other.address, receives={97: CODECS["PCMU"]}))
            other.to = line.phone.to
            other.send(frame(1), 97)
            await until(lambda: line.audio == [frame(1)])
        other.sock.close()
