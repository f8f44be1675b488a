import asyncio
import gc
import random
import socket
import struct
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import uvloop

from bridge.audio.fade import faded
from bridge.audio.g711 import Law, silence
from bridge.media.codecs import CODECS
from bridge.media.dtmf import DtmfSender
from bridge.media.echo import EchoGuard
from bridge.media.endpoint import BATCH
from bridge.media.pacer import Pacer
from bridge.media.ports import PortPool
from bridge.media.rtp import RtpPacket
from bridge.media.stream import BURST, PACKETS_PER_S
from bridge.media.terms import Events
from tests.media.phone import EVENT, HOST, Line, Phone, udp_socket, until
from tests.media.test_ports import free_range

SILENCE = silence(160, Law.PCMU)


def frame(number: int) -> bytes:
    return bytes((number % 200,)) * 160


class TestUp:
    async def test_payloads_reach_the_call_in_order_and_untouched(self) -> None:
        with Line() as line:
            for number in range(20):
                line.phone.send(frame(number))
            await until(lambda: len(line.audio) == 20)
            assert line.audio == [frame(number) for number in range(20)]
            assert line.stream.stats.packets_in == 20
            assert line.stream.stats.dropped == {}

    async def test_a_lost_packet_is_concealed_by_the_slot_clock(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            line.phone.writer.packet(frame(2), 0, 160)
            line.phone.send(frame(3))
            await until(lambda: line.stream.stats.packets_in == 2)
            assert line.audio == [frame(1)]
            line.tick(4)
            assert [len(part) for part in line.audio] == [160, 160, 160]
            assert line.audio[2] == frame(3)
            assert (line.stream.stats.lost, line.stream.stats.concealed_ms) == (1, 20)

    async def test_keys_are_told_once_and_are_silence_to_the_model(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            sender = DtmfSender("5")
            while (pulled := sender.pull()) is not None:
                line.phone.send(pulled[0], EVENT, 0)
            line.phone.writer.skip(sender.samples)
            line.phone.send(frame(2))
            await until(lambda: line.stream.stats.packets_in == 9)
            assert line.digits == ["5"]
            assert b"".join(line.audio) == frame(1) + silence(sender.samples, Law.PCMU) + frame(2)
            assert line.stream.stats.digits == 1
            assert line.stream.stats.lost == 0

    async def test_audio_beside_a_key_is_no_jitter(self) -> None:
        """Baresip goes on talking between the packets of a key, each of which carries the time of its beginning."""
        with Line() as line:
            number, stamp = 0, 8000

            def send(payload: bytes, payload_type: int, timestamp: int) -> None:
                nonlocal number
                number += 1
                line.phone.send_raw(struct.pack("!BBHII", 0x80, payload_type, number, timestamp, 0xFEED) + payload)

            for step in range(30):
                line.now += 0.02
                send(frame(step), 0, stamp + 160 * step)
                if 10 <= step < 20:
                    send(struct.pack("!BBH", 5, 10, 160 * (step - 9)), EVENT, stamp + 1600)
                await until(lambda: line.stream.stats.packets_in == number)
            quality = line.stream.stats.quality()
            assert quality["jitter_in_ms"] == 0 and quality["loss_in"] == 0

    async def test_a_key_whose_ends_are_lost_is_told_by_the_slot_clock(self) -> None:
        with Line() as line:
            line.phone.send(struct.pack("!BBH", 11, 10, 160), EVENT, 0)
            await until(lambda: line.stream.stats.packets_in == 1)
            line.tick(9)
            assert line.digits == []
            line.tick(3)
            assert line.digits == ["#"]

    async def test_comfort_noise_is_no_loss(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            line.phone.send(b"\x40", 13, 1600)
            line.phone.send(frame(2))
            await until(lambda: len(line.audio) == 3)
            assert line.audio[1] == silence(1600, Law.PCMU)
            assert line.stream.stats.lost == 0

    async def test_a_muted_caller_is_silence_in_real_time(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            await until(lambda: len(line.audio) == 1)
            line.tick(100)
            assert 1900 <= line.stream.stats.silence_ms <= 2000

    async def test_payload_types_that_nobody_agreed_on_are_dropped(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            line.phone.send(frame(2), 96)
            await until(lambda: line.stream.stats.packets_in == 2)
            assert line.audio == [frame(1)]
            assert line.stream.stats.dropped == {"payload_type": 1}


class TestGuard:
    async def test_strangers_neither_reach_the_model_nor_redirect(self) -> None:
        with Line(remote=("127.0.0.2", 4000), signalling_host="127.0.0.3") as line:
            for _ in range(50):
                line.phone.send(frame(1))
            await until(lambda: line.stream.stats.dropped == {"stranger": 50})
            assert line.audio == []
            assert line.stream.remote == ("127.0.0.2", 4000)

    async def test_symmetric_rtp_redirects_after_five(self) -> None:
        behind_nat = Phone()
        with Line(remote=("192.168.77.1", 4000), phone=behind_nat) as line:
            for number in range(6):
                behind_nat.send(frame(number))
            await until(lambda: len(line.audio) == 2)
            assert line.stream.remote == behind_nat.address
            line.tick(2)
            assert len(behind_nat.received()) == 2

    async def test_whatever_comes_is_counted_and_the_call_goes_on(self) -> None:
        chance = random.Random(3)
        with Line() as line:
            line.phone.send(frame(1))
            sent = 1
            for number in range(600):
                size = chance.choice([0, 1, 11, 12, 13, 172, 1400, 1501, 8000])
                junk = chance.randbytes(size)
                line.phone.send_raw(junk if number % 2 else b"\x80\x00"[:size] + junk[2:])
                sent += 1
                if number % 20 == 19:
                    stats = line.stream.stats
                    await until(lambda: stats.packets_in + sum(stats.dropped.values()) >= sent)  # noqa: B023
                    line.tick()
            assert {"short", "version", "size"} <= set(line.stream.stats.dropped)
            before = len(line.audio)
            for number in range(3):
                line.phone.send(frame(150 + number))
            await until(lambda: len(line.audio) > before)
            assert line.faults == []

    async def test_rtcp_on_the_port_is_told_apart(self) -> None:
        with Line() as line:
            line.phone.send_raw(b"\x80\xc8\x00\x06" + bytes(24))
            await until(lambda: line.stream.stats.dropped == {"rtcp": 1})

    async def test_a_flood_holds_the_loop_for_a_bounded_batch(self) -> None:
        with Line() as line:
            for number in range(2 * BATCH):
                line.phone.send(frame(number))
            line.stream._endpoint.read()
            assert len(line.audio) == BATCH

    async def test_icmp_errors_are_counted_never_raised(self) -> None:
        class Refusing(socket.socket):
            errors = 2

            def recvfrom(self, *args: int) -> tuple[bytes, object]:  # type: ignore[override]
                if self.errors:
                    self.errors -= 1
                    raise ConnectionRefusedError
                return super().recvfrom(*args)

        with Line(sock=udp_socket(Refusing)) as line:
            line.phone.send(frame(1))
            await until(lambda: line.audio == [frame(1)])
            assert line.stream.stats.dropped == {"icmp": 2}

    async def test_a_call_that_ends_in_its_own_callback_is_over(self) -> None:
        line = Line(on_audio=lambda audio: line.stream.close())
        with line:
            for number in range(5):
                line.phone.send(frame(number))
            await until(lambda: line.sock.fileno() == -1)
            line.tick(3)
            assert line.stream.stats.packets_in == 1
            assert line.stream.stats.dropped == {}


class TestDown:
    async def test_one_packet_per_slot_and_a_marker_where_speech_begins(self) -> None:
        with Line() as line:
            line.tick(2)
            speech = b"".join(frame(number) for number in range(3)) + b"\x11" * 40
            line.stream.playout.push("a", speech)
            line.stream.playout.end("a")
            line.tick(6)
            line.stream.playout.push("b", frame(9))
            line.tick(2)
            packets = line.phone.received()
        assert [packet.payload for packet in packets] == [
            *[SILENCE] * 3, frame(0), frame(1), frame(2), b"\x11" * 40 + SILENCE[:120],
            SILENCE, SILENCE, frame(9), SILENCE,
        ]  # fmt: skip
        assert [at for at, packet in enumerate(packets) if packet.marker] == [0, 3, 9]
        assert {packet.payload_type for packet in packets} == {0}
        assert len({packet.ssrc for packet in packets}) == 1
        first = packets[0]
        for at, packet in enumerate(packets):
            assert packet.sequence == (first.sequence + at) & 0xFFFF
            assert packet.timestamp == (first.timestamp + 160 * at) & 0xFFFFFFFF
        assert line.stream.stats.packets_out == len(packets)

    async def test_start_values_differ_between_calls(self) -> None:
        starts = set()
        for _ in range(3):
            with Line() as line:
                line.tick()
                packet = line.phone.received()[0]
                starts.add((packet.ssrc, packet.sequence, packet.timestamp))
        assert len({ssrc for ssrc, _, _ in starts}) == 3
        assert len({timestamp for _, _, timestamp in starts}) == 3

    async def test_pcma_is_silent_in_its_own_way(self) -> None:
        with Line(codec="PCMA") as line:
            line.stream.playout.push("a", b"\x11" * 40)
            line.stream.playout.end("a")
            line.tick(2)
            packets = line.phone.received()
        assert [packet.payload_type for packet in packets] == [8, 8, 8]
        assert packets[0].payload == b"\xd5" * 160
        assert packets[1].payload == b"\x11" * 40 + b"\xd5" * 120

    async def test_after_a_stall_the_timestamp_is_where_time_is(self) -> None:
        with Line() as line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(10)))
            line.tick(2)
            line.stall(0.1)
            line.tick(2)
            packets = line.phone.received()[1:]
        assert [packet.payload for packet in packets] == [frame(number) for number in range(5)]
        steps = [b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in pairwise(packets)]
        assert steps == [160, 800, 160, 160]
        numbers = [b.sequence - a.sequence & 0xFFFF for a, b in pairwise(packets)]
        assert numbers == [1, 1, 1, 1]
        assert line.stream.stats.skipped == 4

    async def test_barge_in_falls_silent_in_the_very_next_slot_and_the_wire_agrees(self) -> None:
        with Line() as line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(100)))
            line.tick(7)
            heard = line.stream.playout.flush()
            line.tick(3)
            payloads = [packet.payload for packet in line.phone.received()]
        *on_the_wire, fall = [payload for payload in payloads if payload != SILENCE]
        assert on_the_wire == [frame(number) for number in range(7)]
        assert payloads[-3:] == [fall, SILENCE, SILENCE]
        assert fall == faded(frame(7)[:40], Law.PCMU) + SILENCE[:120]
        assert heard[0].sent_ms == 20 * len(on_the_wire)

    async def test_what_the_socket_did_not_take_was_not_heard(self) -> None:
        class Full(socket.socket):
            full = False

            def sendto(self, *args: object) -> int:  # type: ignore[override]
                if self.full:
                    raise BlockingIOError
                return super().sendto(*args)  # type: ignore[call-overload, no-any-return]

        sock = udp_socket(Full)
        with Line(sock=sock) as line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(5)))
            line.stream.playout.end("a")
            line.tick(2)
            sock.full = True  # type: ignore[attr-defined]
            line.tick(3)
            assert line.stream.playout.sent_ms("a") == 40
            sock.full = False  # type: ignore[attr-defined]
            line.tick(3)
            packets = line.phone.received()[1:]
        assert [packet.payload for packet in packets] == [frame(number) for number in range(5)]
        steps = [b.sequence - a.sequence & 0xFFFF for a, b in pairwise(packets)]
        assert steps == [1, 1, 1, 1]
        assert packets[2].timestamp - packets[1].timestamp & 0xFFFFFFFF == 4 * 160
        assert (line.stream.stats.send_failures, line.stream.stats.packets_out) == (3, 6)

    async def test_a_recording_gets_what_left_and_nothing_else(self) -> None:
        with Line() as line:
            sent: list[bytes] = []
            line.stream.on_sent = sent.append
            line.stream.playout.push("a", frame(1))
            line.tick(2)
            assert sent == [packet.payload for packet in line.phone.received()[1:]] == [frame(1), SILENCE]

    @pytest.mark.parametrize("remote", [("0.0.0.0", 4000), (HOST, 0)])
    async def test_nothing_is_sent_to_nowhere(self, remote: tuple[str, int]) -> None:
        with Line(remote=remote) as line:
            line.tick(3)
            assert line.stream.stats.packets_out == line.stream.stats.send_failures == 0


