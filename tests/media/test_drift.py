from math import inf

import pytest

from bridge.media.drift import ENOUGH, FRAME_S, PATIENCE_S, WINDOW_S, Drift

BASE = 500.0


class Watch:
    """A Drift that is looked at in each slot, with a packet of the given transit in it."""

    def __init__(self) -> None:
        self.drift = Drift()
        self.now = 1000.0
        self.packets = 0

    def slots(self, count: int, transit_ms: float | None) -> None:
        """None: no packets come."""
        for _ in range(count):
            if transit_ms is not None:
                self.packets += 1
                self.drift.least = min(self.drift.least, BASE + transit_ms / 1000)
            self.now += FRAME_S
            self.drift.judge(self.now, self.packets)

    def window(self, transit_ms: float | None) -> None:
        """So long that a whole one has this transit, whenever the last began."""
        self.slots(round(2 * WINDOW_S / FRAME_S) + 20, transit_ms)


def test_the_first_window_is_what_the_later_ones_are_compared_with() -> None:
    watch = Watch()
    watch.window(77)
    assert watch.drift.owed == 0
    watch.window(77)
    assert watch.drift.owed == 0
    watch.window(77 + 21)
    assert watch.drift.owed == 1


@pytest.mark.parametrize(
    ("moved_ms", "owed"),
    [(11, 0), (13, 1), (31, 1), (33, 2), (240, 12), (-11, 0), (-13, -1), (-31, -1), (-33, -2), (-240, -12)],
)
def test_so_many_frames_are_owed(moved_ms: float, owed: int) -> None:
    watch = Watch()
    watch.window(300)
    watch.window(300 + moved_ms)
    assert watch.drift.owed == owed


def test_only_the_smallest_transit_of_a_window_counts() -> None:
    watch = Watch()
    watch.window(0)
    for transit in (60, 45, 3, 50, 59):
        watch.slots(60, transit)
    assert watch.drift.owed == 0


def test_a_window_waits_for_packets_enough() -> None:
    watch = Watch()
    watch.window(0)
    watch.window(20)
    watch.drift.settled(watch.now)  # begins a window
    watch.slots(500, None)
    watch.slots(ENOUGH - 1, 40)
    assert watch.drift.owed == 0
    watch.slots(1, 40)
    assert watch.drift.owed == 2


def test_nothing_is_said_while_nobody_was_heard() -> None:
    watch = Watch()
    watch.window(0)
    for _ in range(3):
        watch.packets += 500
        watch.slots(300, None)
    assert watch.drift.owed == 0


def test_silence_that_stands_beside_late_packets_is_owed_at_once() -> None:
    watch = Watch()
    watch.window(0)
    watch.drift.suspect(0.24)
    watch.slots(1, -240)
    assert watch.drift.owed == -12


def test_no_more_is_owed_than_flowed_and_no_more_than_the_audio_is_ahead() -> None:
    for flowed, ahead, owed in ((0.24, -400, -12), (25.0, -60, -3), (25.0, 0, 0), (25.0, 40, 0)):
        watch = Watch()
        watch.window(0)
        watch.drift.suspect(flowed)
        watch.slots(3, ahead)
        assert watch.drift.owed == owed


def test_one_burst_after_the_other_adds_up() -> None:
    watch = Watch()
    watch.window(0)
    for number in range(1, 4):
        watch.drift.suspect(0.1)
        watch.slots(3, -100 * number)
        assert watch.drift.owed == -5 * number


def test_a_first_suspicion_measures_against_what_came_before_it() -> None:
    watch = Watch()
    watch.slots(20, 0)
    watch.drift.suspect(0.2)
    watch.slots(2, -200)
    assert watch.drift.owed == -10


def test_a_pause_of_the_callers_clock_is_over_with_the_window() -> None:
    watch = Watch()
    watch.window(0)
    watch.drift.suspect(25.0)
    watch.window(0)
    assert (watch.drift.owed, watch.drift.unconfirmed) == (0, 0.0)


def test_what_is_owed_goes_down_frame_by_frame_to_nothing() -> None:
    watch = Watch()
    watch.window(0)
    watch.window(60)
    owed = []
    while watch.drift.owed:
        owed.append(watch.drift.owed)
        watch.drift.settled(watch.now)
    assert owed == [3, 2, 1]
    watch.drift.owed = -2
    watch.drift.settled(watch.now)
    assert watch.drift.owed == -1


def test_what_was_settled_is_not_seen_again_in_the_same_window() -> None:
    watch = Watch()
    watch.window(0)
    watch.window(30)
    watch.slots(100, 30)
    watch.drift.settled(watch.now)
    watch.slots(50, 10)
    watch.drift.least = min(watch.drift.least, BASE + 0.010)
    watch.window(10)
    assert watch.drift.owed == 0


def test_more_is_not_owed_while_some_waits() -> None:
    watch = Watch()
    watch.window(0)
    watch.window(21)
    watch.window(61)
    assert watch.drift.owed == 1


@pytest.mark.parametrize("owed", [1, -1, 5, -5])
def test_several_frames_wait_shorter_than_one(owed: int) -> None:
    watch = Watch()
    watch.window(0)
    transit = 0
    while watch.drift.owed != owed:
        # The smallest of a window counts: what is too slow shows when the window before is over.
        transit = owed * 20 if watch.drift.least == inf or owed < 0 else transit
        watch.slots(1, transit)
    patience = PATIENCE_S / abs(owed)
    assert not watch.drift.is_pressing(watch.now + patience - 0.01)
    assert watch.drift.is_pressing(watch.now + patience + 0.01)
    watch.drift.settled(watch.now + patience)
    if watch.drift.owed:
        assert not watch.drift.is_pressing(watch.now + patience + 0.01)


def test_speech_never_changes_by_more_than_one_frame_in_ten() -> None:
    watch = Watch()
    watch.window(0)
    watch.drift.owed = -150
    pressed = 0
    for _ in range(500):
        watch.now += FRAME_S
        if watch.drift.is_pressing(watch.now):
            watch.drift.settled(watch.now)
            pressed += 1
    assert 45 <= pressed <= 50


def test_a_new_time_line_owes_nothing_and_begins_anew() -> None:
    watch = Watch()
    watch.window(0)
    watch.window(60)
    watch.drift.restart()
    assert watch.drift.owed == 0
    watch.window(500)
    assert watch.drift.owed == 0
    watch.window(530)
    assert watch.drift.owed == 1
