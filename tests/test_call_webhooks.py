"""The webhooks of one call, with a call made of wood: side by side, each answered once."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from bridge import after_speech, call_webhooks
from bridge.tools.reply import of_status, too_late
from tests.tools.wooden import Call, own

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_speech, "FAREWELL_S", 0)


async def test_the_application_gets_what_the_model_wrote_and_of_the_call_what_it_asked_for() -> None:
    offered = [own(parameters=CITY), own("rich", send=["caller", "caller_name", "called", "headers"])]
    call = Call(offered=offered).use("lookup", '{"city": "Köln"}').use("rich", call_id="c2")
    await call.settle()
    poor, rich = call.webhooks.asked
    assert poor == {
        "tool": "lookup",
        "call_id": "c1",
        "arguments": {"city": "Köln"},
        "call": {"id": "call", "agent": "front"},
    }
    known = {"caller": "+4930", "caller_name": "Ada", "called": "600", "headers": {"X-Customer": "77"}}
    assert rich["call"] == {"id": "call", "agent": "front"} | known
    call.tools.close()


async def test_arguments_that_do_not_fit_reach_nobody() -> None:
    call = await Call(offered=[own(parameters=CITY)]).use("lookup", '{"city": 5}').use("lookup", '{"city": "K').settle()
    assert call.webhooks.asked == [] and call.tools.outcomes == {"invalid_arguments": 2}
    assert all("error" in output and respond for _, output, respond in call.answers)


async def test_results_come_as_they_are_there_each_once() -> None:
    call = Call(offered=[own()])
    await call.use("lookup", call_id="a").use("lookup", call_id="b").use("lookup", call_id="a").settle()
    assert len(call.webhooks.asked) == 2, "told twice, done once"
    call.webhooks.done("b", n=2)
    await call.settle()
    assert call.answers == [("b", {"n": 2}, True)]
    call.webhooks.answer("a", too_late())
    await call.settle()
    assert call.answers[1][0] == "a" and "took too long" in call.answers[1][1]["error"]
    assert call.tools.outcomes == {"ok": 1, "timeout": 1} and not call.tools.is_busy
    assert call.busy == [True, False], "nobody asks the caller whether he is there while he waits for us"


async def test_a_result_after_an_interruption_is_given() -> None:
    call = await Call(offered=[own()]).use("lookup").settle()
    call.tools.interrupted()
    call.webhooks.done("c1")
    await call.settle()
    assert call.answers == [("c1", {"status": "done"}, True)]


async def test_a_flood_is_bounded() -> None:
    call = Call(offered=[own()])
    for number in range(call_webhooks.MOST + 5):
        call.use("lookup", call_id=f"c{number}")
    await call.settle()
    assert call.webhooks.most == call_webhooks.AT_ONCE and call.tools.outcomes == {"too_many": 5}
    for number in range(call_webhooks.MOST):
        call.webhooks.done(f"c{number}")
        await call.settle()
    assert call.webhooks.most == call_webhooks.AT_ONCE
    assert call.tools.outcomes == {"too_many": 5, "ok": call_webhooks.MOST}
    assert len({name for name, _, _ in call.answers}) == len(call.answers) == call_webhooks.MOST + 5


async def test_what_the_service_cancels_is_broken_off_and_not_answered() -> None:
    call = await Call(offered=[own(), own("saved", after_call=True)]).use("lookup").use("saved", call_id="c2").settle()
    assert call.webhooks.running == 2
    for name in ("c1", "c2", "c1", "unknown"):
        call.tools.cancelled(name)
    await call.settle()
    assert call.webhooks.running == 0 and call.answers == [] and call.tools.outcomes == {"cancelled": 2}


async def test_the_end_of_the_call_breaks_off_what_need_not_finish() -> None:
    call = Call(offered=[own(), own("saved", after_call=True), own("last", after_call=True, when="after_speech")])
    await call.use("lookup").use("saved", call_id="c2").settle()
    call.leg.drained = False
    call.use("last", call_id="c3").tools.close()
    await call.settle()
    assert [told["call_id"] for told in call.webhooks.asked] == ["c1", "c2", "c3"] and call.webhooks.running == 2
    assert call.tools.outcomes == {"cancelled": 1}
    call.webhooks.done("c2")
    call.webhooks.answer("c3", of_status(500))
    await call.settle()
    assert call.answers == [], "nobody is there to be told"
    assert call.webhooks.late == {"ok": 1, "http_error": 1}


async def test_what_is_after_speech_waits_for_the_last_word() -> None:
    call = Call(offered=[own(when="after_speech")])
    call.leg.drained = False
    await call.use("lookup").settle()
    assert call.webhooks.asked == []
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    assert len(call.webhooks.asked) == 1
    call.tools.close()


async def test_what_the_caller_speaks_into_is_not_done() -> None:
    call = Call(offered=[own(when="after_speech")])
    call.leg.drained = False
    call.use("lookup").tools.interrupted()
    call.session.caller_speaking = True
    call.use("lookup", call_id="c2")
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    told = {"error": "the caller spoke: not done"}
    assert call.answers == [("c1", told, False), ("c2", told, False)] and call.webhooks.asked == []
    assert call.tools.outcomes == {"interrupted": 2}


async def test_a_fault_of_ours_is_answered_too() -> None:
    call = await Call(offered=[own()]).use("lookup").settle()
    with capture_logs() as lines:
        call.webhooks.answer("c1", RuntimeError("a fault of ours"))
        await call.settle()
    assert call.answers == [("c1", {"error": "the tool has failed"}, True)] and call.tools.outcomes == {"failed": 1}
    assert [line["event"] for line in lines] == ["tool.failed"]


async def test_the_log_has_name_and_outcome_and_nothing_of_what_was_said() -> None:
    call = Call(offered=[own(parameters=CITY, secret="not for any log at all", headers={"X-Token": "hush-hush"})])
    with capture_logs() as lines:
        await call.use("lookup", '{"city": "Atlantis"}').use("lookup", '{"city": 1, "name": "Nemo"}', "c2").settle()
        call.webhooks.done("c1", depth="20000 leagues")
        await call.settle()
        await call.use("lookup", '{"city": "Atlantis"}', "c3").settle()
        call.webhooks.answer("c3", of_status(404))
        await call.settle()
    assert [line["event"] for line in lines] == ["tool.invalid_arguments", "tool.answered", "tool.answered"]
    assert lines[1] == {"event": "tool.answered", "log_level": "info", "tool": "lookup", "outcome": "ok", "status": 200}
    assert lines[2]["log_level"] == "warning" and lines[2]["status"] == 404 and lines[2]["advice"]
    written = json.dumps(lines)
    assert not any(word in written for word in ("Atlantis", "Nemo", "leagues", "hush", "any log", "app.example"))


async def test_a_stranger_as_a_call_id_is_no_reason_to_fail() -> None:
    call = Call(offered=[own(send=["caller"])])
    call.origin = type(call.origin)(caller="\udcff\r\nX: y")
    await call.use("lookup", call_id="\ud800\n").settle()
    assert call.webhooks.asked[0]["call_id"] == "?\n" and call.webhooks.asked[0]["call"]["caller"] == "?\r\nX: y"
    call.tools.close()
