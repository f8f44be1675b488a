"""When calls are refused for what the machine can do: on a core made of arithmetic, by a clock by hand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pressure import FEW, FULL, IDLE_S, SLICE_S, Pressure

STEP_S = 0.005
LATE_S = 0.005
SET_UP_S = 0.4
"""From the INVITE to the first packet."""


class Core:
    """A core that carries so many calls; a set-up takes as much of it as a call in `set_up_calls` seconds.

    Up to its limit its rounds are in time, past it they are up to 20 ms late. `others`: the share that they take.
    """

    def __init__(self, carries: int, *, calls: int = 0, set_up_calls: float = 1.0, others: float = 0.0) -> None:
        self.now = 1000.0
        self.calls = self.up = calls
        self.others = others
        self.refused = 0
        self.late_s = 0.0
        """Of each round, besides what the load does."""
        self._share = 1 / carries
        self._set_up = set_up_calls / carries
        self._coming: list[float] = []
        self._worked = self._waited = 0.0
        self._steps = 0
        self.pressure = Pressure(LATE_S, lambda: self.up, lambda: (self._worked, self._waited))

    @property
    def load(self) -> float:
        """Of the core, set-ups besides."""
        return self.calls * self._share

    @property
    def full(self) -> bool:
        return self.pressure.refuses(self.calls, self.now)

    def invite(self) -> bool:
        """A call that stays, if it is let in."""
        if self.full:
            self.refused += 1
            return False
        self.pressure.let_in()
        self.calls += 1
        self._coming.append(self.now + SET_UP_S)
        return True

    def leave(self, calls: int) -> None:
        """So many hang up."""
        self.calls -= calls
        self.up -= calls

    def run(self, seconds: float, per_s: float = 0.0) -> list[bool]:
        """Let time pass, with so many INVITEs a second; whether it was full at the end of each tenth of a second."""
        seen, due = [], 0.0
        for step in range(1, round(seconds / STEP_S) + 1):
            due += per_s * STEP_S
            while due >= 1:
                due -= 1
                self.invite()
            self._step()
            if step % 20 == 0:
                seen.append(self.full)
        return seen

    def stall(self, seconds: float, worked: bool = False) -> None:
        """Nothing runs; then what was missed of the last turn of the wheel, each round later than the next."""
        self.now += seconds
        self._worked += seconds * worked
        late_s = seconds
        for _ in range(min(round(seconds / STEP_S), 24)):
            self.pressure.round(late_s, self.now)
            late_s -= STEP_S

    def _step(self) -> None:
        self.now += STEP_S
        self._steps += 1
        set_ups = len(self._coming) / SET_UP_S
        while self._coming and self._coming[0] <= self.now:
            self._coming.pop(0)
            self.up += 1
        load = self.up * self._share + set_ups * self._set_up
        worked = min(load, 1 - self.others)
        self._worked += worked * STEP_S
        self._waited += min(self.others, 1 - worked) * STEP_S
        late_s = self._steps * 0.007 % 0.02 if load + self.others >= 1 else 0.0
        if self.up:
            self.pressure.round(self.late_s + late_s, self.now)


@pytest.mark.parametrize("carries", [60, 150, 250, 500, 900])
@pytest.mark.parametrize("per_s", [1, 10, 50])
@pytest.mark.parametrize("set_up_calls", [0.5, 1.0, 2.0, 3.0])
def test_it_fills_the_core_and_not_more(carries: int, per_s: int, set_up_calls: float) -> None:
    """As long as it is not filled in a second: before that nothing has been measured."""
    core = Core(carries, set_up_calls=set_up_calls)
    core.run(1.5 * carries / per_s + 5, per_s)
    assert 0.87 <= core.load <= 1.0
    assert core.refused


@pytest.mark.parametrize("carries", [60, 250, 900])
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_up_to_four_fifths_nobody_is_refused(carries: int, rate: float) -> None:
    """As long as set-ups leave room: here they take a tenth of the core at most."""
    core = Core(carries)
    per_s = carries * rate
    core.run(0.8 / rate, per_s)
    assert core.load == pytest.approx(0.8, abs=0.02)
    core.run(5)
    assert core.refused == 0


def test_dear_set_ups_are_no_dear_calls() -> None:
    core = Core(250, set_up_calls=2)
    while not core.refused:
        core.run(0.02, per_s=50)
    of_set_ups = 50 * 2 / 250
    assert 0.85 < core.load + of_set_ups <= 1
    core.run(2)
    assert not core.full, "they are over, so there is room again"


def test_a_core_that_is_late_closes_within_a_second_and_opens_within_a_second() -> None:
    core = Core(500, calls=50)
    assert not any(core.run(2))
    core.late_s = 0.006
    seen = core.run(2)
    assert seen.index(True) <= 10 and all(seen[seen.index(True) :])
    core.late_s = 0.004
    seen = core.run(2)
    assert seen.index(False) <= 10 and not any(seen[seen.index(False) :])


@pytest.mark.parametrize("full", [False, True])
def test_what_is_late_half_of_the_time_stays_as_it_is(full: bool) -> None:
    core = Core(500, calls=50)
    core.late_s = 0.006 * full
    core.run(5 * SLICE_S)
    for number in range(6):  # more of them, and slices and quarters of a second would have drifted apart
        core.late_s = 0.006 * (number % 2)
        assert set(core.run(SLICE_S)) == {full}


def test_a_fifth_of_the_rounds_may_be_late() -> None:
    """So it is beside a busy neighbour, with the core half empty."""
    core = Core(500, calls=100)
    for number in range(2000):
        core.late_s = 0.02 if number % 5 == 0 else 0.0
        core.run(STEP_S)
        assert not core.full


def test_calls_that_grow_dearer_close_it() -> None:
    """Nobody came, but all of them begin to be recorded, say."""
    core = Core(100, calls=90)
    assert not any(core.run(3))
    core._share = 1 / 95
    assert core.run(2)[-1]
    assert core.load < 1
    core.leave(5)
    assert all(core.run(3)), "0.89 of the core: not yet"
    core.leave(4)
    assert not core.run(2)[-1]


def test_the_call_that_asks_is_reckoned_with() -> None:
    core = Core(20, calls=18)
    core.run(2)
    assert core.full
    core.leave(1)
    core.run(2)
    assert not core.full


def test_what_others_take_of_the_core_counts() -> None:
    core = Core(100, calls=40, others=0.5)
    core.run(2)
    assert not core.full
    core.run(10, per_s=5)
    assert 0.38 <= core.load <= 0.5


def test_a_core_that_others_have_is_full_before_it_is_late() -> None:
    core = Core(100, calls=10, others=0.85)
    core.run(2)
    assert core.full and core.pressure.late() == 0


def test_what_others_take_does_not_grow_with_our_calls() -> None:
    core = Core(400, calls=FEW, others=0.6)
    core.run(2)
    for _ in range(50):
        assert core.invite()


@given(
    stall_s=st.floats(0.005, 10),
    worked=st.booleans(),
    before_s=st.floats(0, 3),
    load=st.floats(0.02, 0.65),
    per_s=st.sampled_from([0, 5]),
)
def test_one_stall_closes_nothing(stall_s: float, worked: bool, before_s: float, load: float, per_s: int) -> None:
    core = Core(250, calls=round(load * 250))
    core.run(before_s)
    core.stall(stall_s, worked)
    assert not core.full
    assert not any(core.run(2, per_s)) and core.refused == 0


def test_a_stall_makes_no_call_dear() -> None:
    core = Core(250, calls=10)
    core.run(1)
    core.stall(0.5, worked=True)
    core.run(STEP_S)
    for _ in range(40):
        assert core.invite()


@given(st.integers(0, FEW - 1), st.lists(st.floats(0, 5), max_size=60), st.floats(0, 1))
def test_an_idle_service_never_refuses(calls: int, stalls: Iterable[float], others: float) -> None:
    core = Core(1, calls=calls, others=others)  # each of them fills the core
    for stall_s in stalls:
        core.late_s = stall_s
        core.run(0.1)
        core.stall(stall_s, worked=True)
        assert not core.full


@pytest.mark.parametrize("stall_s", [0.2, 1.5])
def test_stalls_that_come_again_and_again_close_it(stall_s: float) -> None:
    """As those of a machine that is stopped for 200 ms of each 250."""
    core = Core(500, calls=20)
    for _ in range(8):
        core.stall(stall_s)
        core.run(0.05)
    assert core.full


def test_without_calls_there_is_nothing_to_spare_them() -> None:
    core = Core(20, calls=30)
    core.run(2)
    assert core.full and core.pressure.taken(core.now) == pytest.approx(1) and core.pressure.late() > 0.5
    core.leave(30)
    core.now += IDLE_S + STEP_S
    assert not core.full and core.pressure.taken(core.now) == 0
    core.up = core.calls = 5
    core.run(4 * SLICE_S)
    assert not core.full and core.pressure.late() == 0, "what was before is forgotten"


def test_it_does_not_flap_at_its_limit() -> None:
    core = Core(200, calls=170)
    seen = []
    for _ in range(300):  # calls come faster than they go
        core.leave(1)
        seen += core.run(0.2, per_s=10)
        assert core.load <= 1
    changes = sum(before != after for before, after in pairwise(seen))
    assert changes <= 100, "a call that ends makes room for one, no more"
    assert core.load > FULL - 0.07