class TestHold:
    @pytest.mark.parametrize("direction", ["recvonly", "inactive"])
    async def test_hold_stops_playout_and_resume_goes_on_in_time(self, direction: str) -> None:
        with Line() as line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(10)))
            line.tick(2)
            line.stream.retarget(line.phone.address, direction=direction)  # type: ignore[arg-type]
            line.tick(50)
            assert line.stream.playout.sent_ms("a") == 40
            line.stream.retarget(line.phone.address)
            line.tick(2)
            packets = line.phone.received()[1:]
        assert [packet.payload for packet in packets] == [frame(number) for number in range(4)]
        assert packets[2].timestamp - packets[1].timestamp & 0xFFFFFFFF == 51 * 160
        assert packets[2].marker

    @pytest.mark.parametrize(("direction", "heard"), [("recvonly", 1), ("inactive", 0), ("sendonly", 0)])
    async def test_audio_counts_only_in_a_direction_that_receives(self, direction: str, heard: int) -> None:
        with Line(direction=direction) as line:
            line.phone.send(frame(1))
            await until(lambda: line.stream.stats.packets_in == 1)
            assert len(line.audio) == heard
            assert line.stream.stats.dropped == ({} if heard else {"direction": 1})

    async def test_the_time_of_a_hold_is_silence(self) -> None:
        with Line() as line:
            line.phone.send(frame(1))
            await until(lambda: len(line.audio) == 1)
            line.stream.retarget(line.phone.address, direction="inactive")
            line.tick(500)
            line.stream.retarget(line.phone.address)
            line.tick(1)
            heard = b"".join(line.audio)
            assert heard[:160] == frame(1) and set(heard[160:]) == {0xFF}
            assert 9900 <= len(heard) // 8 <= 10_020, "ten seconds of call are ten seconds for the model"

    async def test_a_reinvite_moves_the_audio(self) -> None:
        other = Phone(ssrc=0xBEEF)
        with Line() as line:
            line.phone.send(frame(1))
            await until(lambda: len(line.audio) == 1)
            line.tick()
            line.stream.retarget(other.address)
            other.to = line.phone.to
            line.phone.received()
            line.tick(3)
            assert (len(other.received()), line.phone.received()) == (3, [])
            other.send(frame(2))
            await until(lambda: len(line.audio) == 2)
        other.sock.close()


