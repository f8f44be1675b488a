"""The caller's audio that a new session must hear, in milliseconds that tell their own place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.format import Linear
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.uplink import BLOCK_MS, QUIET_MS, Uplink

FRAME_MS = 20


class Caller:
    """Speaks frames that say which millisecond of the call they are."""

    def __init__(self, keep_ms: int = 20_000) -> None:
        self.uplink = Uplink(Law.PCMU, keep_ms)
        self.ms = 0

    def speak(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            self.uplink.add(b"".join((self.ms + at).to_bytes(8, "big") for at in range(FRAME_MS)))
            self.ms += FRAME_MS

    def restart(self) -> tuple[int, int, int]:
        """First and last millisecond (not included) of what a new session hears, and how much was lost, in ms."""
        if self.uplink._left is None:
            self.uplink.leave()
        audio, lost = self.uplink.restart()
        return (*span(audio), lost // 8)


def span(audio: bytes) -> tuple[int, int]:
    if not audio:
        return 0, 0
    times = [int.from_bytes(audio[at : at + 8], "big") for at in range(0, len(audio), 8)]
    assert times == list(range(times[0], times[-1] + 1)), "in order, without a hole"
    return times[0], times[-1] + 1


def test_while_nobody_speaks_the_last_seconds_are_told_again() -> None:
    caller = Caller()
    caller.speak(60_000)
    assert caller.restart() == (60_000 - QUIET_MS, 60_000, 0)


def test_a_turn_in_the_making_is_told_from_its_beginning() -> None:
    caller = Caller()
    caller.speak(10_000)
    caller.uplink.observe(ev.SpeechStarted(9_500))
    caller.speak(12_000)
    caller.uplink.leave()
    caller.speak(2_000)
    assert caller.restart() == (9_500, 24_000, 0)


def test_a_turn_that_the_session_has_is_not_told_again_and_its_audio_is_given() -> None:
    caller = Caller()
    caller.speak(1_000)
    caller.uplink.observe(ev.SpeechStarted(400))
    caller.speak(3_000)
    caller.uplink.observe(ev.SpeechStopped(3_500))
    turn = caller.uplink.observe(ev.Committed("u"))
    assert turn is not None and span(turn) == (400, 3_500)
    caller.speak(1_000)
    assert caller.restart() == (3_500, 5_000, 0)


def test_a_turn_that_ended_but_is_no_item_yet_is_told_again() -> None:
    caller = Caller()
    caller.speak(1_000)
    caller.uplink.observe(ev.SpeechStarted(400))
    caller.speak(1_000)
    caller.uplink.observe(ev.SpeechStopped(1_900))
    assert caller.restart() == (400, 2_000, 0)


def test_what_the_bound_has_cut_off_is_said() -> None:
    caller = Caller(keep_ms=5_000)
    caller.speak(1_000)
    caller.uplink.observe(ev.SpeechStarted(500))
    caller.speak(9_500)
    start, end, lost = caller.restart()
    assert (start, end) == (5_500, 10_500) and lost == 5_000


def test_nothing_of_the_time_away_is_dropped_within_the_bound() -> None:
    caller = Caller()
    caller.speak(30_000)
    caller.uplink.leave()
    caller.speak(12_000)
    start, end, lost = caller.restart()
    assert (start, end, lost) == (30_000 - QUIET_MS, 42_000, 0)


def test_the_clock_of_the_next_session_begins_at_what_it_heard_first() -> None:
    caller = Caller()
    caller.speak(50_000)
    start, _, _ = caller.restart()
    caller.speak(3_000)
    caller.uplink.observe(ev.SpeechStarted(50_000 - start + 1_000))  # by its own clock
    caller.speak(1_000)
    assert caller.restart()[0] == 51_000


def test_after_a_planned_change_nothing_is_told_twice() -> None:
    caller = Caller()
    caller.speak(5_000)
    caller.uplink.leave_unnoticed()
    assert caller.restart() == (0, 0, 0)
    caller.speak(2_000)
    assert caller.restart() == (5_000, 7_000, 0)


def test_words_close_a_turn_of_a_service_that_commits_nothing() -> None:
    caller = Caller()
    caller.speak(5_000)
    caller.uplink.observe(ev.CallerSaid("u", "Hello."))
    caller.speak(1_000)
    assert caller.restart() == (5_000, 6_000, 0)


def test_words_that_come_late_close_nothing_where_turns_are_committed() -> None:
    """The caller may have begun to speak again, and it was not noticed yet."""
    caller = Caller()
    caller.speak(1_000)
    caller.uplink.observe(ev.SpeechStarted(400))
    caller.speak(3_000)
    caller.uplink.observe(ev.SpeechStopped(3_500))
    caller.uplink.observe(ev.Committed("u"))
    caller.speak(1_000)
    caller.uplink.observe(ev.CallerSaid("u", "Hello."))
    assert caller.restart() == (3_500, 5_000, 0)


@given(
    st.lists(
        st.one_of(
            st.builds(ev.SpeechStarted, st.integers(-(10**12), 10**12)),
            st.builds(ev.SpeechStopped, st.integers(-(10**12), 10**12)),
            st.builds(ev.Committed, st.text(max_size=3)),
            st.builds(ev.CallerSaid, st.text(max_size=3), st.text(max_size=3)),
            st.integers(1, 200),
        ),
        max_size=60,
    )
)
def test_whatever_a_server_says_memory_is_bounded_and_audio_is_whole(story: list[object]) -> None:
    caller = Caller(keep_ms=3_000)
    for step in story:
        if isinstance(step, int):
            caller.speak(step * FRAME_MS)
        else:
            caller.uplink.observe(step)  # type: ignore[arg-type]
        assert len(caller.uplink._blocks) * BLOCK_MS <= 3_000 + BLOCK_MS
    start, end, lost = caller.restart()
    assert lost >= 0 and end in (0, caller.ms) and end - start <= 3_000 + FRAME_MS


def test_positions_are_bytes_of_the_format() -> None:
    uplink = Uplink(Linear(24000), 20_000)
    for _ in range(50):
        uplink.add(bytes(960))
    uplink.observe(ev.SpeechStarted(400))
    uplink.leave()
    assert len(uplink.restart()[0]) == 600 * 48
