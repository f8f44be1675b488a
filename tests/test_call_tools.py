"""The built-in tools, with a call made of wood: when they act, when they do not, and what the model is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge import call_tools
from bridge.call_tools import CallTools
from bridge.legs.leg import LegRefused
from bridge.realtime.events import ToolCall
from bridge.records import Counts, EndReason
from bridge.sip.uri import Uri
from bridge.transfer.targets import Targets
from tests.transfer.wooden import Party, Second


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_tools, "FAREWELL_S", 0)


class Call:
    """What the tools use of a call."""

    def __init__(self, method: str = "auto") -> None:
        self.leg = Party()
        self.own_phones: list[str] = []
        self.base = Uri.parse("sip:pbx.example")
        self.former: list[Any] = []
        self.counts = Counts()
        self.answers: list[tuple[str, dict[str, Any], bool]] = []
        self.protocol = SimpleNamespace(response_active=False, caller_speaking=False)
        self.floor = SimpleNamespace(barge_in=SimpleNamespace(is_undecided=False))
        self.session = SimpleNamespace(protocol=self.protocol, tool_result=self._told)
        settings = SimpleNamespace(method=method, timeout_s=5)
        targets = Targets({"desk": "sip:desk@pbx.example"})
        self.profile = SimpleNamespace(targets=targets, transfer=settings)
        self.succession = SimpleNamespace(is_pending=False)
        self.heard: list[str] = []
        self.hearing = SimpleNamespace(open=lambda: self.heard.append("open"), close=lambda: self.heard.append("close"))
        self.ends: list[EndReason] = []
        self.joined: list[Any] = []
        self.second = Second()
        self.refuses: Exception | None = None
        self.tools = CallTools(self)  # type: ignore[arg-type]

    def _told(self, call_id: str, output: dict[str, Any], *, respond: bool = True) -> None:
        self.answers.append((call_id, output, respond))

    def is_own_phone(self, target: Uri) -> bool:
        return str(target) in self.own_phones

    def end(self, reason: EndReason) -> None:
        self.ends.append(reason)

    def join(self, other: Any) -> None:
        self.joined.append(other)

    def dial(self, target: Uri, timeout_s: float) -> Second:
        if self.refuses is not None:
            raise self.refuses
        return self.second

    def use(self, name: str, arguments: str = "{}", call_id: str = "c1") -> Call:
        self.tools.use(ToolCall(call_id, name, arguments))
        return self

    def transfer(self, call_id: str = "c1") -> Call:
        return self.use("transfer", '{"target": "desk"}', call_id)

    async def settle(self) -> Call:
        for _ in range(10):
            await asyncio.sleep(0.001)
        return self


async def test_the_call_ends_when_the_last_word_was_heard() -> None:
    call = Call()
    call.leg.drained = False
    call.protocol.response_active = True
    await call.use("hang_up").settle()
    assert call.ends == [] and call.answers[0][2] is False, "an answer would ask the model for more words"
    call.leg.drained = True
    call.tools.heard()
    await call.settle()
    assert call.ends == []
    call.protocol.response_active = False
    call.tools.heard()
    call.tools.heard()
    await call.settle()
    assert call.ends == [EndReason.AGENT_HUNG_UP]


async def test_who_speaks_into_the_farewell_keeps_the_call() -> None:
    call = Call().use("hang_up")
    call.tools.interrupted()
    await call.settle()
    assert call.ends == []


@pytest.mark.parametrize("tool", ["hang_up", "transfer"])
async def test_nothing_is_done_over_a_caller_who_speaks_already(tool: str) -> None:
    """The tool call of a response that was just interrupted may come after the interruption."""
    call = Call()
    call.protocol.caller_speaking = True
    await call.use(tool, '{"target": "desk"}').settle()
    assert call.ends == [] and call.leg.referred == []
    assert "error" in call.answers[0][1] and call.answers[0][2] is False


async def test_the_end_waits_until_it_is_clear_whether_the_caller_speaks() -> None:
    call = Call()
    call.floor.barge_in.is_undecided = call.protocol.caller_speaking = True
    await call.use("hang_up").settle()
    assert call.ends == [] and "status" in call.answers[0][1]
    call.floor.barge_in.is_undecided = call.protocol.caller_speaking = False
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
        Call().use("send_digits", '{"digits": "1 2 #"}').use("send_digits", '{"digits": ""}').use("send_digits", "no")
    )
    assert call.leg.keys == "12#"
    assert next(output for _, output, _ in call.answers) == {"status": "sent"}
    assert ["error" in output for _, output, _ in call.answers] == [False, True, True]


async def test_a_phone_that_registers_here_is_called_from_here() -> None:
    """No PBX knows it: REFER would lead nowhere."""
    call = Call("auto")
    call.own_phones = ["sip:desk@pbx.example"]
    await call.transfer().settle()
    assert call.leg.referred == [] and call.heard == ["close"]
    call.tools.close()


async def test_an_unknown_tool() -> None:
    call = Call().use("fly")
    assert call.answers == [("c1", {"error": "there is no tool fly"}, True)]