class TestTimeout:
    async def test_is_told_once(self) -> None:
        with Line(rtp_timeout_s=1) as line:
            line.tick(49)
            assert line.timeouts == 0
            line.tick(100)
            assert line.timeouts == 1

    async def test_a_packet_starts_it_over(self) -> None:
        with Line(rtp_timeout_s=1) as line:
            line.tick(40)
            line.phone.send(frame(1))
            await until(lambda: len(line.audio) == 1)
            line.tick(40)
            assert line.timeouts == 0
            line.tick(20)
            assert line.timeouts == 1

    async def test_strangers_and_junk_do_not(self) -> None:
        stranger = Phone()
        with Line(rtp_timeout_s=1, remote=("127.0.0.2", 4000), signalling_host="127.0.0.2") as line:
            stranger.to = line.phone.to
            for _ in range(30):
                stranger.send(frame(1))
                line.phone.send_raw(b"junk")
                line.tick(2)
            await until(lambda: line.stream.stats.dropped.get("stranger") == 60)
            assert line.timeouts == 1
        stranger.sock.close()

    async def test_hold_does_not_count_and_resume_starts_it_over(self) -> None:
        with Line(rtp_timeout_s=1) as line:
            line.stream.retarget(line.phone.address, direction="inactive")
            line.tick(200)
            line.stream.retarget(line.phone.address)
            line.tick(49)
            assert line.timeouts == 0
            line.tick(2)
            assert line.timeouts == 1

    async def test_zero_is_never(self) -> None:
        with Line(rtp_timeout_s=0) as line:
            line.tick(5000)
            assert line.timeouts == 0

    async def test_the_call_may_close_in_it(self) -> None:
        line = Line(rtp_timeout_s=1, on_timeout=lambda: line.stream.close())
        with line:
            line.tick(100)
            assert line.sock.fileno() == -1
            assert line.faults == []


