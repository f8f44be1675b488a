"""The built-in tools, with a call made of wood: when they act, when they do not, and what the model is told."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from bridge import after_speech
from bridge.legs.leg import LegRefused
from bridge.records import EndReason
from tests.tools.wooden import Call, own


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_speech, "FAREWELL_S", 0)


async def test_the_call_ends_when_the_last_word_was_heard() -> None:
    call = Call()
    call.leg.drained = False
    call.session.response_active = True
    await call.use("hang_up").settle()
    assert call.ends == [] and call.answers[0][2] is False, "an answer would ask the model for more words"
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    assert call.ends == []
    call.session.response_active = False
    call.tools.heard()
    call.tools.heard()
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]


async def test_nothing_is_done_to_a_call_that_is_not_answered_yet() -> None:
    """The greeting may be asked for while the phone rings, and the model may have nothing to say."""
    call = Call()
    call.answered_at = None
    await call.transfer().settle()
    assert call.leg.referred == []
    call.answered_at = 1.0
    call.tools.heard()
    await call.settle()
    assert len(call.leg.referred) == 1


async def test_who_speaks_into_the_farewell_keeps_the_call() -> None:
    call = Call().use("hang_up")
    call.tools.interrupted()
    await call.settle()
    assert call.ends == []


@pytest.mark.parametrize("tool", ["hang_up", "transfer"])
async def test_nothing_is_done_over_a_caller_who_speaks_already(tool: str) -> None:
    """The tool call of a response that was just interrupted may come after the interruption."""
    call = Call()
    call.session.caller_speaking = True
    await call.use(tool, '{"target": "desk"}').settle()
    assert call.ends == [] and call.leg.referred == []
    assert "error" in call.answers[0][1] and call.answers[0][2] is False


async def test_the_end_waits_until_it_is_clear_whether_the_caller_speaks() -> None:
    call = Call()
    call.floor.barge_in.is_undecided = call.session.caller_speaking = True
    await call.use("hang_up").settle()
    assert call.ends == [] and "status" in call.answers[0][1]
    call.floor.barge_in.is_undecided = call.session.caller_speaking = False
    call.tools.heard()
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]


async def test_a_transfer_is_a_refer_and_then_the_end() -> None:
    call = await Call().transfer().settle()
    assert str(call.leg.referred[0][0]) == "sip:desk@pbx.example"
    assert call.tools.is_handing_over and not call.tools.handed_over()
    call.leg.progress(200, True)
    await call.settle()
    assert call.ends == [EndReason.TRANSFERRED] and call.answers == []
    assert call.counts.transfers == {"transferred": 1} and call.heard == []


async def test_interrupted_before_it_began_it_does_not_begin_and_may_be_asked_for_again() -> None:
    call = Call().transfer()
    call.tools.interrupted()
    call.tools.interrupted()
    await call.settle()
    assert call.leg.referred == [] and call.counts.transfers == {"interrupted": 1}
    assert call.answers == [("c1", {"error": "the caller spoke: not transferred"}, False)]
    await call.transfer("c2").settle()
    assert len(call.leg.referred) == 1


async def test_the_bye_that_crosses_the_last_word_counts_once() -> None:
    call = await Call().transfer().settle()
    call.leg.progress(100, False)
    call.leg.progress(200, True)
    assert call.tools.handed_over()
    await call.settle()
    assert call.counts.transfers == {"transferred": 1} and call.ends == []


async def test_a_failure_is_told_and_the_caller_is_heard_again() -> None:
    call = await Call("bridge").transfer().settle()
    assert call.heard == ["close"]
    call.second.word.set_result("no_answer")
    await call.settle()
    assert call.heard == ["close", "open"] and not call.tools.is_handing_over
    assert call.answers == [("c1", {"error": "no answer"}, True)]
    assert not call.tools.handed_over()
    assert call.leg.flushes == 1, "it rings no more"


async def test_an_answer_is_a_join() -> None:
    call = await Call("bridge").transfer().settle()
    call.second.word.set_result("")
    await call.settle()
    assert call.joined == [call.second] and call.ends == [] and call.counts.transfers == {"joined": 1}


@pytest.mark.parametrize("error", [LegRefused(503, "no_rtp_port", "all taken"), ValueError("not a header")])
async def test_a_second_call_that_cannot_be_placed(error: Exception) -> None:
    call = Call("bridge")
    call.refuses = error
    await call.transfer().settle()
    assert call.answers == [("c1", {"error": "unreachable"}, True)] and call.ends == []


async def test_a_fault_of_ours_ends_the_call_instead_of_leaving_it_deaf() -> None:
    call = Call("bridge")
    call.refuses = RuntimeError("a fault of ours")
    with capture_logs() as lines:
        await call.transfer().settle()
    assert call.ends == [EndReason.INTERNAL_ERROR]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["transfer.failed"]


async def test_one_thing_at_a_time() -> None:
    call = Call().transfer("c1").transfer("c2").use("hang_up", call_id="c3")
    assert [(name, "under way" in output["error"]) for name, output, _ in call.answers] == [("c2", True), ("c3", True)]
    await call.settle()
    call.transfer("c4").use("hang_up", call_id="c5")
    assert [name for name, _, _ in call.answers] == ["c2", "c3", "c4", "c5"]
    assert len(call.leg.referred) == 1 and call.ends == []
    call = Call()
    call.succession.is_pending = True
    await call.transfer().settle()
    assert call.leg.referred == [], "the caller is leaving already"


@pytest.mark.parametrize("begun", [False, True])
async def test_the_end_of_the_call_ends_the_transfer(begun: bool) -> None:
    call = Call("bridge").transfer()
    if begun:
        await call.settle()
    call.tools.close()
    await call.settle()
    assert call.second.given_up == int(begun) and call.answers == [] and call.counts.transfers == {}


async def test_keys() -> None:
    call = (
        Call()
        .use("send_digits", '{"digits": "1 2 #"}')
        .use("send_digits", '{"digits": ""}')
        .use("send_digits", "no")
        .use("send_digits", '{"digits": 12}')
        .use("send_digits", '{"digits": "%s"}' % ("1" * 65))
    )
    assert call.leg.keys == "12#"
    assert next(output for _, output, _ in call.answers) == {"status": "sent"}
    assert ["error" in output for _, output, _ in call.answers] == [False, True, True, True, True]
    assert call.tools.outcomes == {"built_in": 3, "invalid_arguments": 2}


async def test_keys_that_are_refused_afterwards_are_said_to_be() -> None:
    call = Call().use("send_digits", '{"digits": "1"}')
    call.tools.digits_refused()
    assert "not taken" in call.instructed[0]


async def test_keys_that_the_model_asks_for() -> None:
    call = Call().use("read_digits", '{"max_digits": 2}', "c1")
    assert call.answers == [("c1", {"status": "complete", "digits": "12"}, True)]
    for arguments in ('{"max_digits": "2"}', '{"max_digits": 33}', '{"timeout_s": 0}', "[]"):
        call.use("read_digits", arguments)
    assert all("error" in output for _, output, _ in call.answers[1:]) and len(call.answers) == 5


async def test_a_phone_that_registers_here_is_called_from_here() -> None:
    """No PBX knows it: REFER would lead nowhere."""
    call = Call("auto")
    call.own_phones = ["sip:desk@pbx.example"]
    await call.transfer().settle()
    assert call.leg.referred == [] and call.heard == ["close"]
    call.tools.close()


async def test_a_tool_that_was_not_offered_is_not_there() -> None:
    """Nothing of what the model writes reaches the log unless it can be a name."""
    with capture_logs() as lines:
        call = Call(offered=["hang_up"]).use("fly").use("send_digits", '{"digits": "1"}').use("1234 5678 " * 9000)
    assert call.answers == [
        ("c1", {"error": "there is no tool fly"}, True),
        ("c1", {"error": "there is no tool send_digits"}, True),
        ("c1", {"error": "there is no tool of this name"}, True),
    ]
    assert call.leg.keys == "" and call.tools.outcomes == {"unknown": 3}
    assert [line["tool"] for line in lines] == ["fly", "send_digits", "of this name"]


async def test_what_is_wrong_with_arguments_is_told_and_the_next_try_counts() -> None:
    call = Call().use("transfer", '{"target": "de').use("transfer", "{}").use("transfer", '{"target": ["desk"]}')
    first, second, third = (output["error"] for _, output, _ in call.answers)
    assert "no JSON, perhaps cut off" in first and "'target' is a required property" in second
    assert "target: ['desk'] is not of type 'string'" in third
    assert all(respond for _, _, respond in call.answers), "the model may try again"
    await call.transfer().settle()
    assert len(call.leg.referred) == 1


async def test_who_begins_to_speak_in_the_last_moment_is_heard_out() -> None:
    """Between the last word and the end the answer to another tool may have begun."""
    call = Call().use("hang_up")
    call.session.response_active = True
    await call.settle()
    assert call.ends == []
    call.session.response_active = False
    call.tools.heard()
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]


async def test_a_service_that_never_ends_its_answer_does_not_hold_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_speech, "MOST_SILENT_S", 0)
    call = Call()
    call.session.response_active = True
    call.leg.drained = False
    await call.use("hang_up").settle()
    assert call.ends == [], "its audio is not played yet"
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]


async def test_silence_between_two_sentences_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_speech, "MOST_SILENT_S", 0.005)
    call = Call()
    call.session.response_active = True
    call.use("hang_up")
    call.tools.speaks()
    await call.settle()
    await asyncio.sleep(0.01)
    assert call.ends == []


async def test_hanging_up_twice_is_one_end() -> None:
    call = await Call().use("hang_up").use("hang_up", call_id="c2").settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP] and len(call.answers) == 2


async def test_a_cancelled_call_of_a_tool_does_nothing() -> None:
    call = Call()
    call.leg.drained = False
    call.transfer("c1").tools.cancelled("c1")
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    assert call.leg.referred == [] and call.answers == [] and call.counts.transfers == {}


async def test_the_end_waits_for_what_the_application_does_and_no_more_words_are_asked_for() -> None:
    call = Call(offered=["hang_up", own()])
    await call.use("lookup", call_id="c1").use("hang_up", call_id="c2").settle()
    assert call.ends == [], "the request would be broken off"
    call.webhooks.done("c1")
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]
    assert [(name, respond) for name, _, respond in call.answers] == [("c2", False), ("c1", False)]


async def test_the_end_does_not_wait_for_what_outlives_the_call() -> None:
    call = await Call(offered=["hang_up", own(after_call=True)]).use("lookup").use("hang_up", call_id="c2").settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]
    call.tools.close()
    await call.webhooks.close(0)


async def test_a_model_that_runs_wild_does_not_use_tools_for_ever() -> None:
    call = Call()
    for _ in range(200):
        call.use("send_digits", '{"digits": "1"}')
    assert call.tools.outcomes["built_in"] < 60 and call.tools.outcomes["too_many"] > 100
    assert len(call.answers) == 200, "each use has its answer"


async def test_keys_are_not_sent_before_the_answer() -> None:
    call = Call()
    call.answered_at = None
    call.use("send_digits", '{"digits": "12"}')
    assert call.leg.keys == "" and call.answers == []
    call.answered_at = 1.0
    call.tools.heard()
    assert call.leg.keys == "12" and len(call.answers) == 1
