"""A conversation over several sessions: what each of them is told, in which order, and what the call sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.events import Unheard
from bridge.realtime.history import AgentWords, CallerWords, History, Note, ToolUse
from bridge.realtime.lasting import LastingSession
from bridge.realtime.patience import Patience
from bridge.realtime.transcript import Transcript
from tests.realtime.wooden import Session, ready

MS = 8  # bytes of a millisecond
FRAME = bytes(range(160))
AWAY = SessionFailed("unreachable", "nobody there")


class Bench:
    """`fates` are those of the sessions, in order; the last one again and again. `held` holds up the opening of all
    but the first."""

    def __init__(self, *fates: Any, held: bool = False, **patience: Any) -> None:
        self.sessions: list[Session] = []
        self.seen: list[ev.Event] = []
        self.quiet = True
        self.go = asyncio.Event() if held else None
        self._fates = list(fates) or [ready()]
        self._now = 0.0
        self.transcript = Transcript(lambda: self._now)
        self.lasting = LastingSession(
            self._make,  # type: ignore[arg-type]
            self.transcript,
            Patience(**{"pause_s": 0.0} | patience),
            on_event=self.seen.append,
            is_quiet=lambda: self.quiet,
        )

    def _make(self, history: History) -> Session:
        fate = self._fates.pop(0) if len(self._fates) > 1 else self._fates[0]
        session = Session(history, fate, self.go if self.sessions else None)
        self.sessions.append(session)
        return session

    @property
    def now(self) -> Session:
        return self.sessions[-1]

    @property
    def asked(self) -> list[Any]:
        """What the newest session was asked."""
        return self.now.protocol.asked

    def kinds(self) -> list[type]:
        return [type(event) for event in self.seen if type(event) in (ev.Away, ev.Back, ev.Lost)]

    def back(self) -> ev.Back:
        return next(event for event in self.seen if isinstance(event, ev.Back))

    async def until(self, kind: type) -> None:
        async with asyncio.timeout(5):
            while kind not in self.kinds():
                await asyncio.sleep(0)

    async def opens(self) -> None:
        async with asyncio.timeout(5):
            while len(self.sessions) < 2:
                await asyncio.sleep(0)

    async def lost_and_back(self) -> None:
        self.now.lose()
        await self.until(ev.Back)

    def caller_says(self, item: str, text: str | None = "Hello.") -> None:
        """A whole turn of the caller."""
        self.now.say(ev.SpeechStarted(0, item))
        self.lasting.append(FRAME)
        self.now.say(ev.SpeechStopped(20))
        self.now.say(ev.Committed(item))
        self.now.say(ev.Placed(item, "caller"))
        if text is not None:
            self.now.say(ev.CallerSaid(item, text))

    def agent_says(self, item: str, text: str = "Good day to you.", *, ended: bool = True) -> None:
        """An answer, all of it or its beginning."""
        self.now.protocol.response_active = True
        self.now.say(ev.Placed(item, "agent"))
        self.now.say(ev.AgentSaying(item, text))
        self.now.say(ev.AudioDelta(item, bytes(1000 * MS)))
        if ended:
            self.now.say(ev.AgentSaid(item, text))
            self.now.say(ev.AudioEnd(item))
            self.now.protocol.response_active = False
            self.now.say(ev.ResponseEnded("r", "completed", ""))


@asynccontextmanager
async def bench(*fates: Any, **more: Any) -> AsyncIterator[Bench]:
    made = Bench(*fates, **more)
    await made.lasting.open(5)
    running = asyncio.create_task(made.lasting.run())
    try:
        yield made
    finally:
        await made.lasting.close()
        await asyncio.wait_for(running, 5)


async def test_what_was_said_is_put_back_in_order() -> None:
    async with bench() as it:
        it.agent_says("a1", "Welcome.")
        it.caller_says("u1", "Two wheels, please.")
        it.agent_says("a2", "Certainly.")
        await it.lost_and_back()
        assert it.now.history.turns == (
            AgentWords("a1", "Welcome."),
            CallerWords("u1", "Two wheels, please."),
            AgentWords("a2", "Certainly."),
        )
        assert it.asked == [], "nothing was owed"
        assert it.kinds() == [ev.Away, ev.Back]


async def test_the_callers_audio_of_the_time_between_is_delivered_first() -> None:
    async with bench(held=True) as it:
        it.agent_says("a1")
        it.caller_says("u1")
        it.agent_says("a2")
        it.now.lose()
        await it.until(ev.Away)
        for number in range(50):
            it.lasting.append(bytes([number]) * 160)
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        it.lasting.append(b"\xee" * 160)
        assert it.now.audio == b"".join(bytes([number]) * 160 for number in range(50)) + b"\xee" * 160
        assert (it.back().kept_ms, it.back().lost_ms) == (1000, 0)


async def test_a_turn_that_was_cut_off_is_heard_again_from_its_beginning() -> None:
    async with bench() as it:
        it.lasting.append(b"\x01" * 160)
        it.now.say(ev.SpeechStarted(20, "u1"))
        it.lasting.append(b"\x02" * 160)
        await it.lost_and_back()
        assert it.now.audio == b"\x02" * 160
        assert it.asked == [], "the new session hears the end of the turn by itself"


async def test_a_turn_without_words_goes_back_as_audio() -> None:
    async with bench() as it:
        it.caller_says("u1", None)
        await it.lost_and_back()
        assert it.now.history.turns == (CallerWords("u1", "", FRAME),)
        assert it.asked == ["respond"]


async def test_an_answer_that_had_not_begun_is_asked_for() -> None:
    async with bench() as it:
        it.caller_says("u1")
        it.now.protocol.response_active = True
        await it.lost_and_back()
        assert it.asked == ["respond"]


async def test_an_answer_that_was_cut_off_is_gone_on_with() -> None:
    async with bench() as it:
        it.caller_says("u1")
        it.agent_says("a1", ended=False)
        await it.lost_and_back()
        turn = it.now.history.turns[-1]
        assert isinstance(turn, AgentWords) and turn.text
        assert it.asked == ["go on"]


async def test_a_greeting_that_was_lost_is_said() -> None:
    async with bench() as it:
        it.lasting.greet()
        it.now.protocol.response_active = True
        await it.lost_and_back()
        assert it.asked == ["greet"]


async def test_what_is_asked_while_away_is_asked_of_the_next_session() -> None:
    async with bench(held=True) as it:
        it.now.lose()
        await it.until(ev.Away)
        it.lasting.user_text("The caller pressed 1.")
        it.lasting.instruct("Say that a minute is left.")
        assert it.lasting.response_active
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        assert it.asked == [
            ("remember", [Note("The caller pressed 1.")], False),
            "respond",
            ("instruct", "Say that a minute is left."),
        ]


async def test_a_finished_tool_call_is_put_back_and_a_running_one_when_it_is_finished() -> None:
    async with bench() as it:
        it.now.say(ev.ToolCall("c1", "stock", "{}"))
        it.lasting.tool_result("c1", {"stock": 4})
        it.now.say(ev.ToolCall("c2", "price", '{"of":"bell"}'))
        it.now.protocol.response_active = True
        await it.lost_and_back()
        assert it.now.history.turns == (ToolUse("c1", "stock", "{}", '{"stock": 4}'),)
        assert it.asked == [], "the tool that runs will ask"
        it.lasting.tool_result("c2", {"price": 9})
        assert it.asked == [("remember", [ToolUse("c2", "price", '{"of":"bell"}', '{"price": 9}')], True)]


async def test_a_tool_call_of_this_session_is_answered_as_ever() -> None:
    async with bench() as it:
        it.now.say(ev.ToolCall("c1", "stock", "{}"))
        it.lasting.tool_result("c1", {"stock": 4})
        assert it.asked == [("result", "c1", {"stock": 4}, True)]


async def test_an_item_of_before_that_is_cut_is_corrected_and_never_truncated_here() -> None:
    async with bench() as it:
        it.agent_says("a1", "One two three four five six.", ended=True)
        await it.lost_and_back()
        it.agent_says("a2", "More.")
        it.now.protocol.asked.clear()
        cuts = it.lasting.interrupted([Unheard("a1", 500), Unheard("a2", 0)])
        assert cuts == [ev.Truncated("a1", 500), ev.Truncated("a2", 0)]
        (told, own, _), corrected = it.asked
        assert (told, own) == ("interrupted", [ev.Truncated("a2", 0)])
        assert corrected[:2] == ("correct", "a1") and corrected[2].startswith("One") and "six" not in corrected[2]


async def test_an_interruption_while_away_is_remembered_and_nothing_more_is_owed() -> None:
    async with bench(held=True) as it:
        it.agent_says("a1", "One two three four five six.", ended=False)
        it.now.lose()
        await it.until(ev.Away)
        assert it.lasting.interrupted([Unheard("a1", 400)], by_server=False) == [ev.Truncated("a1", 400)]
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        assert "go on" not in it.asked and "respond" not in it.asked


async def test_patience_has_an_end() -> None:
    async with bench(ready(), AWAY, seconds=0.05) as it:
        it.now.lose(1006)
        await it.until(ev.Lost)
        assert len(it.sessions) > 2, "it was tried more than once"
        assert all(session.closed for session in it.sessions[1:])
        assert it.seen[-1] == ev.Lost(1006, "")


async def test_without_patience_a_loss_is_the_end() -> None:
    async with bench(ready(), seconds=0) as it:
        it.now.lose(1006)
        await it.until(ev.Lost)
        assert len(it.sessions) == 1


@pytest.mark.parametrize("code", [1000, 3000, 4000])
async def test_a_goodbye_is_a_goodbye(code: int) -> None:
    async with bench() as it:
        it.now.lose(code)
        await it.until(ev.Lost)
        assert len(it.sessions) == 1 and it.kinds() == [ev.Lost]


async def test_a_wrong_key_is_not_tried_again() -> None:
    async with bench(ready(), SessionFailed("invalid_api_key", "no")) as it:
        it.now.lose()
        await it.until(ev.Lost)
        assert len(it.sessions) == 2


async def test_a_service_that_drops_every_session_is_given_up() -> None:
    async with bench(losses_per_minute=3) as it:
        async with asyncio.timeout(5):
            while ev.Lost not in it.kinds():
                it.now.lose()
                await asyncio.sleep(0)
        assert len(it.sessions) == 4


async def test_the_end_of_the_call_does_not_wait_for_a_session() -> None:
    async with bench(held=True) as it:
        it.now.lose()
        await it.until(ev.Away)
        await it.now.opening.wait()
        await asyncio.wait_for(it.lasting.close(), 5)
        await it.until(ev.Lost)
        assert it.now.closed, "the one in the making is let go"


async def test_a_call_that_ends_in_the_moment_of_the_loss_gets_no_other_session() -> None:
    async with bench() as it:
        it.now.lose()
        await it.lasting.close()
        await asyncio.sleep(0.01)
        assert len(it.sessions) == 1


async def test_an_item_that_nobody_heard_after_all_is_taken_out_of_the_session_that_opens() -> None:
    async with bench(held=True) as it:
        it.agent_says("a1", "One two three four five six.", ended=False)
        it.now.lose()
        await it.until(ev.Away)
        await it.opens()
        it.lasting.interrupted([Unheard("a1", 0)], by_server=False)
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        assert ("correct", "a1", "") in it.asked


async def test_words_that_come_while_the_next_session_opens_make_no_second_item() -> None:
    async with bench(held=True) as it:
        it.caller_says("u1", None)
        it.agent_says("a1")
        it.now.say(ev.GoingAway(0.0))
        await it.opens()
        it.sessions[0].say(ev.CallerSaid("u1", "Hello."))
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        assert not [asked for asked in it.asked if asked[0] == "remember"]


async def test_a_session_near_its_end_gives_way_at_a_quiet_moment() -> None:
    async with bench(ready(expires_at=time.time() + 0.04), ready(), change_before_s=1000) as it:
        it.lasting.append(b"\x01" * 160)
        await it.until(ev.Back)
        assert it.back().planned and it.kinds() == [ev.Back]
        it.lasting.append(b"\x02" * 160)
        assert (it.sessions[0].audio, it.sessions[1].audio) == (b"\x01" * 160, b"\x02" * 160)
        async with asyncio.timeout(5):
            while not it.sessions[0].closed:
                await asyncio.sleep(0)
        it.now.say(ev.SpeechStarted(0))
        assert it.seen[-1] == ev.SpeechStarted(0), "the new one is listened to"
        it.sessions[0].say(ev.SpeechStarted(7))
        assert it.seen[-1] == ev.SpeechStarted(0), "the old one no longer"
        assert ev.Lost not in it.kinds()


async def test_a_change_at_the_last_moment_asks_for_what_was_cut_off() -> None:
    fates = (ready(expires_at=time.time() + 0.04), ready())
    async with bench(*fates, held=True, change_before_s=1000, change_at_last_s=100) as it:
        it.quiet = False
        it.agent_says("a1", ended=False)
        assert it.go is not None
        it.go.set()
        await it.until(ev.Back)
        assert it.kinds() == [ev.Away, ev.Back] and it.back().planned
        assert it.asked == ["go on"]


async def test_while_somebody_speaks_the_new_session_waits_for_another_time() -> None:
    async with bench(ready(), held=True, change_before_s=1000, change_at_last_s=-1000) as it:
        it.now.say(ev.GoingAway(0.04))
        async with asyncio.timeout(5):
            while len(it.sessions) < 2:
                await asyncio.sleep(0)
        it.quiet = False
        assert it.go is not None
        it.go.set()
        async with asyncio.timeout(5):
            while not it.sessions[1].closed:
                await asyncio.sleep(0)
        assert it.kinds() == []


async def test_a_session_whose_time_is_over_at_its_start_is_not_changed() -> None:
    """Two clocks differ, or the service says nonsense: no storm of sessions."""
    async with bench(ready(expires_at=time.time() - 5), change_before_s=1000) as it:
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(it.sessions) == 1


async def test_sessions_that_never_last_are_not_changed_for_ever() -> None:
    async with bench(change_before_s=1000, losses_per_minute=3) as it:
        for _ in range(10):
            it.now.say(ev.GoingAway(0.0))
            for _ in range(20):
                await asyncio.sleep(0)
        assert len(it.sessions) == 4


async def test_another_format_of_the_next_session_is_spoken() -> None:
    async with bench(ready(), ready(Linear(24000))) as it:
        for _ in range(10):
            it.lasting.append(b"\xff" * 160)
        await it.lost_and_back()
        assert len(it.now.audio) == 200 * 48
        assert it.lasting.ready == ready(Linear(24000))


async def test_what_the_provider_needs_to_resume_is_handed_on() -> None:
    async with bench() as it:
        it.now.protocol.resumption = "handle-1"
        await it.lost_and_back()
        assert it.now.history.resumption == "handle-1"


async def test_counts_are_those_of_all_sessions() -> None:
    async with bench() as it:
        it.now.audio_in_bytes, it.now.protocol.events_in = 100, 5
        await it.lost_and_back()
        it.now.audio_in_bytes, it.now.protocol.events_in = 50, 2
        counts = it.lasting.counts()
        assert (counts.uplink_bytes, counts.events) == (150, 7)


async def test_audio_before_the_session_is_ready_is_nobodys() -> None:
    it = Bench()
    it.now.say(ev.AudioDelta("early", b"\xff" * 160))
    assert it.seen == []
    await it.lasting.close()
