"""Calls of tools, by `call_id`."""

from __future__ import annotations

import pytest

from bridge.realtime.events import ToolCall
from bridge.realtime.faults import Malformed
from bridge.realtime.openai.tool_calls import ToolCalls
from tests.realtime.wire import Wire


def call(call_id: str, **members: object) -> dict[str, object]:
    whole = {"id": f"f_{call_id}", "type": "function_call", "call_id": call_id, "name": "n", "arguments": "{}"}
    return whole | members


def test_a_result_that_comes_before_the_second_call_waits_for_that_one_s() -> None:
    wire = Wire().ready()
    wire.begin("r")
    wire.calls("r", "c1")
    wire.protocol.tool_result("c1", {})
    wire.calls("r", "c2")
    wire.done("r")
    assert wire.types() == ["conversation.item.create"]
    wire.protocol.tool_result("c2", {})
    assert wire.types() == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize(("first", "second", "due"), [(True, False, 1), (False, True, 1), (False, False, 0)])
def test_one_result_to_speak_about_is_enough(first: bool, second: bool, due: int) -> None:
    wire = Wire().ready()
    wire.begin("r")
    wire.calls("r", "c1")
    wire.calls("r", "c2")
    wire.done("r")
    wire.protocol.tool_result("c1", {}, respond=first)
    wire.protocol.tool_result("c2", {}, respond=second)
    assert wire.types().count("response.create") == due


def test_calls_of_two_responses_do_not_wait_for_each_other() -> None:
    calls = ToolCalls()
    for number in (1, 2):
        assert calls.item_done(call(f"c{number}"), f"r{number}") == ToolCall(f"c{number}", "n", "{}")
    calls.answered("c2", speak=True)
    assert calls.due(None) and not calls.due(None)
    calls.answered("c1", speak=True)
    assert calls.due(None)


def test_a_call_that_is_whole_in_the_end_is_told_after_all() -> None:
    calls = ToolCalls()
    assert calls.item_done(call("c", status="incomplete"), "r") is None
    assert calls.item_done(call("c", status="completed"), "r") == ToolCall("c", "n", "{}")
    assert calls.response_done("r", "completed", []) == ([], [])


@pytest.mark.parametrize("wrong", [{"call_id": ""}, {"call_id": 5}, {"name": ""}, {"arguments": None}])
def test_a_call_without_its_members_is_malformed(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        ToolCalls().item_done(call("c") | wrong, "r")
