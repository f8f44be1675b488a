"""Up, without a stream: packets of the caller become audio and keys."""

import random
import struct
from dataclasses import replace

import pytest

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law, silence
from bridge.audio.g722 import G722Encoder
from bridge.audio.opus import OpusEncoder
from bridge.media.codecs import CODECS
from bridge.media.incoming import COMFORT_NOISE, Incoming
from bridge.media.jitter import JitterBuffer
from bridge.media.rtp import RtpPacket
from bridge.media.stats import MediaStats
from bridge.media.terms import Events, Terms

EVENT, OPUS_TYPE = 101, 96
REMOTE = ("192.0.2.1", 4000)
WIDE, OPUS = Linear(16000), Linear(24000)
G711 = {0: CODECS["PCMU"], 8: CODECS["PCMA"]}


def frame(number: int, size: int = 160) -> bytes:
    return bytes((number % 200,)) * size


class Up:
    """An Incoming, its phone, and what it handed up."""

    def __init__(self, codec: str = "PCMU", **options: object) -> None:
        payload_type = OPUS_TYPE if codec == "OPUS" else None
        events = Events(EVENT, CODECS[codec].clock_rate)
        agreed: dict[str, object] = {"payload_type": payload_type, "receive_events": events} | options
        self.terms = Terms(CODECS[codec], REMOTE, **agreed)  # type: ignore[arg-type]
        self.stats = MediaStats(JitterBuffer(self.terms.audio_format))
        self.audio: list[bytes] = []
        self.digits: list[str] = []
        self.incoming = Incoming(self.terms, self.stats, self.audio.append, self.digits.append)
        self.sequence, self.timestamp, self.now = 65_534, 0xFFFF_FF00, 10.0

    def follow(self, **changes: object) -> None:
        self.terms = replace(self.terms, **changes)  # type: ignore[arg-type]
        self.incoming.adopt(self.terms)

    def send(self, payload: bytes, payload_type: int = 0, ticks: int = 160, after: int = 0, lose: bool = False) -> None:
        """A packet that takes `ticks`, `after` so many of nothing."""
        self.timestamp += after
        packet = RtpPacket(payload_type, False, self.sequence & 0xFFFF, self.timestamp & 0xFFFF_FFFF, 0xFEED, payload)
        self.sequence, self.timestamp = self.sequence + 1, self.timestamp + ticks
        self.now += 0.02
        if not lose:
            self.incoming.receive(packet, self.now)

    def press(self, number: int, clock_rate: int = 8000, packets: int = 5) -> None:
        """A key whose last three packets are its end; its packets have one timestamp."""
        slot = clock_rate // 50
        for at in range(packets + 2):
            end = 0x80 if at >= packets - 1 else 0
            payload = struct.pack("!BBH", number, end | 10, slot * min(at + 1, packets))
            self.send(payload, EVENT, 0)
        self.timestamp += slot * packets


