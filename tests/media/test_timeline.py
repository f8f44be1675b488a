"""The time line alone: packets are in order already, and the timestamps say what was between them."""

import random

import pytest

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law, silence, translation
from bridge.audio.g722 import G722Encoder
from bridge.audio.level import rms
from bridge.audio.opus import OpusEncoder
from bridge.media.codecs import CODECS, Decoder, G711Decoder, decoder
from bridge.media.concealment import conceal
from bridge.media.timeline import AHEAD_S, HISTORY, QUIET, Arrival, TimeLine

LOUD = bytes(0x80 + at % 8 for at in range(160))
SOFT = bytes(0xF0 + at % 8 for at in range(160))
WIDE, OPUS = Linear(16000), Linear(24000)


class Rig:
    """A time line and packets one after the other, 20 ms apart on a clock of our own."""

    def __init__(self, audio_format: Format = Law.PCMU, codec: str = "PCMU", start: int = 1000) -> None:
        self.line = TimeLine(audio_format)
        self.decoder: Decoder = decoder(CODECS[codec], audio_format)
        self.sequence = 7
        self.timestamp = start
        self.now = 50.0
        self.out: list[bytes] = []
        self.line.begin(self.arrival(b"", 0))

    def arrival(self, payload: bytes | None, ticks: int, timestamp: int | None = None) -> Arrival:
        timestamp = self.timestamp if timestamp is None else timestamp & 0xFFFF_FFFF
        return Arrival(self.sequence, timestamp, payload, ticks, self.now, self.decoder)

    def play(self, payload: bytes, skip: int = 0, settle: bool = False) -> list[bytes]:
        """The next packet, `skip` ticks after the one before."""
        self.timestamp = self.timestamp + skip & 0xFFFF_FFFF
        ticks = self.decoder.ticks(payload)
        out: list[bytes] = []
        self.line.play(self.arrival(payload, ticks), out)
        if settle:
            self.line.settle(out, self.now)
        self.timestamp = self.timestamp + ticks & 0xFFFF_FFFF
        self.sequence += 1
        self.now += ticks / self.decoder.clock_rate
        return out

    def event(self, ticks: int, timestamp: int | None = None) -> list[bytes]:
        out: list[bytes] = []
        self.line.play(self.arrival(None, ticks, timestamp), out)
        return out


def opus_payloads(count: int, ms: int = 20) -> list[bytes]:
    encode, dice = OpusEncoder().encode, random.Random(3)
    return [encode(dice.randbytes(48 * ms)) for _ in range(count)]


class TestOrder:
    def test_audio_in_order_is_itself(self) -> None:
        rig = Rig(start=0xFFFF_FF80)
        assert [rig.play(LOUD), rig.play(SOFT), rig.play(LOUD[:80])] == [[LOUD], [SOFT], [LOUD[:80]]]
        assert (rig.line.given, rig.line.timestamp) == (400, rig.timestamp)
        assert list(rig.line.history) == [LOUD, SOFT, LOUD[:80]]

    def test_history_is_bounded(self) -> None:
        rig = Rig()
        for _ in range(20):
            rig.play(LOUD)
        assert len(rig.line.history) == HISTORY

    def test_a_gap_of_the_timestamp_is_silence(self) -> None:
        rig = Rig()
        rig.play(LOUD)
        assert rig.play(SOFT, skip=8000) == [silence(8000, Law.PCMU), SOFT]
        assert (rig.line.silence_s, rig.line.given, rig.line.resyncs) == (1.0, 8320, 0)

    @pytest.mark.parametrize("jump", [8001, -8001])
    def test_a_longer_jump_is_a_new_time_line_and_owes_nothing(self, jump: int) -> None:
        rig = Rig()
        rig.play(LOUD)
        rig.line.drift.owed = 3
        assert rig.play(SOFT, skip=jump) == [SOFT]
        assert (rig.line.resyncs, rig.line.drift.owed, rig.line.silence_s) == (1, 0, 0)

    @pytest.mark.parametrize(("flowed", "resyncs"), [(0, 1), (12_000, 0)])
    def test_a_jump_back_over_silence_that_flowed_is_a_pause_that_the_phone_did_not_count(
        self, flowed: int, resyncs: int
    ) -> None:
        rig = Rig()
        rig.play(LOUD)
        rig.line.silence(12_000, rig.now, [])
        rig.line.flowed = flowed
        assert rig.play(SOFT) == [SOFT]
        assert rig.line.resyncs == resyncs

    def test_what_was_lost_is_concealed_from_what_was_heard(self) -> None:
        rig, out = Rig(), []
        rig.play(LOUD)
        rig.line.conceal_until(rig.timestamp + 320, rig.now, out)
        assert out == [conceal(LOUD, 320, Law.PCMU)]
        assert (rig.line.concealed_s, rig.line.given) == (0.04, 480)
        assert rig.play(SOFT, skip=320) == [SOFT]

    @pytest.mark.parametrize("gap", [0, -160, 8001])
    def test_what_is_no_gap_or_no_time_at_all_is_not_concealed(self, gap: int) -> None:
        rig, out = Rig(), []
        rig.play(LOUD)
        rig.line.conceal_until(rig.timestamp + gap, rig.now, out)
        assert (out, rig.line.concealed_s, rig.line.timestamp) == ([], 0, rig.timestamp)


