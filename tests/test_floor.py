"""Who has the floor, in a call made of wood."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bridge import floor as module
from bridge.barge_in import State
from bridge.config import Agent
from bridge.floor import Floor
from bridge.means import Means
from bridge.realtime import events as ev
from bridge.realtime.openai.conversation import DELETED
from bridge.realtime.protocol import Abilities
from bridge.records import Counts
from tests.transfer.wooden import Party


class Call:
    """What the floor uses of a call; `told` is what the session was told, in order."""

    def __init__(self, barge_in: Any = "reversible", **agent: Any) -> None:
        self.told: list[Any] = []
        self.counts = Counts()
        self.leg = Party()
        self.leg.drained = False
        self.cuts: list[ev.Truncated] = []
        self.watched: list[ev.Event] = []
        self.turns: list[float] = []
        self.session = SimpleNamespace(
            response_active=False,
            heard_ms=0.0,
            abilities=Abilities(),
            interrupted=self._interrupted,
            respond=lambda: self.told.append("respond"),
            forget=lambda item: self.told.append(("forget", item)),
        )
        self.played: list[str] = []
        self.hearing = SimpleNamespace(
            is_open=True, flush=self.leg.flush, play=lambda delta: self.played.append(delta.item_id)
        )
        self.tools = SimpleNamespace(
            interrupted=lambda: self.told.append("tools"),
            heard=lambda: self.told.append("heard"),
            speaks=lambda: None,
        )
        silent = {name: lambda: None for name in ("caller_spoke", "caller_stopped", "agent_spoke", "agent_drained")}
        self.comfort = SimpleNamespace(stop=lambda: None, is_playing=False)
        self.attendance = SimpleNamespace(**silent)
        self.means = Means(on_turn=self.turns.append)
        self.profile = SimpleNamespace(agent=Agent.model_validate({"barge_in": barge_in} | agent))
        self.floor = Floor(self)  # type: ignore[arg-type]

    def _interrupted(self, heard: Any, *, by_server: bool) -> list[ev.Truncated]:
        self.told.append(("interrupted", by_server))
        return self.cuts

    def watch(self, call: Any, event: ev.Event) -> None:
        self.watched.append(event)

    def start(self) -> Call:
        self.floor.caller_starts(ev.SpeechStarted(1000, "noise"))
        return self

    def stop(self, speech_ms: int) -> Call:
        self.floor.caller_stops(ev.SpeechStopped(1800 + speech_ms))
        return self

    def say(self) -> Call:
        self.floor.agent_says(ev.AudioDelta("i", b"\x01"))
        return self

    def close(self) -> None:
        self.floor.barge_in.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The floor's clock, in seconds."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_a_cough_pauses_and_the_model_never_knows() -> None:
    call = Call().start()
    assert (call.leg.pauses, call.leg.flushes, call.told) == (["pause"], 0, [])
    call.stop(100)
    assert (call.leg.pauses, call.leg.flushes) == (["pause", "unpause"], 0)
    assert call.told == [("forget", "noise"), "heard"]
    assert (call.counts.false_starts, call.counts.barge_ins) == (1, 0)


async def test_speech_is_an_interruption_and_then_asks_for_an_answer() -> None:
    call = Call()
    call.cuts = [ev.Truncated("i", 740), ev.Truncated("j", DELETED)]
    call.start().stop(400)
    assert call.leg.pauses == ["pause"] and call.leg.flushes == 1
    assert call.told == [("interrupted", False), "tools", "respond"]
    assert (call.counts.false_starts, call.counts.barge_ins) == (0, 1)
    assert (call.counts.truncated_items, call.counts.deleted_items) == (1, 1)
    assert call.watched == call.cuts


async def test_nothing_cut_is_no_interruption() -> None:
    call = Call()
    call.leg.drained = True
    call.start().stop(400)
    assert call.told == [("interrupted", False), "tools", "respond"] and call.leg.pauses == []
    assert call.counts.barge_ins == 0


async def test_an_answer_that_is_on_its_way_is_paused_too() -> None:
    call = Call()
    call.leg.drained, call.session.response_active = True, True
    assert call.floor.is_saying
    assert call.start().leg.pauses == ["pause"]
    call.close()


async def test_immediate_is_the_server_s_own() -> None:
    call = Call("immediate").start().stop(400)
    assert call.told == [("interrupted", True), "tools"] and call.leg.pauses == []


async def test_a_key_ends_the_trial() -> None:
    call = Call().start()
    call.floor.key_interrupts()
    assert call.told == [("interrupted", False), "tools"]
    assert call.floor.barge_in.state is State.TALKING
    call.stop(10)
    assert call.told[2:] == ["respond"] and call.counts.false_starts == 0


async def test_whatever_else_interrupts_ends_the_trial_too() -> None:
    """Somebody takes the caller's place: what the agent says to him must not be cut by what the other one said."""
    call = Call().start()
    call.floor.interrupt(by_server=False)
    call.leg = Party()
    assert call.floor.barge_in.state is State.TALKING
    call.stop(10)
    assert call.leg.flushes == 0 and call.leg.pauses == []


async def test_who_waits_for_somebody_else_hears_his_waiting_tone_without_a_pause() -> None:
    call = Call()
    call.hearing.is_open = False
    assert call.start().leg.pauses == []
    call.stop(10)
    assert call.told == [("forget", "noise"), "heard"]


async def test_a_turn_is_timed_from_the_end_of_the_speech(clock: list[float]) -> None:
    call = Call("immediate").start().stop(400)
    clock[0] += 0.75
    call.say().say()
    assert call.turns == [0.75] and call.played == ["i", "i"]


async def test_what_follows_a_cough_is_no_answer(clock: list[float]) -> None:
    call = Call().start().stop(10)
    clock[0] += 3
    call.say()
    assert call.turns == []


async def test_what_comes_while_words_are_awaited_is_no_answer_yet(clock: list[float]) -> None:
    call = Call({"mode": "reversible", "words": True}, transcription={"model": "whisper-1"}).start().stop(400)
    clock[0] += 0.1
    call.say()
    assert call.turns == []
    call.floor.barge_in.said("noise", "Stop.")
    clock[0] += 0.9
    assert call.say().turns == [pytest.approx(1.0)]
