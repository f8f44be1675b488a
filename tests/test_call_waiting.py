"""What the caller hears while he waits, with a call made of wood."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge import after_speech, call_waiting
from bridge.config.tools import Filler
from bridge.realtime import tools as built_in
from tests.tools.wooden import Call, own

AT_ONCE = 0.2


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow is slow at once, so that no test waits."""
    monkeypatch.setattr(after_speech, "FAREWELL_S", 0)
    slow = call_waiting.Waiting.slow

    def at_once(self: call_waiting.Waiting, call_id: str, filler: Filler) -> None:
        slow(self, call_id, filler.model_copy(update={"after_s": 0}))

    monkeypatch.setattr(call_waiting.Waiting, "slow", at_once)


def slow(**filler: Any) -> Call:
    return Call(offered=["hold", "hang_up", "transfer", own(filler=filler)])


async def test_on_hold_the_caller_hears_music_when_he_has_heard_the_agent() -> None:
    call = Call()
    call.leg.drained = False
    call.use("hold")
    assert call.answers == [("c1", {"status": "the caller hears music until you speak"}, False)]
    assert call.comfort.told == []
    call.leg.drained = True
    call.tools.heard()
    assert call.comfort.told == ["music"] and call.tools.is_busy and call.busy[-1]
    call.tools.heard()
    assert call.comfort.told == ["music"]


@pytest.mark.parametrize("who", ["speaks", "interrupted"])
async def test_whoever_speaks_ends_the_hold(who: str) -> None:
    call = Call().use("hold", '{"seconds": 5}')
    getattr(call.tools, who)()
    call.tools.heard()
    assert call.comfort.told == ["music", "stop"] and not call.tools.is_busy
    assert call.instructed == []


async def test_a_hold_ends_in_time_and_the_model_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.call_tools.HOLD_S", 0)
    call = await Call().use("hold").settle()
    assert call.comfort.told == ["music", "stop"] and call.instructed == [call_waiting.GO_ON]
    assert not call.tools.is_busy


async def test_a_hold_has_a_limit_and_no_place_in_a_farewell() -> None:
    call = Call().use("hold", f'{{"seconds": {built_in.LONGEST_HOLD_S + 1}}}')
    assert "seconds: 301 is greater than the maximum" in call.answers[0][1]["error"]
    call.session.caller_speaking = True
    call.use("hold")
    assert call.answers[1][1:] == ({"error": "the caller speaks: not on hold"}, False)
    call.session.caller_speaking = False
    call.use("hang_up").use("hold")
    assert "under way" in call.answers[3][1]["error"] and call.comfort.told == []
    call.tools.close()


async def test_a_second_hold_takes_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.call_tools.HOLD_S", 0)
    call = await Call().use("hold").use("hold", '{"seconds": 30}').settle()
    assert call.instructed == [] and call.comfort.told == ["music"]
    call.tools.close()


async def test_a_slow_tool_is_filled_with_a_sound_until_its_result() -> None:
    call = await slow(sound="tone").use("lookup").settle()
    assert call.comfort.told == ["tone"]
    call.webhooks.done("c1")
    await call.settle()
    assert call.comfort.told == ["tone", "stop"] and call.answers == [("c1", {"status": "done"}, True)]


async def test_a_fast_tool_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    call = await slow(sound="tone", say="Patience.", after_s=AT_ONCE).use("lookup").settle()
    call.webhooks.done("c1")
    await asyncio.sleep(AT_ONCE * 1.2)
    assert call.comfort.told == [] and call.instructed == [] and len(call.answers) == 1


async def test_a_sentence_comes_once_and_the_sound_behind_it() -> None:
    call = await slow(say="Ask for patience.", sound="music").use("lookup").settle()
    assert call.instructed == ["Ask for patience."] and call.comfort.told == []
    call.session.response_active = True
    call.tools.speaks()
    call.tools.heard()
    assert call.comfort.told == []
    call.session.response_active = False
    call.tools.heard()
    assert call.instructed == ["Ask for patience."] and call.comfort.told == ["music"]
    call.tools.close()


async def test_nothing_is_filled_while_somebody_speaks() -> None:
    call = slow(say="Ask for patience.", sound="music")
    call.leg.drained = False
    await call.use("lookup").settle()
    call.leg.drained, call.session.caller_speaking = True, True
    call.tools.heard()
    call.session.caller_speaking, call.floor.barge_in.is_undecided = False, True
    call.tools.heard()
    assert call.instructed == [] and call.comfort.told == []
    call.floor.barge_in.is_undecided = False
    call.tools.heard()
    assert call.instructed == ["Ask for patience."]
    call.tools.close()


async def test_a_sentence_that_was_not_said_in_time_is_not_said() -> None:
    call = slow(say="Ask for patience.")
    call.leg.drained = False
    await call.use("lookup").settle()
    call.webhooks.done("c1")
    await call.settle()
    call.leg.drained = True
    call.tools.heard()
    assert call.instructed == []


async def test_the_sound_comes_back_when_the_caller_has_spoken_into_it() -> None:
    call = await slow(sound="music").use("lookup").settle()
    call.session.caller_speaking = True
    call.tools.interrupted()
    call.tools.heard()
    assert call.comfort.told == ["music", "stop"]
    call.session.caller_speaking = False
    call.tools.heard()
    assert call.comfort.told == ["music", "stop", "music"]
    call.tools.close()
    assert call.comfort.told[-1] == "stop"


async def test_the_sound_lasts_until_the_last_slow_tool_is_done() -> None:
    call = await slow(sound="music").use("lookup", call_id="a").use("lookup", call_id="b").settle()
    call.webhooks.done("a")
    await call.settle()
    assert call.comfort.told == ["music"]
    call.tools.cancelled("b")
    await call.settle()
    assert call.comfort.told == ["music", "stop"]


async def test_a_sound_of_somebody_else_is_left_alone() -> None:
    call = slow(sound="music")
    call.comfort.start("tone")
    await call.use("lookup").settle()
    call.webhooks.done("c1")
    await call.settle()
    call.tools.close()
    assert call.comfort.told == ["tone"]


async def test_who_is_being_handed_over_hears_it_ring_and_nothing_else() -> None:
    call = slow(sound="music")
    call.profile.transfer.method = "bridge"
    await call.use("hold").transfer("c2").settle()
    assert call.comfort.told == ["music", "stop"] and call.tools.is_handing_over
    await call.use("lookup", call_id="c3").settle()
    assert call.comfort.told == ["music", "stop"]
    call.second.word.set_result("busy")
    await call.settle()
    assert call.comfort.told == ["music", "stop", "music"], "he is back, and the tool is not done"
    call.tools.close()


async def test_nothing_sounds_into_the_talk_with_somebody_else() -> None:
    call = slow(sound="music")
    call.profile.transfer.method = "bridge"
    await call.transfer("c2").settle()
    await call.use("lookup", call_id="c3").settle()
    call.second.word.set_result("")
    await call.settle()
    assert call.joined and call.webhooks.running == 0 and call.tools.outcomes["cancelled"] == 1
    call.tools.heard()
    assert call.comfort.told == []