class TestEnd:
    async def test_close_twice_frees_the_port_and_the_clock(self) -> None:
        pool = PortPool(*free_range(2))
        with Line(sock=pool.open(HOST)) as line:
            line.tick(2)
            assert (pool.free, len(line.slots)) == (0, 1)
            line.stream.close()
            line.stream.close()
            assert (pool.free, len(line.slots)) == (1, 0)
            line.phone.received()
            line.tick(5)
            assert line.phone.received() == []

    async def test_close_without_start_frees_the_port(self) -> None:
        pool = PortPool(*free_range(2))
        line = Line(sock=pool.open(HOST))
        line.stream.close()
        line.phone.sock.close()
        assert pool.free == 1

    async def test_a_fault_in_a_slot_is_told_to_its_call(self) -> None:
        with Line(on_timeout=lambda: 1 / 0, rtp_timeout_s=1) as line:
            line.tick(60)
            assert [type(fault) for fault in line.faults] == [ZeroDivisionError]
            assert len(line.slots) == 0


def test_counts_are_flat_ints() -> None:
    async def talk() -> dict[str, int]:
        with Line() as line:
            line.phone.send_raw(b"x")
            line.phone.send(frame(1))
            await until(lambda: len(line.audio) == 1)
            return line.stream.stats.counts()

    counts = asyncio.run(talk())
    assert (counts["packets_in"], counts["packets_out"], counts["dropped.short"], counts["lost"]) == (1, 1, 1, 0)
    assert all(type(count) is int for count in counts.values())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_loops_carry_a_call_on_the_real_clock(loop_factory: object) -> None:
    async def talk() -> None:
        pacer, phone, audio = Pacer(), Phone(), bytearray()
        line = Line(phone=phone, pacer=pacer, clock=time.monotonic, on_audio=audio.extend)
        with line:
            line.stream.playout.push("a", b"".join(frame(number) for number in range(5)))
            line.stream.playout.end("a")
            for number in range(5):
                phone.send(frame(number))
            await until(lambda: line.stream.playout.drained and len(audio) == 800)
        pacer.close()
        sent = [frame(number) for number in range(5)]
        assert bytes(audio) == b"".join(sent)

    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
        runner.run(talk())


