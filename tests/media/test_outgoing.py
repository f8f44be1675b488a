"""Down, without a stream: what leaves in each slot, by the terms of the moment."""

from dataclasses import replace
from itertools import pairwise

import pytest

from bridge.audio.format import Linear, silence_of
from bridge.audio.g711 import Law
from bridge.media.codecs import CODECS, decoder
from bridge.media.endpoint import RtpEndpoint
from bridge.media.outgoing import Outgoing
from bridge.media.reports import RtcpReporter
from bridge.media.rtp import RtpPacket, parse
from bridge.media.source import SourceLatch
from bridge.media.stats import MediaStats
from bridge.media.terms import Events, Terms

REMOTE = ("192.0.2.1", 4000)
PACKET_TIMES = [10, 20, 30, 40, 60]
TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9, "OPUS": 96}


class Wire:
    """A socket in name only; `full`: it takes nothing."""

    def __init__(self) -> None:
        self.packets: list[RtpPacket] = []
        self.to: list[object] = []
        self.full = False

    def sendto(self, datagram: bytes, destination: object) -> int:
        if self.full:
            raise BlockingIOError
        self.packets.append(parse(datagram))
        self.to.append(destination)
        return len(datagram)


class Down:
    """An Outgoing and its wire."""

    def __init__(self, codec: str = "PCMU", **options: object) -> None:
        self.wire = Wire()
        agreed: dict[str, object] = {"payload_type": TYPES[codec], "remote": REMOTE} | options
        self.terms = Terms(CODECS[codec], **agreed)  # type: ignore[arg-type]
        self.stats = MediaStats()
        latch = SourceLatch(self.terms.remote, REMOTE[0], frozenset())
        endpoint = RtpEndpoint(self.wire, latch, self.stats, lambda: 0.0, lambda *_: None)  # type: ignore[arg-type]
        self.outgoing = Outgoing(endpoint, self.terms, lead_ms=0)
        self.sent: list[bytes] = []
        self.outgoing.on_sent = self.sent.append

    @property
    def packets(self) -> list[RtpPacket]:
        return self.wire.packets

    def slots(self, count: int) -> list[bytes]:
        return [self.outgoing.send_slot() for _ in range(count)]

    def say(self, ms: int, item: str = "a", end: bool = True) -> bytes:
        size = ms * self.terms.audio_format.bytes_per_ms
        audio = bytes((1 + at // 2 % 100) & ~1 for at in range(size))
        self.outgoing.playout.push(item, audio)
        if end:
            self.outgoing.playout.end(item)
        return audio

    def follow(self, **changes: object) -> None:
        self.terms = replace(self.terms, **changes)  # type: ignore[arg-type]
        self.outgoing.adopt(self.terms)


def steps(packets: list[RtpPacket]) -> list[int]:
    return [after.timestamp - before.timestamp & 0xFFFF_FFFF for before, after in pairwise(packets)]


class TestPacketTimes:
    @pytest.mark.parametrize("ptime", PACKET_TIMES)
    @pytest.mark.parametrize("law", Law)
    def test_g711_has_eight_bytes_and_ticks_a_millisecond(self, law: Law, ptime: int) -> None:
        down = Down(law.name, ptime_ms=ptime)
        audio = down.say(2 * ptime)
        down.slots(4)
        quiet = bytes((law.silence,)) * 8 * ptime
        assert [packet.payload for packet in down.packets] == [audio[: 8 * ptime], audio[8 * ptime :], quiet, quiet]
        assert steps(down.packets) == [8 * ptime] * 3
        assert {packet.payload_type for packet in down.packets} == {law.payload_type}

    @pytest.mark.parametrize("ptime", PACKET_TIMES)
    def test_g722_counts_half_of_its_samples(self, ptime: int) -> None:
        down = Down("G722", ptime_ms=ptime)
        down.say(2 * ptime)
        heard = down.slots(4)
        assert [len(packet.payload) for packet in down.packets] == [8 * ptime] * 4
        assert steps(down.packets) == [8 * ptime] * 3
        assert [len(audio) for audio in heard] == [32 * ptime] * 4
        assert {packet.payload_type for packet in down.packets} == {9}

    @pytest.mark.parametrize("ptime", [10, 20, 40, 60])
    def test_opus_counts_48_ticks_a_millisecond(self, ptime: int) -> None:
        down, opus = Down("OPUS", ptime_ms=ptime), decoder(CODECS["OPUS"], Linear(24000))
        down.say(2 * ptime)
        down.slots(4)
        assert steps(down.packets) == [48 * ptime] * 3
        assert [len(opus.decode(packet.payload)) for packet in down.packets] == [48 * ptime] * 4

    @pytest.mark.parametrize("ptime", PACKET_TIMES)
    def test_silence_is_as_long_as_a_slot(self, ptime: int) -> None:
        for codec in ("PCMU", "PCMA", "G722"):
            down = Down(codec, ptime_ms=ptime)
            assert down.outgoing.silence == silence_of(ptime, CODECS[codec].audio_format)
            assert down.slots(1) == [down.outgoing.silence]

    def test_a_slot_that_nobody_kept_is_time_all_the_same(self) -> None:
        down = Down("OPUS")
        down.slots(1)
        down.outgoing.skip(5)
        down.slots(1)
        assert steps(down.packets) == [6 * 960]
        assert down.packets[1].sequence - down.packets[0].sequence & 0xFFFF == 1

    def test_another_packet_time_takes_over_what_waits(self) -> None:
        down = Down()
        audio = down.say(100)
        down.slots(1)
        down.follow(ptime_ms=40)
        down.slots(2)
        assert b"".join(packet.payload for packet in down.packets) == audio
        assert steps(down.packets) == [160, 320]


class TestMarker:
    def marked(self, down: Down) -> list[int]:
        return [at for at, packet in enumerate(down.packets) if packet.marker]

    def test_the_first_packet_and_the_first_of_each_talkspurt(self) -> None:
        down = Down()
        down.slots(3)
        down.say(40)
        down.slots(4)
        down.say(40, "b")
        down.slots(3)
        assert self.marked(down) == [0, 3, 7]

    def test_speech_at_once_is_marked_once(self) -> None:
        down = Down()
        down.say(60)
        down.slots(3)
        assert self.marked(down) == [0]

    def test_what_did_not_leave_is_marked_when_it_does(self) -> None:
        down = Down()
        down.wire.full = True
        down.say(40)
        down.slots(2)
        down.wire.full = False
        down.slots(2)
        assert self.marked(down) == [0]

    def test_speech_after_new_terms_is_a_new_talkspurt(self) -> None:
        down = Down()
        down.say(200)
        down.slots(2)
        down.follow(codec=CODECS["PCMA"], payload_type=8)
        down.slots(2)
        assert self.marked(down) == [0, 2]


class TestWhatMayLeave:
    @pytest.mark.parametrize(
        "options",
        [
            {"direction": "recvonly"},
            {"direction": "inactive"},
            {"remote": ("0.0.0.0", 4000)},
            {"remote": ("::", 4000)},
            {"remote": ("192.0.2.1", 0)},
        ],
    )
    def test_nothing_but_time(self, options: dict[str, object]) -> None:
        down = Down(**options)
        down.say(100)
        before = down.outgoing.writer.timestamp
        assert down.slots(3) == [down.outgoing.silence] * 3
        assert (down.packets, down.sent, down.stats.send_failures) == ([], [], 0)
        assert down.outgoing.writer.timestamp - before & 0xFFFF_FFFF == 480
        assert down.outgoing.playout.queued_ms == 100

    def test_before_the_caller_was_seen_the_playout_waits(self) -> None:
        down = Down()
        down.outgoing.permitted = False
        audio = down.say(40)
        down.slots(5)
        assert down.packets == []
        down.outgoing.permitted = True
        down.slots(2)
        assert b"".join(packet.payload for packet in down.packets) == audio
        assert down.packets[0].marker

    def test_what_the_machine_did_not_take_was_not_heard(self) -> None:
        down = Down()
        audio = down.say(40)
        down.slots(1)
        down.wire.full = True
        assert down.slots(2) == [down.outgoing.silence] * 2
        down.wire.full = False
        down.slots(1)
        assert down.sent == [audio[:160], audio[160:]]
        assert down.packets[1].sequence - down.packets[0].sequence & 0xFFFF == 1
        assert steps(down.packets) == [480]
        assert down.stats.send_failures == 2


class TestReports:
    def test_what_left_is_counted_with_its_payload(self) -> None:
        down = Down("G722")
        down.outgoing.reporter = reporter = RtcpReporter(1, "x", 8000, lambda: 0.5)
        down.slots(3)
        down.wire.full = True
        down.slots(2)
        assert (reporter.packets, reporter.octets) == (3, 480)


class TestKeys:
    @pytest.mark.parametrize(("codec", "clock"), [("PCMU", 8000), ("G722", 8000), ("OPUS", 48000)])
    @pytest.mark.parametrize("ptime", [10, 20, 60])
    def test_a_key_takes_the_place_of_audio_in_its_own_clock(self, codec: str, clock: int, ptime: int) -> None:
        down = Down(codec, ptime_ms=ptime, events=Events(101, clock))
        down.slots(1)
        down.outgoing.keypad.press("5")
        assert down.slots(1) == [down.outgoing.silence]
        down.slots(30)
        keys = [packet for packet in down.packets if packet.payload_type == 101]
        audio = [packet for packet in down.packets if packet.payload_type != 101]
        assert len(keys) == -(-100 // ptime) + 2
        assert len({packet.timestamp for packet in keys}) == 1
        durations = [int.from_bytes(packet.payload[2:]) for packet in keys]
        assert durations[0] == ptime * clock // 1000
        assert durations[-3:] == [clock // 10] * 3
        assert [packet.marker for packet in keys] == [True] + [False] * (len(keys) - 1)
        # The audio's time went on meanwhile.
        slot = ptime * CODECS[codec].clock_rate // 1000
        assert keys[0].timestamp - audio[0].timestamp & 0xFFFF_FFFF == slot
        assert audio[-1].timestamp - audio[0].timestamp & 0xFFFF_FFFF == 31 * slot
        assert {b.sequence - a.sequence & 0xFFFF for a, b in pairwise(down.packets)} == {1}

    def test_speech_waits_for_the_key_and_begins_with_a_marker(self) -> None:
        down = Down(events=Events(101))
        audio = down.say(60)
        down.slots(1)
        down.outgoing.keypad.press("1")
        down.slots(12)
        spoken = [
            packet for packet in down.packets if packet.payload_type == 0 and packet.payload != down.outgoing.silence
        ][:3]
        assert b"".join(packet.payload for packet in spoken) == audio
        assert [packet.marker for packet in spoken] == [True, True, False]

    def test_keys_follow_the_new_clock_and_go_with_the_events(self) -> None:
        down = Down(events=Events(101))
        down.follow(codec=CODECS["OPUS"], payload_type=96, events=Events(102, 48000))
        down.outgoing.keypad.press("9")
        down.slots(1)
        assert (down.packets[0].payload_type, int.from_bytes(down.packets[0].payload[2:])) == (102, 960)
        down.follow(events=None)
        assert not down.outgoing.keypad.busy


class TestPause:
    def test_it_falls_silent_keeps_what_waits_and_goes_on_with_a_marker(self) -> None:
        down = Down()
        audio = down.say(100)
        down.slots(2)
        down.outgoing.playout.pause()
        down.slots(10)
        fall, *quiet = [packet.payload for packet in down.packets[2:]]
        assert quiet == [b"\xff" * 160] * 9
        assert fall[40:] == b"\xff" * 120 and fall[:40] != b"\xff" * 40
        assert down.outgoing.playout.sent_ms("a") == 40
        down.outgoing.playout.resume()
        down.slots(3)
        assert b"".join(packet.payload for packet in down.packets[12:]) == audio[320:]
        assert down.packets[12].marker
        assert steps(down.packets) == [160] * 14

    def test_the_stream_of_packets_never_stops(self) -> None:
        down = Down("OPUS")
        down.say(100)
        down.slots(1)
        down.outgoing.playout.pause()
        down.slots(20)
        assert len(down.packets) == 21


def test_one_source_from_beginning_to_end() -> None:
    down = Down()
    down.slots(1)
    for codec in ("PCMA", "G722", "OPUS", "PCMU"):
        down.follow(codec=CODECS[codec], payload_type=TYPES[codec])
        down.slots(2)
    assert len({packet.ssrc for packet in down.packets}) == 1
    assert {b.sequence - a.sequence & 0xFFFF for a, b in pairwise(down.packets)} == {1}
    assert [packet.payload_type for packet in down.packets] == [0, 8, 8, 9, 9, 96, 96, 0, 0]
    assert steps(down.packets) == [160, 160, 160, 160, 160, 960, 960, 160][: len(down.packets) - 1]


def test_numbers_begin_in_their_lower_half_and_nowhere_certain() -> None:
    starts = {Down().outgoing.writer.sequence for _ in range(20)}
    assert max(starts) < 0x8000
    assert len(starts) > 10
