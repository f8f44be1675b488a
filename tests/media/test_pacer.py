import asyncio
import math
import random

import pytest

from bridge.media.pacer import EARLY, PERIOD, PERIODS_MS, SPOKES, STEP, Handle, Lateness, Pacer, Schedule, SlotClock


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Stream:
    """Notes when it was ticked and what it missed."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, int]] = []

    def tick(self, now: float, missed: int) -> None:
        self.ticks.append((now, missed))

    @property
    def slots(self) -> int:
        return sum(1 + missed for _, missed in self.ticks)


def run_until(clock: Clock, slots: SlotClock, end: float, late: float = 0.0) -> None:
    """Wake at each deadline, `late` seconds after it."""
    deadline = slots.run(clock)
    while deadline is not None and deadline + late <= end:
        clock.now = max(clock.now, deadline + late)
        deadline = slots.run(clock)


def test_an_hour_has_no_drift_whatever_the_timers_do() -> None:
    schedule, chance, start = Schedule(1e6), random.Random(1), 1e6
    for step in range(720_000):
        now = schedule.next_deadline + chance.random() * 0.004
        due = schedule.due(now)
        assert due is not None
        assert due.step == due.latest == step
        assert abs(now - due.lateness - (start + step * STEP)) < 1e-6
    assert schedule.next_deadline == pytest.approx(start + 3600, abs=1e-6)


@pytest.mark.parametrize("period_ms", PERIODS_MS)
def test_slots_of_every_length_keep_the_time(period_ms: int) -> None:
    clock, slots, stream = Clock(0.0), SlotClock(early=0), Stream()
    others = [Stream() for _ in range(5)]
    for other in others:
        slots.add(other.tick)
    slots.add(stream.tick, period_ms=period_ms)
    run_until(clock, slots, 60.0)
    gaps = [b[0] - a[0] for a, b in zip(stream.ticks, stream.ticks[1:], strict=False)]
    assert gaps == pytest.approx([period_ms / 1000] * len(gaps))
    assert stream.slots == len(stream.ticks) == pytest.approx(60_000 / period_ms, abs=1)


@pytest.mark.parametrize("period_ms", PERIODS_MS)
def test_slots_of_every_length_are_skipped_after_a_stall(period_ms: int) -> None:
    clock, slots, stream = Clock(0.0), SlotClock(early=0), Stream()
    slots.add(stream.tick, period_ms=period_ms)
    run_until(clock, slots, 0.5)
    before, last = len(stream.ticks), stream.ticks[-1][0]
    clock.now = last + 0.5
    slots.run(clock)
    assert len(stream.ticks) == before + 1
    assert stream.slots == before + 500 // period_ms
    run_until(clock, slots, clock.now + 0.5)
    assert stream.slots == round((stream.ticks[-1][0] - stream.ticks[0][0]) * 1000 / period_ms) + 1


def test_no_other_length_has_slots() -> None:
    with pytest.raises(ValueError, match="50"):
        SlotClock().add(lambda now, missed: None, period_ms=50)


def test_streams_of_different_lengths_spread_over_the_wheel() -> None:
    slots = SlotClock()
    for _ in range(40):
        slots.add(lambda now, missed: None)
        slots.add(lambda now, missed: None, period_ms=60)
    loads = [len(spoke) for spoke in slots._wheel]
    assert max(loads) - min(loads) <= 1


def test_an_alarm_rings_once_in_the_last_step_before_its_time() -> None:
    clock, slots, rung = Clock(0.0), SlotClock(early=0), list[float]()
    handle = slots.add(lambda now, missed: None)
    gone = slots.add(lambda now, missed: None)
    slots.alarm(handle, 0.0731, rung.append)
    slots.alarm(handle, 0.031, rung.append)
    slots.alarm(gone, 0.04, rung.append)
    slots.remove(gone)
    run_until(clock, slots, 0.2)
    assert rung == pytest.approx([0.03, 0.07])


def test_an_alarm_that_raises_ends_its_own_stream_only() -> None:
    clock, slots, stream, faults = Clock(0.0), SlotClock(early=0), Stream(), list[Exception]()
    slots.add(stream.tick)

    def ring(now: float) -> None:
        raise RuntimeError("alarm")

    slots.alarm(slots.add(lambda now, missed: None, faults.append), 0.05, ring)
    run_until(clock, slots, 0.2)
    assert ([str(fault) for fault in faults], len(slots)) == (["alarm"], 1)
    assert len(stream.ticks) == 11


def test_late_timers_do_not_shift_the_ticks_after_them() -> None:
    clock, slots, stream, chance = Clock(1e6), SlotClock(early=0), Stream(), random.Random(1)
    slots.add(stream.tick)
    start = clock.now
    deadline = slots.run(clock)
    while deadline is not None and deadline < start + 60:
        clock.now = deadline + chance.random() * 0.004
        deadline = slots.run(clock)
    assert len(stream.ticks) == stream.slots == 3000
    for slot, (now, _) in enumerate(stream.ticks):
        assert -1e-6 <= now - (start + slot * PERIOD) <= 0.0041


def test_four_phases_five_milliseconds_apart() -> None:
    clock, slots, streams = Clock(0.0), SlotClock(early=0), [Stream() for _ in range(8)]
    for stream in streams:
        slots.add(stream.tick)
    run_until(clock, slots, 0.0399)
    starts = [stream.ticks[0][0] for stream in streams]
    assert starts == pytest.approx([0, 0.005, 0.010, 0.015] * 2)
    assert all(len(stream.ticks) == 2 for stream in streams)


def test_a_new_stream_takes_the_emptiest_phase() -> None:
    slots = SlotClock()
    handles = [slots.add(lambda now, missed: None) for _ in range(8)]
    assert [handle.phase for handle in handles] == [0, 1, 2, 3, 0, 1, 2, 3]
    slots.remove(handles[2])
    slots.remove(handles[2])
    assert (slots.add(lambda now, missed: None).phase, len(slots)) == (2, 8)


@pytest.mark.parametrize(("stall", "missed"), [(0.019, 0), (0.0209, 1), (0.1, 5), (1.001, 50), (60.0, 3000)])
def test_a_stall_skips_slots_and_never_bursts(stall: float, missed: int) -> None:
    clock, slots, stream = Clock(0.0), SlotClock(early=0), Stream()
    slots.add(stream.tick)
    run_until(clock, slots, 0.1)
    before = len(stream.ticks)
    slot = stream.ticks[-1][0] + PERIOD
    clock.now = slot + stall
    slots.run(clock)
    assert stream.ticks[before:] == [(clock.now, missed)]
    assert slots.skipped_slots == missed
    run_until(clock, slots, clock.now + 0.5)
    gaps = [b[0] - a[0] for a, b in zip(stream.ticks[before:], stream.ticks[before + 1 :], strict=False)]
    assert gaps[1:] == pytest.approx([PERIOD] * len(gaps[1:]))
    # Slots done and slots missed are the time that has passed, so RTP timestamps stay true.
    assert stream.slots == round((stream.ticks[-1][0] - stream.ticks[0][0]) / PERIOD) + 1


def test_random_stalls_lose_no_slot_of_the_count() -> None:
    clock, slots, stream, chance = Clock(0.0), SlotClock(early=0), Stream(), random.Random(2)
    slots.add(stream.tick)
    deadline = slots.run(clock)
    while deadline is not None and deadline < 600:
        clock.now = deadline + (chance.random() * 0.3 if chance.random() < 0.01 else 0.0005)
        deadline = slots.run(clock)
    assert stream.slots == math.floor(stream.ticks[-1][0] / PERIOD) + 1
    assert slots.skipped_slots == stream.slots - len(stream.ticks) > 0


def test_a_stream_misses_nothing_from_before_it_came() -> None:
    clock, slots, old, new = Clock(0.0), SlotClock(early=0), Stream(), Stream()
    for _ in range(4):
        slots.add(old.tick)
    run_until(clock, slots, 0.1)
    slots.add(new.tick)
    clock.now += 1.0
    slots.run(clock)
    assert new.ticks[0][1] == 0
    assert old.ticks[-1][1] > 0


def test_a_pause_without_streams_is_no_stall() -> None:
    clock, slots, stream = Clock(0.0), SlotClock(early=0), Stream()
    handle = slots.add(stream.tick)
    run_until(clock, slots, 0.1)
    slots.remove(handle)
    assert slots.run(clock) is None
    clock.now = 500.0
    slots.add(stream.tick)
    slots.run(clock)
    assert stream.ticks[-1] == (500.0, 0)
    assert slots.lateness.buckets[-1] == 0
    assert slots.skipped_slots == 0


def test_timers_that_fire_a_little_early_are_no_extra_wake_up() -> None:
    clock, slots, stream = Clock(0.0), SlotClock(), Stream()
    slots.add(stream.tick)
    slots.run(clock)
    clock.now = PERIOD - EARLY * 1.5
    slots.run(clock)
    assert len(stream.ticks) == 1
    clock.now = PERIOD - EARLY / 2
    slots.run(clock)
    assert len(stream.ticks) == 2
    assert slots.lateness.buckets[0] == slots.rounds == 2


def test_a_raising_tick_is_removed_told_and_stops_nobody() -> None:
    told: list[tuple[Handle, Exception]] = []
    own: list[Exception] = []
    clock = Clock(0.0)
    slots = SlotClock(early=0, on_fault=lambda handle, error: told.append((handle, error)))
    fault = RuntimeError("tick")

    def broken(now: float, missed: int) -> None:
        raise fault

    streams = [Stream() for _ in range(8)]
    handles = []
    for at, stream in enumerate(streams):
        handles.append(slots.add(broken if at == 0 else stream.tick, own.append))
    run_until(clock, slots, 0.099)
    assert told == [(handles[0], fault)]
    assert own == [fault]
    assert (slots.faults, len(slots)) == (1, 7)
    assert all(len(stream.ticks) == 5 for stream in streams[1:])


def test_a_stream_removed_in_a_round_is_not_ticked_in_it() -> None:
    clock, slots, stream = Clock(0.0), SlotClock(early=0), Stream()
    victims: list[Handle] = []
    slots.add(lambda now, missed: slots.remove(victims[0]))
    for _ in range(3):
        slots.add(lambda now, missed: None)
    victims.append(slots.add(stream.tick))
    assert victims[0].phase == 0
    run_until(clock, slots, 0.1)
    assert stream.ticks == []


def test_lateness_is_counted_per_round_in_buckets() -> None:
    lateness = Lateness()
    for ms in (-1.0, 0.5, 0.6, 1.5, 4, 9, 19, 49, 99, 101, 5000):
        lateness.add(ms / 1000)
    assert lateness.buckets == [2, 1, 1, 1, 1, 1, 1, 1, 2]
    buckets, total = lateness.cumulative_s()
    assert buckets[0] == (0.0005, 2)
    assert buckets[-1] == (math.inf, 11)
    assert total == pytest.approx(5.2836)


def test_rounds_of_a_late_clock_are_late() -> None:
    clock, slots = Clock(0.0), SlotClock(early=0)
    slots.add(Stream().tick)
    run_until(clock, slots, 1.0, late=0.003)
    assert slots.lateness.buckets[3] == slots.rounds - 1 > 40


def test_schedule_gives_the_oldest_step_first_and_one_turn_at_most() -> None:
    schedule = Schedule(0.0)
    due = []
    while (round_ := schedule.due(0.012)) is not None:
        due.append((round_.step, round_.latest))
    assert due == [(0, 2), (1, 2), (2, 2)]
    assert schedule.next_deadline == pytest.approx(0.015)
    steps = []
    while (round_ := schedule.due(60.001)) is not None:
        steps.append(round_.step)
    assert steps == list(range(12_001 - SPOKES, 12_001))


async def test_the_face_ticks_on_the_loop_and_rests_without_streams() -> None:
    pacer, ticked = Pacer(), asyncio.Event()
    pacer.start()
    handle = pacer.add(lambda now, missed: ticked.set())
    await asyncio.wait_for(ticked.wait(), 5)
    ticked.clear()
    await asyncio.wait_for(ticked.wait(), 5)
    pacer.remove(handle)
    for _ in range(1000):
        await asyncio.sleep(0.005)
        if pacer._timer is None:
            break
    assert pacer._timer is None
    ticked.clear()
    pacer.add(lambda now, missed: ticked.set())
    await asyncio.wait_for(ticked.wait(), 5)
    pacer.close()
    assert (len(pacer), pacer._timer) == (0, None)


async def test_a_fault_at_the_face_does_not_end_the_clock() -> None:
    faults: list[Exception] = []
    pacer, ticked = Pacer(on_fault=lambda handle, error: faults.append(error)), asyncio.Event()

    def broken(now: float, missed: int) -> None:
        raise ValueError("tick")

    pacer.add(broken)
    pacer.add(lambda now, missed: ticked.set())
    await asyncio.wait_for(ticked.wait(), 5)
    pacer.close()
    assert [str(fault) for fault in faults] == ["tick"]