class TestCodecs:
    @pytest.mark.parametrize(
        ("codec", "audio_format", "bytes_per_20_ms"),
        [("PCMU", WIDE, 640), ("G722", WIDE, 640), ("G722", OPUS, 960), ("OPUS", OPUS, 960), ("OPUS", Law.PCMA, 160)],
    )
    def test_a_gap_and_a_pause_are_as_long_as_the_time(
        self, codec: str, audio_format: Format, bytes_per_20_ms: int
    ) -> None:
        rig, out = Rig(audio_format, codec), []
        payload = opus_payloads(1)[0] if codec == "OPUS" else LOUD
        tick = CODECS[codec].clock_rate // 50
        for _ in range(5):
            rig.play(payload)
        rig.line.conceal_until(rig.timestamp + 3 * tick & 0xFFFF_FFFF, rig.now, out)
        rig.timestamp += 3 * tick
        assert [len(piece) for piece in out] == [3 * bytes_per_20_ms]
        assert rms(out[0][:bytes_per_20_ms]) > 100
        pause, audio = rig.play(payload, skip=10 * tick)
        assert pause == silence_of(200, audio_format)
        assert len(audio) == bytes_per_20_ms
        assert rig.line.given == 19 * tick
        assert (rig.line.silence_s, rig.line.concealed_s) == (pytest.approx(0.2), pytest.approx(0.06))

    @pytest.mark.parametrize("ms", [10, 20, 40, 60])
    def test_opus_packets_of_any_length_follow_each_other(self, ms: int) -> None:
        rig = Rig(OPUS, "OPUS")
        pieces = [rig.play(payload) for payload in opus_payloads(6, ms)]
        assert [[len(piece) for piece in out] for out in pieces] == [[48 * ms]] * 6
        assert (rig.line.given, rig.line.silence_s, rig.line.resyncs) == (6 * 48 * ms, 0, 0)

    def test_g722_counts_bytes_and_not_samples(self) -> None:
        rig = Rig(WIDE, "G722")
        encode = G722Encoder().encode
        for _ in range(3):
            (audio,) = rig.play(encode(random.Random(1).randbytes(640)))
            assert len(audio) == 640
        assert rig.line.given == 480

    def test_another_decoder_takes_its_place_at_its_packet(self) -> None:
        rig = Rig(Law.PCMU)
        rig.play(LOUD)
        rig.decoder = G711Decoder(Law.PCMA, Law.PCMU)
        table = translation(Law.PCMA, Law.PCMU)
        assert table is not None
        assert rig.play(SOFT) == [SOFT.translate(table)]
        assert rig.line.decoder is rig.decoder

    def test_another_clock_is_the_measure_from_its_beginning_on(self) -> None:
        rig = Rig(OPUS, "PCMU")
        rig.play(LOUD)
        rig.decoder = decoder(CODECS["OPUS"], OPUS)
        rig.timestamp = 99
        rig.line.begin(rig.arrival(b"", 0))
        assert (rig.line.clock, rig.line.frame, rig.line.given) == (48000, 960, 0)
        first, second = opus_payloads(2)
        rig.play(first)
        pause, _ = rig.play(second, skip=48_000)
        assert pause == silence_of(1000, OPUS)

    @pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff\xff\xff", b"\x0b\x05" + bytes(3)])
    def test_a_damaged_payload_is_concealed_and_counted(self, payload: bytes) -> None:
        rig = Rig(OPUS, "OPUS")
        for good in opus_payloads(5):
            rig.play(good)
        ticks = 960
        out: list[bytes] = []
        rig.line.play(rig.arrival(payload, ticks), out)
        assert [len(piece) for piece in out] == [960]
        assert rms(out[0]) > 100
        assert (rig.line.damaged, rig.line.concealed_s, rig.line.given) == (1, pytest.approx(0.02), 6 * 960)

    def test_a_new_format_forgets_the_old_audio_and_has_its_own_silence(self) -> None:
        rig, out = Rig(Law.PCMU), []
        rig.play(LOUD)
        rig.line.change_format(Law.PCMA, None)
        rig.line.silence(160, rig.now, out)
        rig.line.conceal_until(rig.timestamp + 320, rig.now, out)
        assert out == [silence(160, Law.PCMA), silence(160, Law.PCMA)]

    def test_a_new_format_is_concealed_by_the_decoder_to_expect(self) -> None:
        rig, out = Rig(Law.PCMU), []
        rig.line.change_format(WIDE, decoder(CODECS["G722"], WIDE))
        rig.line.conceal_until(rig.timestamp + 160, rig.now, out)
        assert [len(piece) for piece in out] == [640]