class TestBudget:
    async def test_more_packets_than_a_caller_may_send_are_a_flood(self) -> None:
        with Line() as line:
            for _ in range(BURST + 300):
                line.stream._receive(RtpPacket(0, False, line.phone.writer.sequence, 0, 7, b"x" * 8), line.now)
            assert line.stream.stats.dropped == {"flood": 300}
            line.tick(50)
            for _ in range(300):
                line.stream._receive(RtpPacket(0, False, line.phone.writer.sequence, 0, 7, b"x" * 8), line.now)
            assert line.stream.stats.dropped == {"flood": 300 + 300 - PACKETS_PER_S}

    async def test_packets_of_ten_milliseconds_are_no_flood(self) -> None:
        with Line(ptime_ms=10) as line:
            for number in range(1000):
                line.stream._receive(RtpPacket(0, False, number, 80 * number, 7, b"x" * 80), line.now)
                line.tick() if number % 2 else None
            assert line.stream.stats.dropped == {}
            assert line.stream.stats.flooded == 0


class TestGuards:
    async def test_a_new_guard_keeps_the_counts_of_the_one_before_and_nothing_else(self) -> None:
        with Line() as line:
            for _ in range(3):
                guard = EchoGuard(Law.PCMU)
                line.stream.unfilter()
                line.stream.guard(guard)
            assert line.stream.stats.guard is guard
            kept = [one for one in gc.get_objects() if isinstance(one, EchoGuard)]
            assert len(kept) == 1


class TestPayloadTypes:
    async def test_from_the_callers_address_what_was_not_agreed_on_is_no_stranger(self) -> None:
        with Line() as line:
            line.phone.send(frame(1), 8)
            await until(lambda: bool(line.stream.stats.dropped))
            assert line.stream.stats.dropped == {"payload_type": 1}

    async def test_a_number_that_means_events_now_is_no_codec_any_more(self) -> None:
        with Line(receives={0: CODECS["PCMU"], 101: CODECS["PCMA"]}, receive_events=None) as line:
            line.stream.follow(replace(line.stream.terms, receives={0: CODECS["PCMU"]}, receive_events=Events(101)))
            line.phone.send(struct.pack("!BBH", 5, 0x80 | 10, 800), 101, 0)
            await until(lambda: line.stream.stats.packets_in == 1)
            assert line.digits == ["5"]
