"""Noise on the ports of a call, through all that a datagram meets: nothing breaks, grows, or touches the caller."""

from __future__ import annotations

import gc
import random
import struct
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.media import rtcp
from bridge.media.codecs import CODECS
from bridge.media.endpoint import LARGEST
from bridge.media.pacer import PERIOD, SlotClock
from bridge.media.rtcp import ReportBlock
from bridge.media.rtp import RtpWriter
from bridge.media.srtp import MAX_SSRCS, Keys, Sealer
from bridge.media.stream import MediaStream
from bridge.media.terms import Events, Rtcp, Terms

CALLER, CONTROL = ("192.0.2.10", 4000), ("192.0.2.10", 4001)
STRANGERS = [("192.0.2.10", 4002), ("192.0.2.10", 65535), ("192.0.2.99", 4000), ("198.51.100.1", 5)]
"""Others on the caller's own host too, as behind a PBX."""
EVENT, CN = 101, 13
SSRC = 0xFEED
QUICK, LONG = 30_000, 1_000_000
"""Datagrams."""
PER_SLOT = 10
CATCH_UP = 110
"""Packets after which a stream is whole again, whatever numbers somebody sent in its name."""
SUITE = "AEAD_AES_128_GCM"
KEYS = Keys(SUITE, b"s" * 28, b"r" * 28)
REASONS = {
    *("stranger", "size", "payload_type", "icmp", "rtcp"),
    *("short", "version", "csrc", "extension", "padding", "srtp_auth", "srtp_replay", "srtp_source"),
    *(f"rtcp_{reason}" for reason in ("short", "version", "type", "length", "padding", "item")),
}
EXTREMES = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
JUMPS = (-40_000, -3001, -101, -100, -50, -1, 0, 1, 2, 50, 100, 101, 2999, 3001, 32_768)