class TestAudio:
    def test_payloads_come_through_untouched(self) -> None:
        up = Up()
        for number in range(5):
            up.send(frame(number))
        assert up.audio == [frame(number) for number in range(5)]

    @pytest.mark.parametrize("size", [80, 160, 240, 320, 480])
    def test_packets_of_any_length(self, size: int) -> None:
        up = Up()
        for number in range(5):
            up.send(frame(number, size), ticks=size)
        assert up.audio == [frame(number, size) for number in range(5)]
        assert up.stats.silence_ms == up.stats.concealed_ms == 0

    def test_a_packet_without_payload_is_no_audio(self) -> None:
        up = Up()
        for payload in (frame(1), b"", b"", frame(2)):
            up.send(payload, ticks=len(payload))
        assert up.audio == [frame(1), frame(2)]

    @pytest.mark.parametrize(("codec", "size", "leg"), [("G722", 640, WIDE), ("OPUS", 960, OPUS)])
    def test_what_is_coded_is_decoded(self, codec: str, size: int, leg: Format) -> None:
        up = Up(codec)
        rate = CODECS[codec].audio_format.rate
        encode = G722Encoder().encode if codec == "G722" else OpusEncoder().encode
        for _ in range(4):
            up.send(encode(random.Random(2).randbytes(rate // 25)), up.terms.sends_as, CODECS[codec].clock_rate // 50)
        assert [len(audio) for audio in up.audio] == [size] * 4
        up.send(encode(bytes(rate // 25)), up.terms.sends_as, after=CODECS[codec].clock_rate // 10)
        assert up.audio[4] == silence_of(100, leg)
        assert up.stats.resyncs == up.stats.damaged == 0

    def test_two_payload_types_in_one_stream_of_numbers(self) -> None:
        up = Up(receives=G711)
        for number in range(6):
            up.send(frame(number), 8 if number % 2 else 0)
        assert [len(audio) for audio in up.audio] == [160] * 6
        assert up.audio[::2] == [frame(number) for number in (0, 2, 4)]
        assert frame(1) not in up.audio
        assert up.stats.resyncs == 0

    def test_types_of_two_clocks_each_begin_a_time_line(self) -> None:
        up = Up("OPUS", receives={OPUS_TYPE: CODECS["OPUS"], 0: CODECS["PCMU"]})
        encode = OpusEncoder().encode
        for payload_type in (OPUS_TYPE, OPUS_TYPE, 0, 0, OPUS_TYPE):
            payload = encode(bytes(960)) if payload_type == OPUS_TYPE else frame(1)
            up.send(payload, payload_type, 960 if payload_type == OPUS_TYPE else 160)
        sizes = [len(audio) for audio in up.audio]
        assert len(sizes) == 5 and all(860 <= size <= 960 for size in sizes)
        assert up.stats.resyncs == 2
        assert up.stats.silence_ms == 0

    def test_what_nobody_agreed_on_is_dropped(self) -> None:
        up = Up()
        up.send(frame(1), 97)
        assert (up.audio, up.stats.dropped) == ([], {"payload_type": 1})
        assert up.incoming.payload_types == {0, COMFORT_NOISE, EVENT}


class TestListeners:
    def test_first_the_raw_ear_then_the_filters_in_their_order(self) -> None:
        up = Up()
        raw: list[bytes] = []

        class Add:
            def __init__(self, step: int) -> None:
                self.step = step

            def heard(self, audio: bytes) -> bytes:
                return bytes(byte * 2 + self.step for byte in audio)

        up.incoming.listen([Add(1), Add(0)], raw.append)
        up.send(bytes(160))
        assert (raw, up.audio) == ([bytes(160)], [b"\x02" * 160])
        up.incoming.listen([], None)
        up.send(bytes(160))
        assert (len(raw), up.audio[1:]) == (1, [bytes(160)])

    def test_concealment_and_silence_pass_them_too(self) -> None:
        up, raw = Up(), []
        up.incoming.listen([], raw.append)
        up.send(frame(1))
        up.send(frame(2), lose=True)
        up.send(frame(3))
        up.incoming.due(up.now + 0.1)
        up.send(frame(4), after=1600)
        assert raw == up.audio
        assert b"".join(raw[-2:]) == silence(1600, Law.PCMU) + frame(4)
        assert len(b"".join(raw)) == 4 * 160 + 1600


class TestGaps:
    def test_a_gap_ends_when_its_time_is_over_and_not_before(self) -> None:
        up = Up()
        up.send(frame(1))
        up.send(frame(2), lose=True)
        up.send(frame(3))
        up.incoming.due(up.now + 0.059)
        assert up.audio == [frame(1)]
        # The alarm may ring a step early: it is the end all the same.
        up.incoming.give_up(up.now + 0.056)
        assert [len(audio) for audio in up.audio] == [160, 160, 160]
        assert up.audio[2] == frame(3)
        up.incoming.give_up(up.now + 1)
        assert len(up.audio) == 3

    def test_a_silent_caller_is_silence(self) -> None:
        up = Up()
        up.send(frame(1))
        for slot in range(1, 51):
            up.incoming.due(up.now + slot * 0.02)
        assert b"".join(up.audio[1:]) == silence(8 * 940, Law.PCMU)

    def test_comfort_noise_is_no_audio_and_no_gap(self) -> None:
        up = Up()
        up.send(frame(1))
        up.send(b"\x40", COMFORT_NOISE, 0)
        up.send(frame(2), after=800)
        assert up.audio == [frame(1), silence(800, Law.PCMU), frame(2)]
        assert (up.stats.lost, up.stats.dropped) == (0, {})


class TestKeys:
    def test_a_key_is_told_once_and_is_silence(self) -> None:
        up = Up()
        up.send(frame(1))
        up.press(5)
        up.send(frame(2))
        assert up.digits == ["5"]
        assert b"".join(up.audio) == frame(1) + silence(800, Law.PCMU) + frame(2)
        assert (up.stats.digits, up.stats.lost, up.stats.resyncs) == (1, 0, 0)

    @pytest.mark.parametrize("codec", ["G722", "OPUS"])
    def test_a_key_on_a_wide_line(self, codec: str) -> None:
        up = Up(codec)
        clock = CODECS[codec].clock_rate
        payload = OpusEncoder().encode(bytes(960)) if codec == "OPUS" else G722Encoder().encode(bytes(640))
        up.send(payload, up.terms.sends_as, clock // 50)
        up.press(11, clock)
        up.send(payload, up.terms.sends_as, clock // 50)
        assert up.digits == ["#"]
        assert len(b"".join(up.audio)) == 140 * up.terms.audio_format.bytes_per_ms
        assert up.stats.resyncs == up.stats.lost == 0

    def test_an_event_of_another_clock_says_nothing_of_the_audios_time(self) -> None:
        up = Up("OPUS", receive_events=Events(EVENT, 8000))
        encode = OpusEncoder().encode
        for _ in range(3):
            up.send(encode(bytes(960)), OPUS_TYPE, 960)
        timestamp = up.timestamp
        up.timestamp += 20_000
        up.press(7, 8000)
        up.timestamp = timestamp + 4800
        up.send(encode(bytes(960)), OPUS_TYPE, 960)
        assert up.digits == ["7"]
        assert (up.stats.resyncs, up.stats.lost) == (0, 0)
        assert len(b"".join(up.audio)) == 180 * 48

    def test_a_key_without_its_end_is_told_when_nothing_follows(self) -> None:
        up = Up()
        up.send(struct.pack("!BBH", 3, 10, 160), EVENT, 0)
        up.incoming.due(up.now + 0.19)
        assert up.digits == []
        up.incoming.due(up.now + 0.21)
        assert up.digits == ["3"]

    def test_events_that_are_no_keys_are_time_only(self) -> None:
        up = Up()
        up.send(frame(1))
        up.send(struct.pack("!BBH", 16, 0x8A, 320), EVENT, 320)
        up.send(b"\x05", EVENT, 0)
        up.send(frame(2))
        assert up.digits == []
        assert b"".join(up.audio) == frame(1) + silence(320, Law.PCMU) + frame(2)


class TestAgreements:
    def test_a_type_that_goes_on_keeps_its_decoder(self) -> None:
        up = Up("G722")
        kept = up.incoming._decoders[9]
        up.follow(remote=("192.0.2.2", 1))
        assert up.incoming._decoders[9] is kept
        up.follow(receives={9: CODECS["G722"], 0: CODECS["PCMU"]})
        assert up.incoming._decoders[9] is kept

    def test_a_type_of_another_codec_gets_another(self) -> None:
        up = Up("PCMU", receives={0: CODECS["PCMU"], 97: CODECS["PCMA"]})
        up.follow(receives={0: CODECS["PCMU"], 97: CODECS["PCMU"]})
        up.send(frame(1), 97)
        assert up.audio == [frame(1)]

    def test_what_was_agreed_on_before_is_still_understood(self) -> None:
        up = Up("PCMU")
        up.follow(codec=CODECS["G722"])
        up.send(frame(1), 0)
        assert 560 <= len(up.audio[0]) <= 640  # a filter keeps back 2 ms
        assert up.incoming.payload_types == {0, 9, COMFORT_NOISE, EVENT}

    def test_what_waits_behind_a_gap_is_given_in_the_old_format(self) -> None:
        up = Up("PCMU")
        up.send(frame(1))
        up.send(frame(2), lose=True)
        up.send(frame(3))
        up.follow(codec=CODECS["G722"])
        assert [len(audio) for audio in up.audio] == [160, 160, 160]
        assert up.audio[2] == frame(3)

    def test_the_first_packet_of_the_new_codec_may_be_lost(self) -> None:
        up = Up("PCMU")
        up.send(frame(1))
        up.follow(codec=CODECS["G722"])
        up.send(frame(2), 9, lose=True)
        up.send(G722Encoder().encode(bytes(640)), 9)
        up.incoming.due(up.now + 0.1)
        assert [len(audio) for audio in up.audio] == [160, 640, 640]
        assert up.stats.concealed_ms == 20

    def test_events_of_another_type(self) -> None:
        up = Up()
        up.follow(receive_events=Events(110))
        up.send(struct.pack("!BBH", 5, 0x8A, 800), EVENT, 0)
        up.send(struct.pack("!BBH", 6, 0x8A, 800), 110, 0)
        assert (up.digits, up.stats.dropped) == (["6"], {"payload_type": 1})
        up.follow(receive_events=None)
        up.send(struct.pack("!BBH", 7, 0x8A, 800), 110, 0)
        assert up.digits == ["6"]
