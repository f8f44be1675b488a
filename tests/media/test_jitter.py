import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.g711 import Law, decode, silence
from bridge.audio.level import rms
from bridge.media.concealment import conceal
from bridge.media.jitter import JitterBuffer
from bridge.media.rtp import RtpPacket

TALK = 0
EVENT = 101


def packet(number: int, *, samples: int = 160, ssrc: int = 1, ts: int | None = None, at: int = 65530) -> RtpPacket:
    """The packet `number` of a stream whose sequence and timestamp both wrap soon."""
    timestamp = number * samples + 0xFFFFFC00 if ts is None else ts
    payload = number.to_bytes(4, "big") * (samples // 4)
    return RtpPacket(TALK, False, (at + number) & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)


def buffer(**options: float | None) -> JitterBuffer:
    options.setdefault("starve_ms", None)
    return JitterBuffer(Law.PCMU, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("samples", [80, 160, 240, 320, 480])
def test_in_order_every_payload_leaves_at_once_and_untouched(samples: int) -> None:
    jitter = buffer()
    for number in range(20):
        sent = packet(number, samples=samples)
        out = jitter.put(sent, number * 0.02)
        assert len(out) == 1
        assert out[0] is sent.payload
    assert (jitter.received, jitter.lost, jitter.resyncs, jitter.next_deadline) == (20, 0, 0, None)


def test_a_swapped_pair_is_put_in_order_without_concealment() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.00)
    assert jitter.put(packet(2), 0.02) == []
    assert jitter.put(packet(1), 0.03) == [packet(1).payload, packet(2).payload]
    assert jitter.put(packet(3), 0.04) == [packet(3).payload]
    assert (jitter.reordered, jitter.concealed, jitter.next_deadline) == (1, 0, None)


def test_a_gap_waits_its_time_and_no_longer() -> None:
    jitter = buffer(wait_ms=60)
    jitter.put(packet(0), 1.00)
    jitter.put(packet(2), 1.02)
    jitter.put(packet(3), 1.04)
    assert jitter.next_deadline == pytest.approx(1.08)
    assert jitter.due(1.079) == []
    concealed, *rest = jitter.due(1.081)
    assert len(concealed) == 160
    assert rest == [packet(2).payload, packet(3).payload]
    assert (jitter.lost, jitter.concealed_ms, jitter.next_deadline) == (1, 20, None)


def test_a_second_gap_has_its_own_time() -> None:
    jitter = buffer(wait_ms=60)
    jitter.put(packet(0), 0.0)
    jitter.put(packet(2), 0.01)
    jitter.put(packet(4), 0.05)
    assert [len(part) for part in jitter.due(0.075)] == [160, 160]
    assert jitter.next_deadline == pytest.approx(0.11)
    assert jitter.put(packet(3), 0.08) == [packet(3).payload, packet(4).payload]
    assert (jitter.lost, jitter.received) == (1, 4)


def test_late_is_not_lost_and_not_duplicate() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    jitter.put(packet(2), 0.02)
    jitter.due(0.1)
    assert jitter.put(packet(1), 0.11) == []
    assert (jitter.late, jitter.duplicate, jitter.concealed) == (1, 0, 1)
    assert jitter.lost == 0
    assert jitter.put(packet(1), 0.12) == []
    assert (jitter.late, jitter.duplicate) == (1, 1)


def test_lost_never_goes_down_for_who_reads_it_as_a_counter() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    jitter.put(packet(2), 0.02)
    jitter.due(0.1)
    assert jitter.lost == 1
    jitter.put(packet(1), 0.11)
    assert (jitter.late, jitter.lost) == (1, 1)


def test_duplicates_are_dropped_played_or_held() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    assert jitter.put(packet(0), 0.01) == []
    jitter.put(packet(2), 0.02)
    assert jitter.put(packet(2), 0.03) == []
    assert jitter.duplicate == 2
    assert len(jitter.put(packet(1), 0.04)) == 2


def test_silence_suppression_is_silence_of_the_right_length() -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    out = jitter.put(packet(1, ts=160 + 4000), 0.52)
    assert out == [silence(4000, Law.PCMU), packet(1).payload]
    assert (jitter.silence_ms, jitter.lost, jitter.resyncs) == (500, 0, 0)


@pytest.mark.parametrize("jump", [8001, 480_000, 0x7FFFFFFF, -8001, -480_000])
def test_a_timestamp_jump_invents_nothing(jump: int) -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    assert jitter.put(packet(1, ts=160 + jump), 0.02) == [packet(1).payload]
    assert jitter.resyncs == 1
    assert jitter.put(packet(2, ts=320 + jump), 0.04) == [packet(2).payload]
    assert jitter.resyncs == 1


def test_another_source_starts_over_and_what_was_held_goes_first() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    jitter.put(packet(2), 0.02)
    out = jitter.put(packet(7, ssrc=2, at=100), 0.03)
    assert [len(part) for part in out] == [160, 160, 160]
    assert out[1:] == [packet(2).payload, packet(7).payload]
    assert (jitter.resyncs, jitter.next_deadline) == (1, None)
    assert jitter.put(packet(8, ssrc=2, at=100), 0.05) == [packet(8).payload]


def test_a_new_source_inherits_neither_losses_nor_events() -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    event = RtpPacket(EVENT, True, 65530 + 2, 160, 1, b"")
    jitter.put_silent(event, 800, 0.02)
    jitter.due(0.1)
    assert jitter.lost == 1
    assert jitter.put(packet(2, ssrc=2, ts=320), 0.12) == [packet(2).payload]
    assert jitter.put(packet(1, ssrc=2, ts=160), 0.13) == []
    assert (jitter.late, jitter.duplicate) == (0, 1)


def test_every_overtaken_packet_is_counted() -> None:
    jitter = buffer()
    for number in (0, 3, 2, 1):
        jitter.put(packet(number), 0.0)
    assert (jitter.reordered, jitter.concealed) == (2, 0)


def test_the_newest_frame_is_what_concealment_continues() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    jitter.put(packet(2), 0.01)
    jitter.put(packet(1), 0.02)
    jitter.put(packet(4), 0.03)
    assert jitter.due(0.1)[0] == conceal(packet(2).payload, 160, Law.PCMU)


def test_two_packets_far_off_are_a_new_beginning_and_one_is_a_stray() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    assert jitter.put(packet(5000), 0.02) == []
    assert jitter.put(packet(1), 0.04) == [packet(1).payload]
    assert jitter.put(packet(9000), 0.06) == []
    assert jitter.put(packet(9001), 0.08) == [packet(9000).payload, packet(9001).payload]
    assert jitter.put(packet(9002), 0.10) == [packet(9002).payload]
    assert (jitter.strays, jitter.resyncs, jitter.lost) == (1, 1, 0)


def test_a_flood_of_one_source_is_bounded() -> None:
    jitter = buffer()
    jitter.put(packet(0), 0.0)
    for number in range(20_000):
        jitter.put(packet(2 + number * 7 % 30_000), 0.0)
    assert len(jitter._held) <= 100
    for round_ in range(50):
        jitter.put(packet(round_ * 90 + 95), round_)
        jitter.due(round_ + 0.9)
    assert len(jitter._given_up) <= 200


def test_an_event_is_silence_and_the_time_line_goes_on() -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    out = []
    for number, duration in enumerate([160, 320, 480, 480, 480], start=1):
        event = RtpPacket(EVENT, number == 1, (65530 + number) & 0xFFFF, 160, 1, b"")
        out += jitter.put_silent(event, duration, number * 0.02)
    assert out == [silence(160, Law.PCMU)] * 3
    # The repeated ends took 40 ms in which the phone sent no audio.
    assert jitter.put(packet(6, ts=960), 0.12) == [silence(320, Law.PCMU), packet(6).payload]
    assert (jitter.lost, jitter.silence_ms, jitter.resyncs) == (0, 100, 0)


def test_audio_beside_an_event_does_not_double_the_time() -> None:
    jitter = buffer()
    total = len(b"".join(jitter.put(packet(0, ts=0), 0.0)))
    for step in range(1, 6):
        event = RtpPacket(EVENT, step == 1, (65530 + 2 * step - 1) & 0xFFFF, 160, 1, b"")
        total += len(b"".join(jitter.put_silent(event, step * 160, step * 0.02)))
        total += len(b"".join(jitter.put(packet(2 * step, ts=step * 160), step * 0.02)))
    assert total == 6 * 160
    half_covered = jitter.put(packet(11, ts=6 * 160 - 80), 0.14)
    assert half_covered == [packet(11).payload[80:]]


def test_an_event_of_mad_length_invents_nothing() -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    event = RtpPacket(EVENT, True, (65530 + 1) & 0xFFFF, 160, 1, b"")
    assert jitter.put_silent(event, 0xFFFF, 0.02) == []
    assert jitter.put(packet(2, ts=160), 0.04) == [packet(2).payload]


def test_a_lost_event_packet_holds_nothing_up_for_long() -> None:
    jitter = buffer()
    jitter.put(packet(0, ts=0), 0.0)
    event = RtpPacket(EVENT, False, (65530 + 2) & 0xFFFF, 160, 1, b"")
    assert jitter.put_silent(event, 320, 0.04) == []
    assert jitter.due(0.11) == [silence(320, Law.PCMU)]


class TestASilentCaller:
    """Packets stop: silence flows in real time, and the next timestamp sets the length right."""

    def run(self, jitter: JitterBuffer, start: int, end: int) -> int:
        return sum(len(b"".join(jitter.due(ms / 1000))) for ms in range(start, end, 20))

    def test_silence_flows_and_the_total_is_right(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        assert self.run(jitter, 20, 200) == 0
        flowed = self.run(jitter, 200, 3000)
        assert 8 * 2900 <= flowed <= 8 * 2960
        out = b"".join(jitter.put(packet(1, ts=8 * 3000), 3.0))
        assert 160 + flowed + len(out) == 8 * 3000 + 160
        assert jitter.resyncs == 0

    def test_a_phone_whose_clock_stood_still_loses_no_audio(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        assert self.run(jitter, 20, 600) > 0
        assert jitter.put(packet(1, ts=160), 0.6) == [packet(1).payload]
        assert jitter.put(packet(2, ts=320), 0.62) == [packet(2).payload]
        assert jitter.resyncs == 0

    def test_every_pause_gets_its_own_silence(self) -> None:
        jitter, total, ts, now = JitterBuffer(Law.PCMU, starve_ms=200), 0, 0, 0
        for number, pause in enumerate([1000, 60 + 20, 600, 1000, 100]):
            total += len(b"".join(jitter.put(packet(number, ts=ts), now / 1000)))
            total += self.run(jitter, now, now + pause)
            now += pause
            ts += pause * 8
            # Exactly as far as silence flowed, the next packet takes the short way in.
            assert jitter.silence_ms * 8 <= ts
        for number, step in enumerate(range(0, 2000, 20), start=5):
            total += len(b"".join(jitter.put(packet(number, ts=ts + step * 8), (now + step) / 1000)))
            total += len(b"".join(jitter.due((now + step + 10) / 1000)))
        assert total == ts + 100 * 160
        assert jitter.resyncs == 0

    def test_no_silence_flows_into_steady_speech_after_a_pause(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        flowed = self.run(jitter, 20, 1000)
        assert jitter.put(packet(1, ts=160 + flowed), 1.0) == [packet(1).payload]
        flowed_again = self.run(jitter, 1000, 2000)
        assert abs(flowed_again - flowed) <= 160

    def test_our_own_stall_is_not_the_callers_silence(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        jitter.due(0.02)
        assert jitter.due(5.0) == []

    def test_nothing_flows_before_the_first_packet(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        assert self.run(jitter, 0, 2000) == 0
        jitter.expect_silence(2.0)
        assert self.run(jitter, 2000, 4000) == 0
        assert jitter.next_deadline is None

    def test_time_goes_on_in_hold(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 2.0)
        jitter.expect_silence(2.0)
        assert 6900 <= self.run(jitter, 2000, 9000) // 8 <= 6960

    def test_a_network_that_holds_packets_up_is_given_time(self) -> None:
        """Bursts of 300 ms: silence flows beside the first only, and for a minute no more."""
        jitter, silent = JitterBuffer(Law.PCMU, starve_ms=200), []
        for burst in range(400):
            for number in range(15):
                jitter.put(packet(15 * burst + number), burst * 0.3)
            silent.append(jitter.silence_ms)
            self.run(jitter, burst * 300, burst * 300 + 300)
        assert silent[1] <= 260
        assert silent[-1] == silent[1]

    def test_silence_flows_as_soon_as_ever_a_minute_later(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        for number in range(15):
            jitter.put(packet(number), 0.0)
        self.run(jitter, 0, 300)
        for number in range(15, 30):
            jitter.put(packet(number), 0.3)
        assert self.run(jitter, 300, 620) == 0
        jitter.put(packet(30), 0.62)
        for now in range(640, 65_000, 20):
            jitter.put(packet(now // 20), now / 1000)
            jitter.due(now / 1000)
        assert self.run(jitter, 65_000, 65_260) > 0

    def test_the_deadline_says_when_silence_flows_next(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        assert jitter.next_deadline == pytest.approx(0.2)
        jitter.due(0.19)
        assert len(b"".join(jitter.due(0.201))) == 7 * 160
        assert jitter.next_deadline == pytest.approx(0.22)

    def test_a_gap_behind_an_outage_adds_no_time_twice(self) -> None:
        jitter = JitterBuffer(Law.PCMU, starve_ms=200)
        jitter.put(packet(0, ts=0), 0.0)
        total = 160 + self.run(jitter, 20, 1000)
        total += len(b"".join(jitter.put(packet(50, ts=8000), 1.0)))
        total += self.run(jitter, 1000, 1100)
        assert total == 8000 + 160
        assert jitter.lost == 49


@given(st.permutations(range(8)))
def test_any_order_within_the_wait_is_put_right(order: list[int]) -> None:
    jitter = buffer(wait_ms=1000)
    out = jitter.put(packet(0), 0.0)
    for at, number in enumerate(order):
        out += jitter.put(packet(1 + number), 0.001 * at)
    assert out == [packet(number).payload for number in range(9)]
    assert (jitter.concealed, jitter.duplicate, jitter.resyncs) == (0, 0, 0)


@given(
    st.integers(0, 2**32),
    st.sampled_from([80, 160, 240, 320, 480]),
    st.floats(0, 0.5),
    st.floats(0, 0.2),
)
def test_milliseconds_in_are_milliseconds_out(seed: int, samples: int, loss: float, jitter_s: float) -> None:
    chance = random.Random(seed)
    arrivals = [
        (number * samples / 8000 + chance.random() * jitter_s, number)
        for number in range(200)
        if number in (0, 199) or chance.random() >= loss
    ]
    arrivals = [(0.0, 0), *sorted(arrivals[1:])]
    jitter, total, now = buffer(), 0, 0.0
    for at, number in arrivals:
        while now + 0.02 < at:
            now += 0.02
            total += len(b"".join(jitter.due(now)))
        total += len(b"".join(jitter.put(packet(number, samples=samples), at)))
    total += len(b"".join(jitter.due(now + 10)))
    assert total == 200 * samples
    assert jitter.resyncs == 0
    assert jitter.concealed - jitter.late == 200 - len(arrivals)
    assert jitter.received == len(arrivals)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 65535, 5, 40_000]) | st.integers(0, 65535),
            st.sampled_from([0, 160, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF),
            st.integers(0, 2),
            st.binary(max_size=200),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_comes_invents_no_minutes(packets: list[tuple[int, int, int, bytes, bool]]) -> None:
    jitter, now = JitterBuffer(Law.PCMA), 0.0
    for sequence, timestamp, ssrc, payload, silent in packets:
        now += 0.02
        arrived = RtpPacket(TALK, False, sequence, timestamp, ssrc, payload)
        out = jitter.put_silent(arrived, len(payload), now) if silent else jitter.put(arrived, now)
        assert sum(map(len, out)) <= 101 * (8000 + 200)
        assert sum(map(len, jitter.due(now))) <= 101 * (8000 + 200)


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("frame", [80, 160, 480])
def test_concealment_fades_from_the_last_frame_to_silence(law: Law, frame: int) -> None:
    loud = bytes((0x10, 0x90)) * (frame // 2)
    pcm = decode(conceal(loud, 800, law), law)
    levels = [rms(pcm[at : at + 320]) for at in range(0, 1600, 320)]
    assert rms(decode(loud, law)) > levels[0] > levels[1] > levels[2] > levels[3] == levels[4]
    assert conceal(loud, 800, law)[480:] == silence(320, law)


@given(st.binary(max_size=500), st.integers(0, 9000))
def test_concealment_has_the_length_that_is_missing(last: bytes, samples: int) -> None:
    assert len(conceal(last, samples, Law.PCMU)) == samples


def test_who_has_sent_too_much_is_heard_again_at_once_when_he_sends_as_others_do() -> None:
    jitter, number, now = JitterBuffer(Law.PCMU), 0, 100.0
    for _ in range(2000):
        jitter.put(packet(number), now)
        number += 1
    assert jitter.line.flooded == 2000 - 250
    flooded, silent, heard = jitter.line.flooded, jitter.silence_ms, 0
    for _ in range(500):
        now += 0.02
        heard += len(jitter.put(packet(number), now))
        jitter.due(now)
        number += 1
    assert heard >= 499
    assert (jitter.line.flooded - flooded, jitter.silence_ms) == (500 - heard, silent)
