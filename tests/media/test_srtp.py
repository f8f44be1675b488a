"""Protected RTP both ways through the real library: forged, repeated, re-keyed, and no key in sight."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import pytest

from bridge.audio.g711 import Law
from bridge.media.rtp import RtpError, RtpWriter, parse
from bridge.media.srtp import MAX_SSRCS, SUITES, Keys, Opener, Sealer
from bridge.sip import sdes
from tests.media.phone import EVENT, Line, udp_socket, until

SIZES = sdes.SUITES
SUITE = "AES_CM_128_HMAC_SHA1_80"


def keys(suite: str = SUITE) -> Keys:
    return Keys(suite, os.urandom(SIZES[suite]), os.urandom(SIZES[suite]))


def frame(number: int) -> bytes:
    return bytes((number,)) * 160


def packet(sequence: int, payload: bytes = frame(1), ssrc: int = 7) -> bytes:
    return RtpWriter(ssrc, sequence, 160 * sequence).packet(payload, 0, 160)


def reason_of(opener: Opener, datagram: bytes) -> str:
    with pytest.raises(RtpError) as caught:
        opener.open(datagram)
    return caught.value.reason


def test_the_suites_are_those_of_the_descriptions() -> None:
    assert set(SUITES) == set(sdes.SUITES)


@pytest.mark.parametrize("suite", SUITES)
def test_what_is_sealed_opens_with_the_same_key_only(suite: str) -> None:
    key = os.urandom(SIZES[suite])
    plain = packet(1)
    sealed = Sealer(suite, key).seal(plain)
    assert plain[12:] not in sealed and len(sealed) > len(plain)
    assert Opener(suite, key).open(sealed) == parse(plain)
    assert reason_of(Opener(suite, os.urandom(SIZES[suite])), sealed) == "srtp_auth"


def test_what_was_changed_or_sent_again_stays_outside() -> None:
    key = os.urandom(30)
    sealer, opener = Sealer(SUITE, key), Opener(SUITE, key)
    first, second = sealer.seal(packet(1)), sealer.seal(packet(2))
    for at in (1, 5, 20, len(first) - 1):
        assert reason_of(opener, first[:at] + bytes((first[at] ^ 1,)) + first[at + 1 :]) == "srtp_auth"
    assert opener.open(second).sequence == 2
    assert opener.open(first).sequence == 1
    assert reason_of(opener, second) == reason_of(opener, first) == "srtp_replay"
    far = [sealer.seal(packet(number)) for number in range(3, 400)]
    opener.open(far[-1])
    assert reason_of(opener, far[0]) == "srtp_replay"


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "short"),
        (b"\x80" * 11, "short"),
        (b"\x00" * 40, "version"),
        (b"\x80\xc8" + bytes(40), "rtcp"),
        (packet(1), "srtp_auth"),
        (b"\x8f" + packet(1)[1:], "srtp_auth"),
        (b"\x90" + packet(1)[1:40], "srtp_auth"),
        (bytes(12), "version"),
        (b"\x80" + bytes(1499), "srtp_auth"),
    ],
)
def test_anything_else_has_its_reason(datagram: bytes, reason: str) -> None:
    for suite in SUITES:
        assert reason_of(Opener(suite, bytes(SIZES[suite])), datagram) == reason


def test_one_key_protects_a_bounded_number_of_sources() -> None:
    key = os.urandom(30)
    opener, sealer = Opener(SUITE, key), Sealer(SUITE, key)
    for ssrc in range(MAX_SSRCS):
        opener.open(sealer.seal(packet(1, ssrc=ssrc)))
    assert reason_of(opener, sealer.seal(packet(1, ssrc=99999))) == "srtp_source"
    assert opener.open(sealer.seal(packet(2, ssrc=3))).ssrc == 3


def test_no_key_is_in_a_repr() -> None:
    made = keys()
    assert repr(made.send) not in repr(made) and repr(made.receive) not in repr(made)


class TestStream:
    async def test_audio_and_keys_go_both_ways(self) -> None:
        agreed = keys()
        theirs, ours = Sealer(SUITE, agreed.receive), Opener(SUITE, agreed.send)
        with Line(keys=agreed) as line:
            line.phone.send_raw(theirs.seal(line.phone.writer.packet(frame(1), 0, 160)))
            await until(lambda: line.audio == [frame(1)])
            line.stream.playout.push("a", frame(2))
            line.tick(3)
            line.stream.keypad.press("5")
            line.tick(2)
            opened = [ours.open(datagram) for datagram in datagrams(line)]
            assert frame(2) in [packet.payload for packet in opened]
            assert {packet.payload_type for packet in opened} == {0, EVENT}

    async def test_plain_packets_and_replays_are_dropped_and_counted(self) -> None:
        agreed = keys()
        theirs = Sealer(SUITE, agreed.receive)
        with Line(keys=agreed) as line:
            line.phone.send(frame(9))
            sealed = theirs.seal(line.phone.writer.packet(frame(1), 0, 160))
            line.phone.send_raw(sealed)
            line.phone.send_raw(sealed)
            await until(lambda: line.stream.stats.dropped == {"srtp_auth": 1, "srtp_replay": 1})
            assert line.audio == [frame(1)]

    async def test_new_keys_begin_anew_and_the_old_ones_are_worth_nothing(self) -> None:
        old, new = keys(), keys()
        with Line(keys=old) as line:
            line.tick(2)
            before = [Opener(SUITE, old.send).open(datagram) for datagram in datagrams(line)]
            line.stream.follow(replace(line.stream.terms, keys=new))
            line.tick(2)
            opener = Opener(SUITE, new.send)
            after = [opener.open(datagram) for datagram in datagrams(line)]
            assert {packet.ssrc for packet in before} == {packet.ssrc for packet in after}
            assert after[0].sequence == (before[-1].sequence + 1) & 0xFFFF
            line.phone.send_raw(Sealer(SUITE, old.receive).seal(packet(1)))
            line.phone.send_raw(Sealer(SUITE, new.receive).seal(packet(1)))
            await until(lambda: line.audio == [frame(1)])
            assert line.stream.stats.dropped == {"srtp_auth": 1}

    async def test_a_reinvite_with_the_same_keys_goes_on_counting(self) -> None:
        agreed = keys()
        theirs, ours = Sealer(SUITE, agreed.receive), Opener(SUITE, agreed.send)
        line = Line(keys=agreed)
        line.stream._down.writer.sequence = 0xFFFF
        with line:
            sealed = theirs.seal(packet(1))
            line.phone.send_raw(sealed)
            await until(lambda: line.audio == [frame(1)])
            line.tick(2)
            assert [ours.open(datagram).sequence for datagram in datagrams(line)] == [0xFFFF, 0, 1]
            line.stream.follow(replace(line.stream.terms, direction="sendonly"))
            line.stream.follow(replace(line.stream.terms, direction="sendrecv"))
            line.tick(1)
            # A context that began anew would have forgotten that the numbers have wrapped.
            assert [ours.open(datagram).sequence for datagram in datagrams(line)] == [2]
            line.phone.send_raw(sealed)
            await until(lambda: line.stream.stats.dropped.get("srtp_replay") == 1)

    async def test_a_stream_may_become_plain_and_protected_again(self) -> None:
        agreed = keys()
        with Line() as line:
            line.tick(1)
            line.stream.follow(replace(line.stream.terms, keys=agreed))
            line.tick(1)
            line.stream.follow(replace(line.stream.terms, keys=None))
            line.tick(1)
            assert [len(datagram) for datagram in datagrams(line)] == [172, 172, 182, 172]
            line.phone.send(frame(1))
            await until(lambda: line.audio == [frame(1)])

    async def test_a_number_is_never_sealed_twice(self) -> None:
        class Full(socket.socket):
            full = False

            def sendto(self, *args: object) -> int:  # type: ignore[override]
                if self.full:
                    raise BlockingIOError
                return super().sendto(*args)  # type: ignore[call-overload, no-any-return]

        sock, agreed = udp_socket(Full), keys()
        with Line(sock=sock, keys=agreed) as line:
            line.stream.playout.push("a", frame(1) + frame(2) + frame(3))
            line.tick(1)
            sock.full = True  # type: ignore[attr-defined]
            line.tick(2)
            sock.full = False  # type: ignore[attr-defined]
            line.tick(2)
            opener = Opener(SUITE, agreed.send)
            opened = [opener.open(datagram) for datagram in datagrams(line)]
            assert line.faults == []
        assert [packet.payload for packet in opened][1:] == [frame(1), frame(2), frame(3)]
        assert (opened[-1].sequence - opened[0].sequence) & 0xFFFF == 5

    async def test_without_keys_nothing_stands_between_stream_and_socket(self) -> None:
        with Line() as line:
            assert line.stream._endpoint.send == line.stream._endpoint._send
            assert line.stream._endpoint._parse is parse
            assert line.stream.audio_format is Law.PCMU


def datagrams(line: Line) -> list[bytes]:
    """What the phone has got since the last time, as it came."""
    found = []
    while True:
        try:
            found.append(line.phone.sock.recv(2048))
        except BlockingIOError:
            return found
