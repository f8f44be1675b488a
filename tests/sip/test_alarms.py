"""Appointments: order, cancelling, and callbacks that make or break others."""

from __future__ import annotations

import random
from functools import partial

import pytest

from bridge.sip.alarms import FEW, Alarms


def test_order_and_deadline() -> None:
    rung: list[str] = []
    alarms = Alarms()
    alarms.at(2.0, lambda: rung.append("b"))
    alarms.at(1.0, lambda: rung.append("a"))
    alarms.at(2.0, lambda: rung.append("c"))
    assert alarms.next_deadline == 1.0
    alarms.run(0.5)
    assert rung == []
    alarms.run(2.0)
    assert rung == ["a", "b", "c"]
    assert alarms.next_deadline is None


def test_a_cancelled_alarm_is_silent_and_forgotten() -> None:
    alarms = Alarms()
    alarm = alarms.at(1.0, lambda: pytest.fail("rang"))
    assert alarm.pending
    alarm.cancel()
    assert alarms.next_deadline is None
    alarms.run(9.0)


def test_an_alarm_made_while_ringing_waits_for_the_next_run() -> None:
    alarms = Alarms()
    rung: list[int] = []

    def again() -> None:
        rung.append(1)
        alarms.at(1.0, again)

    alarms.at(1.0, again)
    alarms.run(1.0)
    assert len(rung) == 1
    alarms.run(1.0)
    assert len(rung) == 2


def test_the_rest_survives_a_callback_that_raises() -> None:
    alarms = Alarms()
    rung: list[int] = []

    def fail() -> None:
        raise RuntimeError

    alarms.at(1.0, fail)
    alarms.at(1.0, lambda: rung.append(1))
    with pytest.raises(RuntimeError):
        alarms.run(1.0)
    alarms.run(1.0)
    assert rung == [1]


def test_only_an_earlier_alarm_is_announced() -> None:
    told: list[float | None] = []
    alarms = Alarms(lambda: told.append(alarms.next_deadline))
    alarms.at(5.0, lambda: None)
    alarms.at(9.0, lambda: None)
    alarms.at(1.0, lambda: None)
    assert told == [5.0, 1.0]


def test_cancelled_alarms_do_not_wait_for_their_time() -> None:
    """A call's session timer is set for half an hour, and cancelled when the call ends."""
    alarms = Alarms()
    kept = alarms.at(1800.0, lambda: None)
    for _ in range(20 * FEW):
        alarm = alarms.at(1800.0, lambda: pytest.fail("rang"))
        alarm.cancel()
        alarm.cancel()
        assert len(alarms) <= 2 * FEW + 2
    assert kept.pending and alarms.next_deadline == 1800.0


def test_whatever_is_cancelled_the_others_ring_in_their_order() -> None:
    chance = random.Random(6)
    for _ in range(50):
        alarms, rung = Alarms(), list[float]()
        times = [chance.uniform(0, 100) for _ in range(4 * FEW)]
        made = [(when, alarms.at(when, partial(rung.append, when))) for when in times]
        gone = chance.sample(made, chance.randrange(len(made)))
        half = chance.uniform(0, 100)
        alarms.run(half)
        for _, alarm in gone:
            alarm.cancel()
        alarms.run(100.0)
        cancelled = {when for when, _ in gone if when > half}
        assert rung == sorted(when for when in times if when not in cancelled)
        assert len(alarms) == 0 and alarms.next_deadline is None