class TestEvents:
    def test_an_event_is_silence_up_to_its_end(self) -> None:
        rig = Rig()
        rig.play(LOUD)
        start = rig.timestamp
        assert [rig.event(ticks, start) for ticks in (160, 320, 320, 320)] == [[silence(160, Law.PCMU)]] * 2 + [[]] * 2
        assert rig.play(LOUD, skip=320) == [LOUD]

    def test_audio_that_the_event_covers_is_left_out(self) -> None:
        rig = Rig()
        rig.play(LOUD)
        rig.event(240)
        assert rig.play(LOUD) == []
        assert rig.play(SOFT) == [SOFT[80:]]
        assert rig.play(LOUD) == [LOUD]
        assert rig.line.given == 4 * 160

    def test_covered_audio_of_a_wide_leg_is_left_out_in_its_own_measure(self) -> None:
        rig = Rig(WIDE, "PCMU")
        rig.play(LOUD)
        rig.event(80)
        (audio,) = rig.play(LOUD)
        assert len(audio) == 320

    def test_an_event_without_length_or_of_mad_length_is_nothing(self) -> None:
        rig = Rig()
        rig.play(LOUD)
        assert [rig.event(0), rig.event(0xFFFF), rig.event(160, rig.timestamp - 9000)] == [[], [], []]
        assert rig.play(LOUD) == [LOUD]

    def test_an_event_of_an_opus_clock_is_as_long_as_it_says(self) -> None:
        rig = Rig(OPUS, "OPUS")
        rig.play(opus_payloads(1)[0])
        assert rig.event(4800) == [silence_of(100, OPUS)]


