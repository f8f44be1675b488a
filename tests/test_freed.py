"""A call that is over is freed by reference counts alone, and what comes late finds nothing that could break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from bridge.audio.g711 import Law
from bridge.call import Call
from bridge.floor import Floor
from bridge.idle import Idle
from bridge.keys import Wanted
from bridge.legs.leg import LegRefused
from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.tools import HANG_UP, READ_DIGITS, TRANSFER
from bridge.records import EndReason
from bridge.sip.uri import Uri
from bridge.transfer.handover import Plan
from bridge.transfer.taken_over import TakenOver
from tests.counted import in_cycles, uncollected
from tests.test_call import Bench

TARGET = Uri.parse("sip:1@192.0.2.1")
WHOLE = {
    "idle": {"after_s": 5, "prompt": "Ask.", "farewell": "Bye."},
    "limit": {"minutes": 1, "farewell": "Bye."},
    "barge_in": "reversible",
    "digits": {"to": "tool"},
    "tools": [HANG_UP, READ_DIGITS],
}


OWN = {"turn_detection": {"type": "manual"}}


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    with uncollected():
        yield


async def assert_freed(bench: Bench) -> None:
    """Nothing is left of its call."""
    call = ref(bench.call)
    assert isinstance(call(), Call)
    del bench.call, bench.running
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert call() is None, "still held, or in a cycle"
    assert in_cycles() == {}


def he_hangs_up(bench: Bench) -> None:
    bench.leg.on_ended("bye", "")


def the_time_is_over(bench: Bench) -> None:
    bench.call.end(EndReason.TIME_LIMIT)


def the_session_is_lost(bench: Bench) -> None:
    bench.session.feed.put_nowait(ev.Lost(1011, "gone"))


def he_has_pressed_keys(bench: Bench) -> None:
    bench.leg.on_digit("1")
    bench.call.keys.read(Wanted(4, 10), lambda result: bench.session.note(result))
    bench.leg.on_digit("2")
    bench.leg.on_ended("bye", "")


def he_has_interrupted(bench: Bench) -> None:
    bench.leg.drained = False
    bench.session.on_event(ev.SpeechStarted(0, "i"))
    assert bench.call.floor.barge_in.is_undecided
    bench.leg.on_ended("bye", "")


def he_waits_for_a_sound(bench: Bench) -> None:
    bench.call.comfort.start("music")
    bench.leg.on_ended("bye", "")


def the_farewell_is_asked_for(bench: Bench) -> None:
    bench.session.instruct = lambda words: None
    idle = bench.call.attendance._idle
    assert isinstance(idle, Idle)
    idle._farewell.begin(idle._leave)
    bench.leg.on_ended("bye", "")


def he_is_being_transferred(bench: Bench) -> None:
    leg: Any = bench.leg
    leg.refer = lambda target, on_progress, replaces: SimpleNamespace(stop=lambda: None)
    bench.call.tools._transfer._begin(ev.ToolCall("c", TRANSFER, "{}"), Plan(TARGET, "refer", 5.0))
    assert bench.call.tools.is_handing_over
    asyncio.get_running_loop().call_later(0.02, leg.on_ended, "rtp_timeout", "")


def he_has_sent_us_on(bench: Bench) -> None:
    call: Any = bench.call
    call.profile.transfer = SimpleNamespace(timeout_s=5.0)
    call.dial = lambda *_: SimpleNamespace(outcome=asyncio.Event().wait, give_up=lambda: None)
    referral = SimpleNamespace(target=TARGET, replaces=None, referred_by=None)
    referred: Any = SimpleNamespace(referral=referral, progress=lambda status: None)
    call.succession._referred = TakenOver(call, referred, call.succession._done)
    asyncio.get_running_loop().call_later(0.02, call.end, EndReason.TIME_LIMIT)


def he_is_told_that_there_is_nobody(bench: Bench) -> None:
    bench.leg.drained = False
    bench.call.forsaken(EndReason.SESSION_LOST)
    assert bench.call.plan_b.is_running
    asyncio.get_running_loop().call_later(0.02, bench.leg.on_ended, "bye", "")


ENDS = [each for name, each in list(globals().items()) if name.startswith(("he_", "the_"))]


@pytest.mark.parametrize("settings", [{}, WHOLE], ids=["plain", "whole"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_each_end(end: Callable[[Bench], None], settings: dict[str, Any]) -> None:
    if end in (he_has_interrupted, the_farewell_is_asked_for) and not settings:
        pytest.skip("not configured")
    bench = await Bench(**settings).ready()
    end(bench)
    await bench.record()
    await assert_freed(bench)


async def test_one_whose_turns_the_bridge_finds_by_itself() -> None:
    pytest.importorskip("webrtcvad", reason="the extra 'vad' is not installed")
    bench = await Bench(**OWN).ready()
    assert bench.call.floor.own_turns is not None
    bench.leg.on_audio(bytes(160))
    he_hangs_up(bench)
    await bench.record()
    await assert_freed(bench)


async def test_a_caller_who_gives_up_while_the_session_opens() -> None:
    bench = Bench()
    await asyncio.sleep(0)
    bench.leg.on_ended("cancelled", "")
    await bench.record()
    await assert_freed(bench)


async def test_a_session_that_cannot_be_had() -> None:
    bench = Bench()
    bench.session.opened.set_exception(SessionFailed("invalid_api_key", "no"))
    await bench.record()
    del bench.session.opened
    await assert_freed(bench)


async def test_a_fault_of_ours_in_the_reader() -> None:
    bench = await Bench().ready()
    bench.session.feed.put_nowait(ev.AudioEnd("broken"))
    with pytest.raises(RuntimeError):
        await bench.record()
    assert bench.call.is_gone and bench.call.collected() is bench.call.counts
    bench.call.end(EndReason.CALLER_HUNG_UP)


async def test_what_is_left_answers_whoever_comes_late() -> None:
    """An INVITE with Replaces whose ACK comes now, a counter that is read, a task that fails."""
    bench = await Bench().ready()
    call, succession = bench.call, bench.call.succession
    he_hangs_up(bench)
    record = await bench.record()
    assert call.collected() is call.counts
    assert call.is_over and call.is_without_agent and not call.is_talking and not succession.is_open
    call.end(EndReason.INTERNAL_ERROR)
    call.forsaken(EndReason.SESSION_LOST)
    with pytest.raises(LegRefused):
        call.dial(TARGET, 5.0)
    assert record.reason is EndReason.CALLER_HUNG_UP and call.transcript.entries() == ()


async def test_what_the_leg_still_tells_is_for_nobody() -> None:
    bench = await Bench(**WHOLE).ready()
    he_hangs_up(bench)
    await bench.record()
    leg: Any = bench.leg
    for tell in (leg.on_connected, leg.on_format, leg.on_drained, leg.on_talkspurt, leg.on_digits_refused):
        tell()
    leg.on_audio(bytes(160))
    leg.on_digit("1")
    leg.on_ended("bye", "")
    assert leg.on_referred(None) is False


@pytest.mark.parametrize(
    "event",
    [
        ev.SpeechStarted(0, "i"),
        ev.SpeechStopped(20),
        ev.ToolCall("c", HANG_UP, "{}"),
        ev.ResponseEnded("r", "failed", "server_error"),
        ev.Away(1006, ""),
        ev.AudioDelta("a", bytes(160)),
        ev.Committed("i"),
        ev.CallerIdle(),
        ev.CallerSaid("i", "Hello."),
        ev.SessionError("invalid_api_key", "no", fatal=True),
        ev.Back(ev.Ready("s", "m", Law.PCMU, Law.PCMU), 1.0, 0, 0, False),
    ],
    ids=lambda event: type(event).__name__,
)
async def test_what_the_session_says_while_it_is_being_closed_begins_nothing(event: ev.Event) -> None:
    bench = await Bench(**WHOLE).ready()
    timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
    goodbye, go_on = bench.session.close, asyncio.Event()

    async def close() -> None:
        bench.session.on_event(event)
        await go_on.wait()
        bench.session.on_event(event)
        await goodbye()

    bench.session.close = close
    he_hangs_up(bench)
    for _ in range(5):
        await asyncio.sleep(0)
    go_on.set()
    await bench.record()
    await assert_freed(bench)
    alive = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert len(alive) <= timers


async def test_usage_that_is_told_while_the_session_is_closed_is_counted() -> None:
    bench = await Bench().ready()
    goodbye = bench.session.close

    async def close() -> None:
        bench.session.on_event(ev.Usage("m", {"text_out": 7}))
        await goodbye()

    bench.session.close = close
    he_hangs_up(bench)
    await bench.record()
    assert bench.call.counts.tokens["text_out"] == 7


async def test_nobody_is_interrupted_any_more() -> None:
    bench = await Bench(**WHOLE).ready()
    floor = bench.call.floor
    assert isinstance(floor, Floor)
    he_hangs_up(bench)
    await bench.record()
    floor.barge_in.started(ev.SpeechStarted(0, "i"))
    floor.barge_in.stopped(ev.SpeechStopped(20))
    floor.barge_in.idle()