class Wire:
    """A socket in name only: datagrams that wait to be read; what is sent is counted."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.sent = 0

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError
        datagram, source = self.waiting.popleft()
        return datagram[:size], source

    def sendto(self, datagram: bytes, _: object) -> int:
        self.sent += 1
        return len(datagram)

    def close(self) -> None:
        """Nothing is open."""


class Dice:
    """Datagrams of every kind that belong to a call, and what spoils them. Seeded."""

    def __init__(self, seed: int, codec: str, our_ssrc: int) -> None:
        self.luck = random.Random(seed)
        self._opus = codec == "OPUS"
        self._ours = our_ssrc
        self._writer = RtpWriter(SSRC, 100, 1000)
        self._sealer = Sealer(SUITE, KEYS.send)  # of a key that is not the caller's
        self._makers: list[Callable[[], bytes]] = [self._audio, self._audio, self._event, self._dressed, self._report]
        self._spoilers: list[Callable[[bytearray], None]] = [
            *(self._flip, self._cut, self._lengthen, self._first_bytes, self._numbers, self._source),
            *(self._payload, self._words, lambda _: None),
        ]

    def follow(self, caller: RtpWriter) -> None:
        """From now on in the caller's name, with his numbers of now."""
        self._writer.sequence, self._writer.timestamp = caller.sequence, caller.timestamp

    def datagram(self) -> bytes:
        made = bytearray(self.luck.choice(self._makers)())
        for _ in range(self.luck.choice((1, 1, 2))):
            self.luck.choice(self._spoilers)(made)
        if self.luck.random() < 0.05 and len(made) >= 12:
            return self._sealed(bytes(made))
        return bytes(made)

    def _sealed(self, datagram: bytes) -> bytes:
        try:
            return self._sealer.seal(datagram)
        except Exception:  # noqa: BLE001 - the library takes no packet that is none
            return datagram

    def _audio(self) -> bytes:
        payload_type = self.luck.choice((0, 8, 9, 96, 96, CN, self.luck.randrange(128)))
        size = self.luck.choice((0, 1, 2, 40, 160, 160, 480, 1400))
        return self._writer.packet(self.luck.randbytes(size), payload_type, 160, self.luck.random() < 0.1)

    def _event(self) -> bytes:
        duration = self.luck.choice((0, 1, 160, 800, 0x7FFF, 0xFFFF, self.luck.randrange(0x10000)))
        event = self.luck.choice((self.luck.randrange(17), self.luck.randrange(256)))
        payload = struct.pack("!BBH", event, self.luck.randrange(256), duration)[: self.luck.choice((4, 4, 4, 0, 3))]
        return self._writer.packet(payload, EVENT, self.luck.choice((0, 160)), self.luck.random() < 0.3)

    def _dressed(self) -> bytes:
        """With contributing sources, extension and padding."""
        plain, sources, words = self._audio(), self.luck.randrange(16), self.luck.choice((0, 1, 5, 0xFFFF))
        flags = 0x80 | self.luck.choice((0x00, 0x10, 0x20, 0x30)) | sources
        rest = self.luck.randbytes(4 * self.luck.choice((sources, 0)))
        extension = struct.pack("!HH", 0xBEDE, words) + self.luck.randbytes(4 * min(words, 5))
        return bytes((flags,)) + plain[1:12] + rest + extension + plain[12:] + bytes((self.luck.randrange(256),))

    def _report(self) -> bytes:
        extreme = self.luck.choice
        block = ReportBlock(
            self.luck.choice((self._ours, 7)),
            self.luck.randrange(256),
            self.luck.choice((-0x80_0000, -1, 0, 0x7F_FFFF)),
            *(extreme(EXTREMES) for _ in range(4)),
        )
        source = self.luck.choice((SSRC, 8))
        ntp = extreme(EXTREMES) << 32 | extreme(EXTREMES)
        first = self.luck.choice((
            rtcp.sender_report(source, ntp, extreme(EXTREMES), extreme(EXTREMES), extreme(EXTREMES), block),
            rtcp.receiver_report(source, block),
            struct.pack("!BBHI", 0x80, self.luck.randrange(192, 224), 1, source),
        ))  # fmt: skip
        more = rtcp.source_description(source, "x" * self.luck.randrange(1, 20)) if self.luck.random() < 0.6 else b""
        return first + more + (rtcp.goodbye(source, "off") if self.luck.random() < 0.1 else b"")

    def _flip(self, made: bytearray) -> None:
        for _ in range(self.luck.randrange(1, 6)):
            if made:
                made[self.luck.randrange(len(made))] ^= 1 << self.luck.randrange(8)

    def _cut(self, made: bytearray) -> None:
        del made[self.luck.randrange(len(made) + 1) :]

    def _lengthen(self, made: bytearray) -> None:
        made += self.luck.randbytes(self.luck.choice((1, 4, 100, LARGEST)))

    def _first_bytes(self, made: bytearray) -> None:
        made[:2] = self.luck.randbytes(2)

    def _numbers(self, made: bytearray) -> None:
        """Jumps of sequence and timestamp; in RTCP, lengths."""
        if len(made) >= 12:
            number = int.from_bytes(made[2:4]) + self.luck.choice(JUMPS)
            made[2:4] = (number & 0xFFFF).to_bytes(2)
            if self.luck.random() < 0.5:
                time = int.from_bytes(made[4:8]) + self.luck.choice((1, -1)) * self.luck.choice((*EXTREMES, 160, 9000))
                made[4:8] = (time & 0xFFFF_FFFF).to_bytes(4)

    def _source(self, made: bytearray) -> None:
        made[8:12] = self.luck.randrange(6).to_bytes(4) if self.luck.random() < 0.9 else self.luck.randbytes(4)

    def _payload(self, made: bytearray) -> None:
        """The first bytes of Opus say how many frames of what length follow."""
        made[12:14] = self.luck.randbytes(2)

    def _words(self, made: bytearray) -> None:
        at = 4 * self.luck.randrange(max(1, len(made) // 4))
        made[at : at + 4] = self.luck.choice(EXTREMES).to_bytes(4)


class Bedlam:
    """One call with its caller, who sends a packet in each slot, and noise around it."""

    def __init__(self, codec: str = "PCMU", *, mux: bool = True, keys: Keys | None = None, seed: int = 1) -> None:
        self.now = 1000.0
        self.audio: list[bytes] = []
        self.digits: list[str] = []
        self.faults: list[Exception] = []
        self.wire, self.control = Wire(), Wire()
        self.slots = SlotClock(early=0)
        sockets: Any = (self.wire, self.control)
        number = {"PCMU": 0, "G722": 9, "OPUS": 96}[codec]
        events = Events(EVENT, CODECS[codec].clock_rate)
        terms = Terms(
            CODECS[codec], CALLER, payload_type=number, events=events, receive_events=events,
            keys=keys, rtcp=Rtcp(CALLER if mux else CONTROL, mux),
        )  # fmt: skip
        self.stream = MediaStream(
            sock=sockets[0], pacer=self.slots, terms=terms, signalling_host=CALLER[0], on_audio=self.audio.append,
            on_digit=self.digits.append, on_timeout=lambda: None, on_fault=self.faults.append, rtp_timeout_s=0,
            clock=lambda: self.now, open_rtcp=lambda: sockets[1],
        )  # fmt: skip
        self.stream._control._wall = lambda: 1.7e9 + self.now
        self.stream._join_clock()
        self.dice = Dice(seed, codec, self.stream._down.writer.ssrc)
        self._writer = RtpWriter(SSRC, 65_000, 0xFFFF_0000)
        self._seal = Sealer(SUITE, keys.receive).seal if keys is not None else bytes
        self._sent = 0
        self.slot()  # latched

    def slot(self, noise: int = 0, sources: tuple[tuple[str, int], ...] = (CALLER,)) -> bytes:
        """One slot: noise, and the caller's packet anywhere in it; returns that packet's payload."""
        self._sent += 1
        self.dice.follow(self._writer)
        payload = bytes(0x80 | self._sent >> shift & 15 for shift in (16, 12, 8, 4, 0)) * 32
        good = self._seal(self._writer.packet(payload, self.stream.terms.sends_as, 160))
        place = self.dice.luck.randrange(noise + 1)
        for at in range(noise + 1):
            if at == place:
                self.wire.waiting.append((good, CALLER))
            if at < noise:
                self.receive(self.dice.datagram(), self.dice.luck.choice(sources))
        self.read()
        self.now = round(self.now + PERIOD, 3)
        self.slots.run(lambda: self.now + 1e-6)
        return payload

    def receive(self, datagram: bytes, source: tuple[str, int]) -> None:
        """To the port of RTP, or sometimes to that of RTCP."""
        own = self.stream._control._socket is not None and self.dice.luck.random() < 0.3
        (self.control if own else self.wire).waiting.append((datagram, source))

    def read(self) -> None:
        """All that waits."""
        while self.wire.waiting:
            self.stream._endpoint.read()
        while self.control.waiting:
            self.stream._control._read()

    def check(self) -> None:
        """Nothing broke, and nothing has grown."""
        assert self.faults == []
        stats, up = self.stream.stats, self.stream._up
        reports, latch = stats.reports, self.stream._endpoint.latch
        assert reports is not None
        assert set(stats.dropped) <= REASONS
        assert len(stats.jitter._held) <= 100 and len(stats.jitter._given_up) <= 200
        assert len(latch._candidates) <= 8 and len(up._dtmf._told) <= 64
        assert len(reports._sent_reports) <= 8 and len(up._decoders) == 1
        assert len(self.slots._alarms) <= 32 * PER_SLOT
        opener = self.stream._endpoint.opener
        assert opener is None or len(opener._ssrcs) <= MAX_SSRCS


NOBODY = tuple(STRANGERS)


def run(bedlam: Bedlam, datagrams: int, sources: tuple[tuple[str, int], ...]) -> None:
    """So much noise; what came of it is forgotten as it would be in a call."""
    for _ in range(datagrams // PER_SLOT):
        bedlam.slot(PER_SLOT, sources)
        bedlam.audio.clear()
        bedlam.digits.clear()


@pytest.mark.parametrize("mux", [True, False])
def test_strangers_do_not_touch_the_call(mux: bool) -> None:
    bedlam = Bedlam(mux=mux)
    bedlam.audio.clear()
    sent = [bedlam.slot(PER_SLOT, NOBODY) for _ in range(QUICK // 6 // PER_SLOT)]
    assert bedlam.audio == sent
    assert bedlam.digits == []
    assert bedlam.stream.remote == CALLER
    stats = bedlam.stream.stats
    assert (stats.lost, stats.resyncs, stats.drift_ms) == (0, 0, 0)
    assert stats.dropped["stranger"] > 0.6 * PER_SLOT * len(sent)
    if not mux:
        assert bedlam.stream._control.destination == CONTROL
    bedlam.check()


def test_what_is_not_of_the_callers_key_does_not_touch_the_call() -> None:
    bedlam = Bedlam("G722", keys=KEYS)
    bedlam.audio.clear()
    slots = QUICK // 6 // PER_SLOT
    for _ in range(slots):
        bedlam.slot(PER_SLOT, (CALLER, *NOBODY))
    assert len(bedlam.audio) == slots
    stats = bedlam.stream.stats
    assert (stats.lost, stats.resyncs, stats.damaged, stats.digits) == (0, 0, 0, 0)
    assert stats.dropped["srtp_auth"] > slots
    bedlam.check()


@pytest.mark.parametrize(("codec", "mux"), [("PCMU", False), ("G722", True), ("OPUS", True)])
def test_noise_in_the_callers_own_name_passes(codec: str, mux: bool) -> None:
    bedlam = Bedlam(codec, mux=mux)
    run(bedlam, QUICK // 6, (CALLER, CALLER, CONTROL, *NOBODY))
    bedlam.check()
    stats = bedlam.stream.stats
    # The noise was worth its name.
    assert {"short", "version", "csrc", "extension", "size", "stranger", "payload_type"} <= set(stats.dropped)
    assert {"rtcp_length", "rtcp_type"} & set(stats.dropped)
    assert min(stats.digits, stats.resyncs, stats.duplicate, stats.jitter.strays) > 0
    assert stats.reports is not None and stats.reports.reports_received > 50
    if codec == "OPUS":
        assert stats.damaged > 30
    else:
        for _ in range(CATCH_UP):
            bedlam.slot()
        bedlam.audio.clear()
        last = [bedlam.slot() for _ in range(50)]
        assert len(bedlam.audio) >= 40  # a frame may be put in or left out
        assert codec != "PCMU" or len(set(bedlam.audio) & set(last)) >= 40
    bedlam.stream.close()


SEEDS = [Dice(seed, "OPUS", 1).datagram() for seed in range(200)]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60)
            | st.sampled_from(SEEDS)
            | st.builds(bytes.__add__, st.sampled_from(SEEDS), st.binary()),
            st.sampled_from([CALLER, CONTROL, *STRANGERS]),
        ),
        max_size=30,
    ),
    st.sampled_from(["PCMU", "OPUS"]),
    st.booleans(),
)
def test_any_bytes_from_anywhere_end_as_audio_or_a_drop(
    datagrams: list[tuple[bytes, tuple[str, int]]], codec: str, mux: bool
) -> None:
    bedlam = Bedlam(codec, mux=mux)
    for datagram, source in datagrams:
        bedlam.receive(datagram, source)
        bedlam.receive(datagram, CALLER)
        bedlam.slot()
    bedlam.check()
    bedlam.stream.close()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_leave_nothing_and_cost_nothing() -> None:
    calls = [
        (Bedlam("PCMU", mux=False, seed=2), (CALLER, CONTROL, *NOBODY)),
        (Bedlam("OPUS", seed=3), (CALLER, *NOBODY)),
        (Bedlam("G722", keys=KEYS, seed=4), (CALLER, *NOBODY)),
        (Bedlam("PCMU", seed=5), NOBODY),
    ]
    rounds, used = 20, []
    for bedlam, sources in calls:
        run(bedlam, 5000, sources)  # what is made once
    tracemalloc.start()
    try:
        for _ in range(rounds):
            for bedlam, sources in calls:
                run(bedlam, LONG // rounds // len(calls), sources)
                bedlam.check()
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    half = rounds // 2
    assert sum(used[half:]) < 1.1 * sum(used[:half]) + 100_000 * half
    strangers = calls[3][0].stream.stats
    assert (strangers.lost, strangers.resyncs, strangers.drift_ms) == (0, 0, 0)
