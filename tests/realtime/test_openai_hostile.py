"""A server that means no good: nothing raises, and nothing grows without end."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.realtime import events as ev
from bridge.realtime.faults import ID_LIMIT, WORDS_LIMIT
from bridge.realtime.openai.dialect import PRESETS
from bridge.realtime.openai.protocol import Stage
from bridge.realtime.openai.reactions import TABLE
from tests.realtime.wire import Wire

TYPES = sorted(TABLE)
LONG = "x" * 10_000


def size_of(thing: object) -> int:
    """Bytes of an object and all it refers to, without modules, classes and functions."""
    seen: set[int] = set()
    todo, total = [thing], 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return total


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("bad", [5, [], {}, LONG, True], ids=["number", "list", "object", "long", "true"])
def test_an_id_that_is_none_is_dropped_or_passed_over(type_: str, bad: Any) -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 80)
    names = ("item_id", "response_id", "previous_item_id", "event_id", "call_id")
    members: dict[str, Any] = {name: bad for name in names}
    inner = {"id": bad, "type": "message", "role": "assistant", "call_id": bad, "name": bad, "arguments": "{}"}
    event = members | {"item": inner, "response": {"id": bad, "status": "completed", "output": [inner, bad]}}
    event |= {"delta": "AQ==", "transcript": "Hi.", "error": {"code": bad, "message": bad, "event_id": bad}}
    told = wire.say(type_, **event, session={"id": bad, "model": bad, "expires_at": bad})
    ids = [getattr(one, "item_id", "") for one in told]
    assert all(len(one) <= ID_LIMIT for one in ids)
    assert wire.protocol.stage is Stage.READY


def test_the_text_of_an_error_is_cut() -> None:
    (error,) = Wire().ready().error("x" * 9000, "y" * 9_000_000)
    assert isinstance(error, ev.SessionError)
    assert len(error.code) <= WORDS_LIMIT and len(error.message) <= WORDS_LIMIT


@pytest.mark.parametrize("value", [-1, -(2**70), 2**70, 1e300, 0.5, float(2**60)])
def test_times_that_are_none(value: float) -> None:
    wire = Wire().ready()
    told = wire.starts(at_ms=value)  # type: ignore[arg-type]
    for event in told:
        assert isinstance(event, ev.SpeechStarted) and 0 <= event.audio_start_ms < 2**53
    assert len(told) + wire.protocol.malformed == 1
    wire.say("session.updated", session={"expires_at": value})
    wire.done("r", usage={"input_tokens": value, "output_token_details": {"audio_tokens": value}})


def test_json_of_any_depth_ends_here() -> None:
    wire = Wire().ready()
    for depth in (100, 900, 1100, 200_000):
        nested = b"[" * depth + b"]" * depth
        for type_ in TYPES:
            frame = b'{"type":"%s","error":{"code":%s,"message":%s},"session":{"id":%s,"audio":%s},"item":%s}'
            wire.protocol.receive(frame % (type_.encode(), nested, nested, nested, nested, nested))
    assert wire.protocol.stage is Stage.READY


@given(st.binary(max_size=300))
def test_any_bytes(frame: bytes) -> None:
    Wire().ready().protocol.receive(frame)


_id = st.sampled_from(["r", "a", "u", "c", "", LONG]) | st.none() | st.integers()
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _id,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_item = st.fixed_dictionaries(
    {},
    optional={
        "id": _id,
        "type": st.sampled_from(["message", "function_call", "mcp_call", "mcp_approval_request"]) | _json,
        "role": st.sampled_from(["user", "assistant"]) | _json,
        "status": st.sampled_from(["completed", "incomplete"]) | _json,
        "call_id": _id,
        "name": _id,
        "arguments": _json,
    },
)
_status = st.sampled_from(["completed", "cancelled", "incomplete", "failed"]) | _json
_response = st.fixed_dictionaries(
    {},
    optional={"id": _id, "status": _status, "status_details": _json, "usage": _json, "output": st.lists(_item | _json)},
)
_event = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        "item_id": _id,
        "response_id": _id,
        "previous_item_id": _id,
        "audio_start_ms": _json,
        "audio_end_ms": _json,
        "delta": st.sampled_from(["AQ==", "AQ", "@"]) | _json,
        "transcript": _json,
        "status": _status,
        "item": _item | _json,
        "response": _response | _json,
        "session": _json,
        "usage": _json,
        "error": st.fixed_dictionaries({}, optional={"code": _json, "message": _json, "param": _json, "event_id": _id}),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(PRESETS)),
    st.lists(_event | st.sampled_from(["interrupt", "text", "result", "respond", "forget", "commit"]), max_size=30),
)
def test_no_events_in_any_order_raise(name: str, steps: list[Any]) -> None:
    wire = Wire(dialect=PRESETS[name], greeting="Hello.", transcription={"model": "t"}).ready()
    protocol = wire.protocol
    for step in steps:
        match step:
            case "interrupt":
                protocol.interrupted([ev.Unheard("a", 20)], by_server=False)
            case "text":
                protocol.user_text("x")
            case "result":
                protocol.tool_result("c", {"x": 1})
            case "respond":
                protocol.respond()
            case "forget":
                protocol.forget("u")
            case "commit":
                protocol.commit()
            case dict():
                protocol.receive(json.dumps(step).encode(errors="replace"))
        for alarm in protocol.alarms():
            protocol.rang(alarm)
        protocol.data_to_send()


def flood(wire: Wire, number: int) -> None:
    """One round of everything that leaves something behind, each time with other ids as long as they may be."""
    name = f"{number}".rjust(ID_LIMIT, "x")
    item = {"id": name, "type": "message", "role": "assistant"}
    wire.say("response.created", response={"id": name})
    wire.say("response.output_item.added", response_id=name, item=item, previous_item_id=name)
    wire.say("conversation.item.added", item={"id": f"u{name[1:]}", "type": "message", "role": "user"})
    wire.delta(name, name, b"\x01" * 800)
    wire.saying(name, name, "words " * 2000)
    wire.starts(name)
    wire.commits(name)
    wire.protocol.forget(name[:-1] + "y")
    assert wire.calls(name, name[2:], arguments="x" * 5000)
    wire.calls(name, f"i{name[3:]}", "incomplete", arguments="x" * 200_000)
    wire.say("conversation.item.added", item={"id": name, "type": "mcp_approval_request", "name": "n"})
    wire.protocol.tool_result(name[2:], {"x": "y" * 5000})
    wire.protocol.interrupted([ev.Unheard(name, 50)])
    wire.error("x" * 5000, "y" * 5000)
    wire.protocol.user_text("z")
    wire.protocol.data_to_send()  # the alarms are left where they are


@pytest.mark.parametrize("name", ["openai", "localai"])
def test_memory_is_bounded_whatever_comes(name: str) -> None:
    wire = Wire(dialect=PRESETS[name], transcription={"model": "t"}).ready()
    for number in range(300):
        flood(wire, number)
    before = size_of(wire.protocol)
    for number in range(300, 600):
        flood(wire, number)
    after = size_of(wire.protocol)
    assert after < 1.1 * before
    assert after < (2_000_000 if name == "openai" else 3_000_000)
    assert len(wire.protocol.alarms()) <= 32


def test_a_message_of_deltas_without_an_item_is_dropped() -> None:
    wire = Wire().ready()
    assert wire.say("response.output_audio.delta", response_id="r", delta="AQ==") == ()
    assert wire.say("response.output_audio_transcript.delta", response_id="r", delta="Hi") == ()
    assert wire.protocol.malformed == 2


def test_the_same_event_many_times_is_told_as_often_as_it_means_something() -> None:
    wire = Wire().ready()
    wire.begin("r", "a")
    item = {"id": "a", "type": "message", "role": "assistant"}
    told = [wire.say("conversation.item.added", item=item, previous_item_id="u") for _ in range(5)]
    assert [len(each) for each in told] == [1, 0, 0, 0, 0]