class TestDrift:
    def owing(self, owed: int, audio_format: Format = Law.PCMU, codec: str = "PCMU") -> Rig:
        rig = Rig(audio_format, codec)
        for _ in range(4):
            rig.play(LOUD)
        rig.line.drift.owed = owed
        rig.line.drift._waits_since = rig.now
        return rig

    def test_the_soft_frame_is_soft(self) -> None:
        rig = self.owing(0)
        assert rig.line._is_quiet(SOFT) and not rig.line._is_quiet(LOUD)
        assert QUIET > 0

    def test_a_frame_too_many_is_left_out_where_it_is_quiet(self) -> None:
        rig = self.owing(-1)
        before = rig.line.given
        assert rig.play(LOUD, settle=True) == [LOUD]
        assert rig.play(SOFT, settle=True) == []
        assert rig.play(SOFT, settle=True) == [SOFT]
        assert (rig.line.drift_dropped_ms, rig.line.drift_inserted_ms, rig.line.drift.owed) == (20, 0, 0)
        assert rig.line.given - before == 2 * 160

    def test_a_frame_that_is_missing_is_put_in_where_it_is_quiet(self) -> None:
        rig = self.owing(1)
        before = rig.line.given
        assert rig.play(LOUD, settle=True) == [LOUD]
        soft, more = rig.play(SOFT, settle=True)
        assert (soft, len(more)) == (SOFT, 160)
        assert (rig.line.drift_inserted_ms, rig.line.drift_dropped_ms, rig.line.drift.owed) == (20, 0, 0)
        assert rig.line.given - before == 3 * 160

    @pytest.mark.parametrize(("owed", "bytes_left"), [(-1, 0), (1, 320)])
    def test_in_the_end_it_does_not_wait_for_quiet(self, owed: int, bytes_left: int) -> None:
        rig = self.owing(owed)
        rig.now += 4.9
        assert rig.play(LOUD, settle=True) == [LOUD]
        rig.now += 0.1
        assert len(b"".join(rig.play(LOUD, settle=True))) == bytes_left

    def test_short_packets_make_one_frame_together(self) -> None:
        rig = self.owing(-1)
        assert [len(b"".join(rig.play(SOFT[:80], settle=True))) for _ in range(4)] == [0, 0, 80, 80]
        assert (rig.line.drift_dropped_ms, rig.line.drift.owed) == (20, 0)

    def test_a_packet_of_30_ms_keeps_its_beginning(self) -> None:
        rig = self.owing(-1)
        assert rig.play((SOFT + SOFT)[:240], settle=True) == [SOFT[:80]]

    def test_half_a_frame_of_another_time_line_does_not_count(self) -> None:
        rig = self.owing(-1)
        rig.play(SOFT[:80], settle=True)
        rig.line.begin(rig.arrival(b"", 0))
        rig.line.drift.owed = -1
        assert [len(b"".join(rig.play(SOFT[:80], settle=True))) for _ in range(3)] == [0, 0, 80]

    @pytest.mark.parametrize(("codec", "audio_format", "size"), [("G722", WIDE, 640), ("OPUS", OPUS, 960)])
    def test_a_frame_is_20_ms_in_any_format(self, codec: str, audio_format: Format, size: int) -> None:
        quiet = OpusEncoder().encode(bytes(960)) if codec == "OPUS" else G722Encoder().encode(bytes(640))
        for owed, left in ((1, 2 * size), (-1, 0)):
            rig = Rig(audio_format, codec)
            for _ in range(10):
                rig.play(quiet)
            rig.line.drift.owed = owed
            before = rig.line.given
            assert len(b"".join(rig.play(quiet, settle=True))) == left
            assert (rig.line.given - before) * 50 == rig.line.clock * left // size
            assert rig.line.drift.owed == 0

    @pytest.mark.parametrize(("owed", "ms"), [(1, 60), (-1, 20)])
    def test_in_a_pause_it_is_settled_with_silence(self, owed: int, ms: int) -> None:
        rig, out = self.owing(owed), []
        rig.line.silence(320, rig.now, out)
        before = rig.line.given
        rig.line.settle_in_pause(out, rig.now)
        assert b"".join(out) == silence_of(ms, Law.PCMU)
        assert (rig.line.given - before, rig.line.drift.owed) == (owed * 160, 0)

    def test_nothing_is_settled_that_is_not_owed(self) -> None:
        rig, out = self.owing(0), []
        rig.line.silence(320, rig.now, out)
        rig.line.settle_in_pause(out, rig.now)
        assert rig.play(SOFT, skip=320, settle=True) == [SOFT]
        assert out == [silence(320, Law.PCMU)]

    def test_the_transit_is_what_came_less_what_was_given(self) -> None:
        rig = self.owing(0)
        rig.line.drift.least = 1e9
        rig.play(SOFT, settle=True)
        # 100 ms were given 80 ms after the beginning.
        assert rig.line.drift.least == pytest.approx(50.0 - 0.02)
        rig.now += 0.5
        rig.play(SOFT, settle=True)
        assert rig.line.drift.least == pytest.approx(50.0 - 0.02)


class TestFlood:
    """A caller gives as much audio as time passes, and AHEAD_S more."""

    def test_audio_ahead_of_time_is_dropped_and_counted(self) -> None:
        line, out = TimeLine(Law.PCMU), list[bytes]()
        decoder = line.default
        for number in range(1000):
            line.play(Arrival(number, 160 * number, b"x" * 160, 160, 100.0, decoder), out)
        assert sum(map(len, out)) == AHEAD_S * 8000
        assert line.flooded == 1000 - AHEAD_S * 50

    def test_neither_pauses_nor_losses_nor_keys_make_more_time_than_passes(self) -> None:
        line, out = TimeLine(Law.PCMU), list[bytes]()
        decoder, timestamp = line.default, 0
        for number in range(300):
            now = 100 + number * 0.02
            timestamp += 7200
            line.play(Arrival(number, timestamp, None, 0, now, decoder), out)
            line.play(Arrival(number, timestamp, None, 400, now, decoder), out)
            line.conceal_until(timestamp + 3000, now, out)
            timestamp += 3000
        assert sum(map(len, out)) <= (AHEAD_S + 6) * 8000
        assert line.timestamp == timestamp, "the time line knows where it is, also past what it could not give"

    def test_who_is_on_time_may_go_on_for_ever(self) -> None:
        line, out = TimeLine(Law.PCMU), list[bytes]()
        for number in range(50_000):
            line.play(Arrival(number, 160 * number, b"x" * 160, 160, 100 + number * 0.02, line.default), out)
            out.clear()
        assert line.flooded == 0

    def test_new_beginnings_bring_no_new_allowance(self) -> None:
        line, out = TimeLine(Law.PCMU), list[bytes]()
        for number in range(1000):
            arrival = Arrival(number, 77_000 * number, b"x" * 160, 160, 100.0, line.default)
            line.begin(arrival)
            line.play(arrival, out)
        assert sum(map(len, out)) == AHEAD_S * 8000
