"""The tracks of a recording: what lies at which millisecond, by audio whose every byte is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.recording import BATCH_MS, HELD_BACK_MS, MOST_AHEAD_MS, Batch, Recording

MS = 8
SILENCE = bytes((Law.PCMU.silence,))
HOUR = 3_600_000


class File:
    def __init__(self) -> None:
        self.path = Path("x.wav")
        self.failed = False


class Writer:
    """Takes everything, unless it is full."""

    def __init__(self) -> None:
        self.dropped_ms = 0
        self.limited = 0
        self.full = False
        self.batches: list[Batch] = []
        self.done = 0

    def hand_over(self, batch: Batch) -> bool:
        if not self.full:
            self.batches.append(batch)
        return not self.full

    def finish(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.done += 1

    def tracks(self, code: bytes = SILENCE) -> tuple[bytes, bytes]:
        """Caller and agent as they will stand in the file."""
        tracks = bytearray(), bytearray()
        for batch in self.batches:
            assert len(batch.caller) == len(batch.agent)
            for track, audio in zip(tracks, (batch.caller, batch.agent), strict=True):
                track += code * (batch.silence_ms * batch.format.bytes_per_ms) + audio
        return bytes(tracks[0]), bytes(tracks[1])


def recording(most_ms: int = HOUR, audio_format: Format = Law.PCMU) -> tuple[Recording, Writer]:
    writer = Writer()
    return Recording(writer, File(), audio_format, most_ms), writer


def frame(number: int, ms: int = 20) -> bytes:
    """Audio that says which frame it is; never the code of silence."""
    return bytes((number % 100,)) * (ms * MS)


def silence(ms: int) -> bytes:
    return SILENCE * (ms * MS)


def test_each_frame_of_the_agent_lies_at_its_slot_and_other_slots_are_silent() -> None:
    made, writer = recording()
    for number in range(100):
        made.slot(20)
        if number % 3:
            made.sent(frame(number))
    made.close()
    assert writer.tracks()[1] == b"".join(
        frame(number) if number % 3 else silence(20) for number in range(99)
    ) + silence(20)


@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_slots_of_any_length(ms: int) -> None:
    made, writer = recording()
    for number in range(30):
        made.slot(ms)
        made.sent(frame(number, ms))
        made.heard(frame(50 + number, ms))
    made.close()
    caller, agent = writer.tracks()
    assert agent == b"".join(frame(number, ms) for number in range(30))
    assert caller == b"".join(frame(50 + number, ms) for number in range(30))


def test_the_length_of_slots_may_change_in_a_call() -> None:
    made, writer = recording()
    for ms in (20, 20, 60, 10, 30):
        made.slot(ms)
        made.sent(frame(ms, ms))
    made.close()
    assert writer.tracks()[1] == b"".join(frame(ms, ms) for ms in (20, 20, 60, 10, 30))


def test_the_caller_is_laid_where_he_arrives_and_then_without_a_seam() -> None:
    made, writer = recording()
    for number in range(100):
        made.slot(20)
        if number >= 5:
            made.heard(frame(number))
    made.close()
    assert writer.tracks()[0] == silence(100) + b"".join(frame(number) for number in range(5, 100))


def test_a_caller_who_comes_after_the_first_batch_is_laid_where_he_arrives() -> None:
    made, writer = recording()
    for number in range(200):
        made.slot(20)
        if number >= 123:
            made.heard(frame(number))
    made.close()
    assert writer.tracks()[0] == silence(123 * 20) + b"".join(frame(number) for number in range(123, 200))


def test_bursts_leave_no_holes() -> None:
    """Jitter: what was spoken in 440 ms comes at once, again and again, over several batches."""
    made, writer = recording()
    spoken = [frame(number) for number in range(220)]
    waiting: list[bytes] = []
    for number, audio in enumerate(spoken):
        made.slot(20)
        waiting.append(audio)
        if number % 22 == 0:
            for late in waiting:
                made.heard(late)
            waiting.clear()
    for late in waiting:
        made.heard(late)
    made.close()
    assert writer.tracks()[0] == b"".join(spoken)


def test_a_gap_longer_than_what_is_held_back_is_silence_and_what_follows_is_in_its_place() -> None:
    """Hold: for three seconds nothing comes of either side."""
    made, writer = recording()
    for number in range(300):
        made.slot(20)
        if not 100 <= number < 250:
            made.sent(frame(number))
            made.heard(frame(number + 1))
    made.close()
    quiet = silence(150 * 20)
    caller, agent = writer.tracks()
    assert agent == b"".join(map(frame, range(100))) + quiet + b"".join(map(frame, range(250, 300)))
    assert caller == b"".join(map(frame, range(1, 101))) + quiet + b"".join(map(frame, range(251, 301)))


@pytest.mark.parametrize("stalled", [1, 7, 500])
def test_a_stall_of_ours_silences_the_agent_and_moves_nobody(stalled: int) -> None:
    """Meanwhile the caller's packets wait in the socket; some are read before the clock runs on, some after."""
    made, writer = recording()
    for number in range(100):
        made.slot(20)
        made.sent(frame(number))
        made.heard(frame(number))
    early = min(stalled, 32)
    for number in range(100, 100 + early):
        made.heard(frame(number))
    made.slot(20, stalled)
    made.sent(frame(100 + stalled))
    for number in range(100 + early, 101 + stalled):
        made.heard(frame(number))
    for number in range(101 + stalled, 200 + stalled):
        made.slot(20)
        made.sent(frame(number))
        made.heard(frame(number))
    made.close()
    caller, agent = writer.tracks()
    assert caller == b"".join(map(frame, range(200 + stalled)))
    left = [frame(number) for number in range(100)], [frame(number) for number in range(100 + stalled, 200 + stalled)]
    assert agent == b"".join(left[0]) + silence(20 * stalled) + b"".join(left[1])
    assert writer.dropped_ms == 0


