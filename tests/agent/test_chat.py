"""What a model is told of a conversation."""

from __future__ import annotations

from typing import Any

from bridge.agent.chat import MAX_CHARS, NOT_UNDERSTOOD, NOTHING_YET, PENDING, SILENT, Message, chat
from bridge.agent.configuration import Configuration
from bridge.agent.items import Item
from bridge.agent.plans import Request


def request(**given: Any) -> Request:
    return Request(given, Configuration("sess", "m", 0))


def message(role: str, words: str | None) -> Item:
    return Item("i", "message", role=role, words=words)


def call(call_id: str, arguments: str = "{}") -> Item:
    return Item("c", "function_call", fields={"name": "look", "call_id": call_id, "arguments": arguments})


def result(call_id: str, output: str) -> Item:
    return Item("o", "function_call_output", fields={"call_id": call_id, "output": output})


def told(*items: Item, silent: bool = False, **given: Any) -> list[Message]:
    return chat(items, request(**given), "Be brief.", silent=silent).messages[1:]


def calls(*ids: str) -> list[Message]:
    function = {"name": "look", "arguments": "{}"}
    return [{"id": call_id, "type": "function", "function": function} for call_id in ids]


def test_words_in_order_and_by_turns() -> None:
    assert told(
        message("user", "One."), message("user", "Two."), message("assistant", " Three. "), message("user", None)
    ) == [
        {"role": "user", "content": "One.\nTwo."},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": NOT_UNDERSTOOD},
    ]


def test_nobody_has_spoken_or_the_caller_keeps_silent() -> None:
    assert told() == [{"role": "user", "content": NOTHING_YET}]
    assert told(message("assistant", "Hello."), silent=True)[-1] == {"role": "user", "content": SILENT}
    assert told(message("system", "He pressed 5."))[-1] == {"role": "system", "content": "He pressed 5."}


def test_what_was_not_heard_at_all_is_left_out() -> None:
    cut = Item("i", "message", role="assistant", words="Hello.", sent_bytes=800, truncated_ms=0)
    assert told(message("user", "Hi."), cut) == [{"role": "user", "content": "Hi."}]


def test_words_that_the_ears_still_work_on_are_left_out() -> None:
    waiting = message("user", None)
    waiting.unheard = True
    assert told(message("user", "Hi."), waiting) == [{"role": "user", "content": "Hi."}]


def test_calls_of_one_answer_and_their_results_stand_together() -> None:
    items = [
        message("user", "Go."),
        message("assistant", "Well."),
        call("a"),
        call("b"),
        result("b", "2"),
        result("a", "1"),
    ]
    assert told(*items)[1:] == [
        {"role": "assistant", "content": "Well.", "tool_calls": calls("a", "b")},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]


def test_calls_one_after_the_other_keep_their_order() -> None:
    first, second = (call("a"), result("a", "1")), (call("b"), result("b", "2"))
    assert told(message("user", "Go."), *first, message("assistant", "And."), *second)[1:] == [
        {"role": "assistant", "content": None, "tool_calls": calls("a")},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "assistant", "content": "And.", "tool_calls": calls("b")},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]  # fmt: skip


def test_a_call_whose_result_is_not_there_has_one_all_the_same() -> None:
    assert told(message("user", "Go."), call("a"), message("user", "And?"))[1:] == [
        {"role": "assistant", "content": None, "tool_calls": calls("a")},
        {"role": "tool", "tool_call_id": "a", "content": PENDING},
        {"role": "user", "content": "And?"},
    ]


def test_a_result_that_comes_late_is_told_where_it_came() -> None:
    assert told(message("user", "Go."), call("a"), message("user", "And?"), result("a", "7"))[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": PENDING},
        {"role": "user", "content": "And?"},
        {"role": "system", "content": "The result of look: 7"},
    ]


def test_arguments_that_are_no_object_are_not_sent_back() -> None:
    for bad in ("", "{", "[]", "7"):
        assert told(message("user", "Go."), call("a", bad))[1]["tool_calls"] == calls("a")


def test_the_oldest_is_forgotten_when_it_is_too_much() -> None:
    old = [message("user", "x" * MAX_CHARS), call("a"), result("a", "1")]
    kept = told(*old, message("user", "Now."), message("assistant", "Yes."))
    assert [each["content"] for each in kept if each["role"] != "tool"][-2:] == ["Now.", "Yes."]
    assert sum(len(each["content"] or "") for each in kept) < MAX_CHARS
    assert kept[0]["role"] != "tool", "a result without its call is refused by servers"
    assert len(told(message("user", "x" * 2 * MAX_CHARS))) == 1


def test_a_result_is_forgotten_with_its_call() -> None:
    long = call("a", f'{{"x": "{"x" * MAX_CHARS}"}}')
    kept = told(message("user", "Old."), long, result("a", "1"), message("user", "Now."))
    assert kept == [{"role": "user", "content": "Now."}]


def test_the_newest_message_stays_whatever_its_length() -> None:
    assert told(message("assistant", "Hello."), message("user", "x" * 2 * MAX_CHARS))[-1]["content"][0] == "x"


def test_tools_and_the_choice_between_them() -> None:
    tools: list[dict[str, Any]] = [
        {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}},
        {"type": "function", "name": "bare"},
        {"type": "mcp", "server_label": "x"},
    ]
    asked = chat([], request(tools=tools, tool_choice={"type": "function", "name": "bare"}), "", silent=False)
    assert [tool["function"]["name"] for tool in asked.tools] == ["look", "bare"]
    assert asked.tools[1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert asked.tool_choice == {"type": "function", "function": {"name": "bare"}}
    assert chat([], request(tools=tools, tool_choice="none"), "", silent=False).tools == []
    assert chat([], request(tools=tools, tool_choice="required"), "", silent=False).tool_choice == "required"
    asked = chat([], request(tools=tools, tool_choice={"type": "mcp", "server_label": "x"}), "", silent=False)
    assert asked.tool_choice == "auto"


def test_limits_of_the_answer() -> None:
    assert chat([], request(max_output_tokens=50), "", silent=False).max_tokens == 50
    assert chat([], request(max_output_tokens="inf"), "", silent=False).max_tokens is None
