"""An hour of call on clocks of our own: what the model was given is as long as the call, and what left keeps time."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from bridge.audio.g711 import Law, decode
from bridge.audio.level import rms
from bridge.media.codecs import CODECS
from bridge.media.incoming import Incoming
from bridge.media.jitter import JitterBuffer
from bridge.media.pacer import PERIOD, SlotClock
from bridge.media.rtp import RtpPacket, parse
from bridge.media.stats import MediaStats
from bridge.media.stream import MediaStream
from bridge.media.terms import Terms
from bridge.media.timeline import QUIET

HOUR = 180_000
"""Slots."""
FRAME_MS = 20
SETTLED_S = 30.0
LOUD, SOFT = 0x80, 0xF0
"""Code words of µ-law: the loudest sixteen, and sixteen that nobody hears."""


def payload(number: int, code: int) -> bytes:
    """A frame that tells its number, loud or soft."""
    return bytes(code | number >> shift & 15 for shift in (16, 12, 8, 4, 0)) * 32


def test_the_frames_are_loud_and_soft() -> None:
    assert rms(decode(payload(HOUR - 1, LOUD), Law.PCMU)) > 50 * QUIET
    assert 0 < rms(decode(payload(HOUR - 1, SOFT), Law.PCMU)) < QUIET


class Sent(NamedTuple):
    """A packet on its way: when it comes, its place in the sequence, and the slots of the phone before it."""

    at: float
    number: int
    slot: int
    payload: bytes


@dataclass
class Caller:
    """A phone whose clock is `ppm` too fast (below 0: too slow) behind a network with jitter and loss."""

    ppm: float = 0
    jitter_s: float = 0
    loss: float = 0
    pauses: bool = False
    """Whether it sends nothing while nobody speaks: 0.2 to 8 s at a time."""
    seed: int = 1

    @property
    def slot_s(self) -> float:
        """One slot of the phone, on our clock."""
        return PERIOD / (1 + self.ppm * 1e-6)

    def packets(self, slots: int = HOUR) -> list[Sent]:
        """All that arrive, in order of arrival."""
        dice = random.Random(self.seed)
        sent = []
        for number, slot in enumerate(self._slots(slots, dice)):
            if number and dice.random() < self.loss:
                continue
            late = dice.random() * self.jitter_s if number else 0
            code = LOUD if slot % 10 < 8 else SOFT
            sent.append(Sent(slot * self.slot_s + late, number, slot, payload(number, code)))
        return sorted(sent)

    def _slots(self, slots: int, dice: random.Random) -> Iterator[int]:
        """Those in which it sends."""
        slot = 0
        while slot < slots:
            talk = dice.randrange(10, 400) if self.pauses else slots
            yield from range(slot, min(slot + talk, slots))
            slot += talk + dice.randrange(10, 400)


class Ear:
    """What the model is given of one caller, judged as it comes."""

    def __init__(self, slot_s: float) -> None:
        self.stats = MediaStats(JitterBuffer(Law.PCMU))
        self.up = Incoming(Terms(CODECS["PCMU"], ("192.0.2.1", 4000)), self.stats, self._hear, self._digit)
        self.given_ms = 0.0
        self.numbers: list[int] = []
        """Of the packets that came through untouched."""
        self.errors: list[tuple[float, float]] = []
        """By how many milliseconds too much was given at the end of each of them; with the time of the call."""
        self._slot_s = slot_s
        self._sent: dict[bytes, Sent] = {}
        self._now = 0.0
        self._tick = 0.013

    def listen(self, packets: list[Sent]) -> None:
        """Each packet at its time, the slots of our clock between them."""
        for sent in packets:
            self.wait(sent.at)
            self._sent[sent.payload] = sent
            timestamp = 0xFFFF_0000 + 160 * sent.slot
            self.take(RtpPacket(0, False, 65_000 + sent.number & 0xFFFF, timestamp & 0xFFFF_FFFF, 1, sent.payload))

    def wait(self, until: float) -> None:
        """The slots of our clock before `until`."""
        while self._tick < until:
            self._now = self._tick
            self.up.due(self._tick)
            self._tick += PERIOD
        self._now = until

    def hang_up(self) -> None:
        """The last packets may wait behind a gap."""
        self.wait(self._now + 0.1)

    def take(self, packet: RtpPacket) -> None:
        self.up.receive(packet, self._now)

    @property
    def worst_ms(self) -> float:
        """Furthest off once the call has settled."""
        return max(abs(error) for at, error in self.errors if at >= SETTLED_S)

    def _hear(self, audio: bytes) -> None:
        assert audio
        self.given_ms += len(audio) / 8
        sent = self._sent.get(audio)
        if sent is not None:
            self.numbers.append(sent.number)
            self.errors.append((self._now, self.given_ms - (sent.slot + 1) * self._slot_s * 1000))

    def _digit(self, digit: str) -> None:
        raise AssertionError(digit)


def heard(caller: Caller) -> tuple[Ear, list[Sent]]:
    """An hour of it."""
    ear, packets = Ear(caller.slot_s), caller.packets()
    ear.listen(packets)
    ear.hang_up()
    return ear, packets


class TestPhonesWithClocksOfTheirOwn:
    @pytest.mark.parametrize("pauses", [False, True])
    @pytest.mark.parametrize(("jitter_s", "loss"), [(0, 0), (0.060, 0.01)])
    def test_with_our_own_clock_nothing_is_put_in_or_left_out(self, pauses: bool, jitter_s: float, loss: float) -> None:
        ear, packets = heard(Caller(0, jitter_s, loss, pauses))
        line = ear.stats.jitter.line
        assert (line.drift_inserted_ms, line.drift_dropped_ms, ear.stats.resyncs) == (0, 0, 0)
        assert ear.numbers == sorted(sent.number for sent in packets)
        assert ear.worst_ms < 0.001
        assert ear.stats.lost == max(sent.number for sent in packets) + 1 - len(packets)

    @pytest.mark.parametrize("pauses", [False, True])
    @pytest.mark.parametrize("ppm", [100, -100, 300, -300])
    def test_milliseconds_of_the_call_are_milliseconds_of_audio(self, ppm: int, pauses: bool) -> None:
        ear, packets = heard(Caller(ppm, 0.060, 0.01, pauses))
        line = ear.stats.jitter.line
        assert ear.worst_ms <= FRAME_MS
        assert abs(ear.stats.drift_ms + 3.6 * ppm) <= FRAME_MS
        # Hardly ever the wrong way round, and never in a word.
        assert min(line.drift_inserted_ms, line.drift_dropped_ms) <= 3 * FRAME_MS
        assert ear.numbers == sorted(set(ear.numbers))
        left_out = {sent.number for sent in packets} - set(ear.numbers)
        if not pauses:  # else some of it was left out of the silence
            assert len(left_out) * FRAME_MS == line.drift_dropped_ms
        assert all(sent.payload[0] >= SOFT for sent in packets if sent.number in left_out)
        assert ear.stats.resyncs == 0
        assert ear.stats.lost == max(sent.number for sent in packets) + 1 - len(packets)


class TestStalls:
    def stalled(self, stall_ms: int, every: int = 3000) -> tuple[Ear, list[Sent]]:
        """Ten minutes in which the network stops each minute, and then brings everything at once."""
        packets = []
        for sent in Caller().packets(30_000):
            into = sent.slot % every * PERIOD - 20
            late = stall_ms / 1000 - into if 0 <= into < stall_ms / 1000 else 0.0
            packets.append(sent._replace(at=sent.at + late))
        ear = Ear(PERIOD)
        ear.listen(packets)
        return ear, packets

    @pytest.mark.parametrize(("stall_ms", "within_s"), [(220, 4), (300, 4.5), (500, 6), (900, 9), (3000, 21)])
    def test_the_silence_that_flowed_is_given_back_and_no_word_is_lost(self, stall_ms: int, within_s: float) -> None:
        ear, packets = self.stalled(stall_ms)
        flowed = [at for at, error in ear.errors if error > FRAME_MS]
        assert flowed
        # 2 s to see it; then each soft frame that comes is left out.
        assert max((at - 20) % 60 for at in flowed) < within_s
        assert abs(ear.errors[-1][1]) <= FRAME_MS
        loud = {sent.number for sent in packets if sent.payload[0] < SOFT}
        assert loud <= set(ear.numbers)
        assert ear.numbers == sorted(set(ear.numbers))
        assert ear.stats.drift_ms < 0 == ear.stats.jitter.line.drift_inserted_ms
        assert (ear.stats.lost, ear.stats.late, ear.stats.resyncs) == (0, 0, 0)

    def test_a_stall_too_short_for_silence_leaves_everything_as_it_is(self) -> None:
        ear, packets = self.stalled(190)
        assert ear.numbers == [sent.number for sent in packets]
        assert (ear.stats.drift_ms, ear.stats.silence_ms, ear.errors[-1][1]) == (0, 0, 0)


MUTED = 31_000
"""Packets with ten mutes between them."""


class TestMute:
    def muted(self, mute_s: float, jitter_s: float) -> Ear:
        """Each minute the phone is mute for a while, and so are its timestamps."""
        ear, dice = Ear(PERIOD), random.Random(5)
        at = 0.0
        for number in range(MUTED):
            at += PERIOD + (mute_s if number % 3000 == 2999 else 0)
            ear.wait(at + dice.random() * jitter_s if number else at)
            sent = Sent(at, number, round(at / PERIOD) - 1, payload(number, LOUD if number % 10 < 8 else SOFT))
            ear._sent[sent.payload] = sent
            ear.take(RtpPacket(0, False, number & 0xFFFF, 160 * number, 1, sent.payload))
        return ear

    @pytest.mark.parametrize("jitter_s", [0, 0.019])
    @pytest.mark.parametrize("mute_s", [0.5, 3, 25])
    def test_a_pause_that_the_phone_does_not_count_stays_a_pause(self, mute_s: float, jitter_s: float) -> None:
        ear = self.muted(mute_s, jitter_s)
        assert ear.stats.jitter.line.drift_dropped_ms == 0
        assert ear.numbers == list(range(MUTED))
        # Silence flows 60 to 80 ms behind the clock; that much is put in afterwards.
        assert 10 * (mute_s * 1000 - 80) <= ear.stats.silence_ms <= 10 * mute_s * 1000
        assert abs(ear.errors[-1][1]) <= FRAME_MS


class Wire(socket.socket):
    """A socket that keeps what it should send, with the clock's time."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.now = 0.0
        self.sent: list[tuple[float, RtpPacket]] = []

    def sendto(self, datagram: bytes, *_: object) -> int:  # type: ignore[override]
        self.sent.append((self.now, parse(datagram)))
        return len(datagram)