def test_a_clock_that_misses_slots_all_the_time_still_writes() -> None:
    made, writer = recording()
    for _ in range(200):
        made.slot(20, 1)
    assert len(writer.tracks()[1]) > (8000 - 2 * HELD_BACK_MS - 2 * BATCH_MS) * MS


def test_a_burst_takes_the_place_of_the_silence_that_stood_in_for_it() -> None:
    """The network stalls: the jitter buffer lets silence flow, and the late packets come in a burst behind that."""
    made, writer = recording()
    for number in range(100):
        made.slot(20)
        made.heard(frame(number))
    for _ in range(20):
        made.slot(20)
        made.heard(silence(20))
    for number in range(100, 121):
        made.heard(frame(number))
    for number in range(121, 200):
        made.slot(20)
        made.heard(frame(number))
    made.close()
    assert writer.tracks()[0] == b"".join(map(frame, range(200)))
    assert writer.dropped_ms == 0


def test_what_was_spoken_before_the_clock_began_is_left_out() -> None:
    made, writer = recording()
    for number in range(50):
        made.heard(frame(number))
    for number in range(50, 150):
        made.slot(20)
        made.heard(frame(number))
    made.close()
    assert writer.tracks()[0] == b"".join(map(frame, range(49, 150)))
    assert writer.dropped_ms == 49 * 20


def test_a_fast_clock_never_gets_further_ahead_than_allowed() -> None:
    made, writer = recording()
    for number in range(3000):
        made.slot(20)
        made.heard(frame(number, 21))
        behind = made._wire - len(made._caller)
        assert -MOST_AHEAD_MS - 21 <= behind // MS <= 0
    made.close()
    assert 0 <= len(writer.tracks()[0]) // MS - 60_000 <= MOST_AHEAD_MS + 21
    assert 3000 - MOST_AHEAD_MS - 21 <= writer.dropped_ms <= 3000


def test_it_ends_at_its_longest_and_keeps_nothing_from_there() -> None:
    made, writer = recording(most_ms=2510)
    for number in range(1000):
        made.slot(20)
        made.sent(frame(number))
        made.heard(frame(number))
    caller, agent = writer.tracks()
    assert len(caller) == len(agent) == 2510 * MS
    assert (writer.limited, writer.done) == (1, 1)
    assert writer.batches[-1].last
    assert len(made._caller) + len(made._agent) <= 4 * HELD_BACK_MS * MS
    made.follow(Law.PCMA)
    made.close()
    assert writer.done == 1


def test_what_finds_no_room_becomes_silence_of_its_length() -> None:
    made, writer = recording()
    for number in range(200):
        writer.full = 50 <= number < 150
        made.slot(20)
        made.sent(frame(number))
        made.heard(frame(number))
    made.close()
    caller, agent = writer.tracks()
    assert writer.dropped_ms >= 1000
    for track in (caller, agent):
        assert len(track) == 200 * 20 * MS
        assert track.count(SILENCE) == writer.dropped_ms * MS
        for number in (*range(20), *range(160, 200)):
            assert track[number * 160 : number * 160 + 160] == frame(number)


def test_a_failed_file_ends_it() -> None:
    made, writer = recording()
    made._file.failed = True
    for _ in range(200):
        made.slot(20)
        made.heard(frame(1))
    assert writer.done == 1
    assert len(writer.tracks()[0]) <= BATCH_MS * MS


def test_another_format_goes_on_at_the_same_moment() -> None:
    made, writer = recording()
    for number in range(10):
        made.slot(20)
        made.sent(frame(number))
        made.heard(frame(number))
    made.follow(Linear(16000))
    for _ in range(10):
        made.slot(20)
        made.sent(b"\1\2" * 320)
    made.close()
    first, second = (batch for batch in writer.batches if not batch.last)
    assert (first.format, second.format) == (Law.PCMU, Linear(16000))
    assert first.agent == b"".join(map(frame, range(10)))
    assert second.agent == b"\1\2" * 3200
    assert second.caller == bytes(6400)


def test_closing_twice_ends_once() -> None:
    made, writer = recording()
    made.slot(20)
    made.close()
    made.close()
    assert writer.done == 1


def test_a_caller_far_ahead_of_the_clock_makes_no_recording_longer_than_the_call() -> None:
    made, writer = recording()
    for _ in range(10):
        made.slot(20)
        made.heard(bytes(160))
    for _ in range(20):
        for law in (Law.PCMA, Law.PCMU):
            made.heard(bytes(8000))
            made.follow(law)
    made.heard(bytes(8000))
    made.close()
    assert 200 <= sum(len(batch.caller) for batch in writer.batches) // 8 <= 200 + MOST_AHEAD_MS