def drop(_: object) -> None:
    """Nobody listens."""


def test_an_hour_of_slots_has_no_drift_and_never_two_packets_in_one() -> None:
    dice, wire, clock = random.Random(9), Wire(), SlotClock()
    stream = MediaStream(
        sock=wire,
        pacer=clock,
        terms=Terms(CODECS["PCMU"], ("192.0.2.1", 4000)),
        signalling_host="192.0.2.1",
        on_audio=drop,
        on_digit=drop,
        on_timeout=lambda: None,
        rtp_timeout_s=0,
        clock=lambda: wire.now,
    )
    stream._join_clock()
    stalls = {dice.randrange(HOUR): dice.uniform(0.021, 2.5) for _ in range(40)}
    slot, start = 0, 5000.0
    wire.now = start
    while wire.now < start + HOUR * PERIOD:
        deadline = clock.run(lambda: wire.now)
        assert deadline is not None
        # Timers ring late, mostly a little; sometimes the whole machine stands still.
        late = dice.expovariate(1000) if dice.random() < 0.99 else dice.uniform(0, 0.015)
        wire.now = max(wire.now, deadline) + late + stalls.pop(slot, 0)
        slot += 1
    stream.close()
    assert not stalls
    elapsed = [(packet.timestamp - wire.sent[0][1].timestamp & 0xFFFF_FFFF) // 160 for _, packet in wire.sent]
    assert len(elapsed) + stream.stats.skipped == elapsed[-1] + 1
    assert HOUR - 130 <= elapsed[-1] <= HOUR
    assert stream.stats.skipped > 500
    assert elapsed == sorted(set(elapsed))
    # Each packet is in its slot: late by what the timer was, and in the last minutes no later than in the first.
    first = wire.sent[0][0]
    late = [at - first - count * PERIOD for (at, _), count in zip(wire.sent, elapsed, strict=True)]
    assert min(late) >= -0.0011 and max(late) < PERIOD + 0.016
    assert abs(min(late[-10_000:]) - min(late[:10_000])) < 0.0005
    numbers = [packet.sequence - wire.sent[0][1].sequence & 0xFFFF for _, packet in wire.sent]
    assert numbers == [count & 0xFFFF for count in range(len(numbers))]
