"""The protocol object, frame by frame, without a socket."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.realtime import events as ev
from bridge.realtime.openai.messages import append_message
from bridge.realtime.openai.protocol import Stage
from bridge.realtime.openai.reactions import TABLE
from tests.realtime.wire import VAD, Wire
from tests.realtime_events import problems

OWN_TURNS = VAD | {"create_response": False, "interrupt_response": False}
ULAW = {"type": "audio/pcmu"}


@dataclass(frozen=True)
class Heard:
    item_id: str
    sent_ms: int


def test_nothing_is_sent_before_the_session_is_created() -> None:
    wire = Wire()
    assert wire.told() == []
    wire.say("session.created", session={"id": "sess_1"})
    (update,) = wire.told()
    assert update["type"] == "session.update"
    assert update["session"]["audio"]["input"]["format"] == ULAW
    assert update["session"]["audio"]["output"]["format"] == ULAW
    assert update["session"]["audio"]["input"]["turn_detection"] == VAD


def test_a_second_session_created_configures_nothing_twice() -> None:
    wire = Wire().ready()
    wire.say("session.created", session={"id": "sess_2"})
    assert wire.told() == []


def test_every_option_reaches_session_update_and_is_valid() -> None:
    wire = Wire(
        instructions="Be brief.",
        voice="marin",
        speed=1.1,
        turn_detection={
            "type": "semantic_vad",
            "eagerness": "low",
            "create_response": True,
            "interrupt_response": False,
        },
        transcription={"model": "gpt-transcribe", "language": "en"},
        noise_reduction={"type": "far_field"},
        tools=({"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},),
        tool_choice="auto",
        parallel_tool_calls=True,
        max_output_tokens=100,
        reasoning_effort="low",
        truncation="disabled",
    )
    wire.say("session.created", session={"id": "s"})
    (update,) = wire.told()
    session = update["session"]
    assert session["max_output_tokens"] == 100
    assert session["reasoning"] == {"effort": "low"}
    assert session["audio"]["input"]["noise_reduction"] == {"type": "far_field"}
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["tools"][0]["name"] == "f"


def test_an_error_before_the_session_is_ready_is_fatal_and_names_the_field() -> None:
    wire = Wire()
    wire.say("session.created", session={"id": "s"})
    error = wire.error("unknown_parameter", "No", param="session.x")
    assert error == (ev.SessionError("unknown_parameter", "No (session.x)", fatal=True),)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("invalid_value", "Audio content of 3700ms is already shorter than 3760ms"),
        (None, "Audio content of 3700ms is already shorter than 3760ms"),
        ("response_cancel_not_active", "Cancellation failed: no active response found"),
        ("item_truncate_invalid_item_id", "No such item"),
        ("unsupported_content_type", "Only model output audio messages can be truncated"),
    ],
)
def test_errors_of_good_sessions_are_harmless(code: str | None, message: str) -> None:
    wire = Wire().ready()
    (error,) = wire.error(code, message)
    assert isinstance(error, ev.SessionError)
    assert error.harmless and not error.fatal
    assert wire.protocol.stage is Stage.READY


def test_a_lost_credit_is_fatal_at_any_time() -> None:
    (error,) = Wire().ready().error("insufficient_quota")
    assert isinstance(error, ev.SessionError) and error.fatal


def test_the_greeting_keeps_the_persona() -> None:
    wire = Wire(instructions="You are Ada.", greeting="Say hello.").ready()
    wire.protocol.greet()
    (create,) = wire.told()
    assert create["response"]["instructions"] == "You are Ada.\n\nSay hello."


def test_without_a_greeting_the_caller_speaks_first() -> None:
    wire = Wire().ready()
    wire.protocol.greet()
    assert wire.told() == []


# Barge-in


def test_the_item_in_the_air_is_truncated_where_it_was_cut_and_the_waiting_one_at_zero() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", "b", audio=b"\x01" * 800)
    wire.say("input_audio_buffer.speech_started", audio_start_ms=5, item_id="u")
    cuts = wire.protocol.interrupted([Heard("a", 40), Heard("b", 0)])
    assert cuts == [ev.Truncated("a", 40), ev.Truncated("b", 0)]
    sent = wire.told()
    assert [(m["type"], m["item_id"], m["audio_end_ms"]) for m in sent] == [
        ("conversation.item.truncate", "a", 40),
        ("conversation.item.truncate", "b", 0),
    ]


def test_an_item_whose_audio_had_not_come_is_deleted() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.say("response.output_item.added", response_id="r1", item={"id": "b", "type": "message"})
    wire.protocol.interrupted([Heard("a", 20)])
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [
        ("conversation.item.truncate", "a"),
        ("conversation.item.delete", "b"),
    ]


def test_an_item_announced_after_the_interruption_is_deleted_too() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 0)])
    wire.told()
    wire.say("response.output_item.added", response_id="r1", item={"id": "b", "type": "message"})
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [("conversation.item.delete", "b")]


def test_a_function_call_is_neither_truncated_nor_deleted() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.say("response.output_item.added", response_id="r1", item={"id": "f", "type": "function_call"})
    wire.protocol.interrupted([Heard("a", 20)])
    assert [m["item_id"] for m in wire.told()] == ["a"]


def test_an_item_heard_to_its_end_is_left_alone() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", "b", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("b", 0)])  # the ledger no longer names a
    assert [m["item_id"] for m in wire.told()] == ["b"]


def test_a_turn_that_interrupts_nothing_says_nothing() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.say("response.output_item.done", response_id="r1", item={"id": "a", "type": "message"})
    wire.done("r1")
    wire.say("input_audio_buffer.speech_started", audio_start_ms=5, item_id="u")
    assert wire.protocol.interrupted([]) == []
    assert wire.told() == []


def test_late_audio_is_dropped_and_counted() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 20)])
    assert wire.delta("r1", "a", b"\x02" * 160) == ()
    assert wire.delta("r1", "new", b"\x02" * 160) == ()
    assert wire.protocol.conversation.late_deltas == 2
    assert wire.delta("r2", "c", b"\x03" * 160) == (ev.AudioDelta("c", b"\x03" * 160),)


def test_an_interruption_after_the_response_ended_still_truncates_and_drops() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.done("r1")
    wire.protocol.interrupted([Heard("a", 20)])
    assert wire.types() == ["conversation.item.truncate"]


def test_the_server_that_cancels_by_itself_is_not_told_to() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 20)])
    assert "response.cancel" not in wire.types()


@pytest.mark.parametrize(
    ("detection", "by_server"), [(VAD | {"interrupt_response": False}, True), (None, True), (VAD, False)]
)
def test_a_response_that_nobody_else_cancels_is_cancelled(detection: Any, by_server: bool) -> None:
    wire = Wire(turn_detection=detection).ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 20)], by_server=by_server)
    cancel, truncate = wire.told()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "r1")
    assert truncate["type"] == "conversation.item.truncate"


def test_no_cancel_without_an_active_response() -> None:
    wire = Wire(turn_detection=VAD | {"interrupt_response": False}).ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.done("r1")
    wire.protocol.interrupted([Heard("a", 20)])
    assert wire.types() == ["conversation.item.truncate"]


def test_a_cancel_reported_before_the_speech_leaves_no_announced_item_behind() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a")
    wire.done("r1", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})
    wire.protocol.interrupted([])
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [("conversation.item.delete", "a")]
    wire.protocol.interrupted([])
    assert wire.told() == []


def test_a_truncate_that_is_refused_for_lack_of_audio_becomes_a_delete() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 0)])
    (truncate,) = wire.told()
    wire.say(
        "error",
        error={
            "type": "invalid_request_error",
            "code": "unsupported_content_type",
            "message": "Only model output audio messages can be truncated",
            "event_id": truncate["event_id"],
        },
    )
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [("conversation.item.delete", "a")]


def test_the_far_end_delay_is_taken_off_but_never_below_zero() -> None:
    wire = Wire(far_end_delay_ms=60).ready()
    wire.begin("r1", "a", "b", audio=b"\x01" * 1600)
    assert wire.protocol.interrupted([Heard("a", 100), Heard("b", 20)]) == [
        ev.Truncated("a", 40),
        ev.Truncated("b", 0),
    ]


# One response at a time


def test_a_response_waits_for_the_active_one() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a")
    wire.protocol.tool_result("call_1", {"stock": 4})
    assert wire.types() == ["conversation.item.create"]
    wire.done("r1")
    assert wire.types() == ["response.create"]


def test_a_response_waits_while_the_caller_speaks() -> None:
    wire = Wire(turn_detection=VAD | {"create_response": False}).ready()
    wire.say("input_audio_buffer.speech_started", audio_start_ms=5, item_id="u")
    wire.protocol.user_text("The caller pressed 5.")
    assert wire.types() == ["conversation.item.create"]
    wire.say("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u")
    assert wire.types() == ["response.create"]


def spoken(wire: Wire) -> None:
    """The caller speaks, and a tool's result comes meanwhile."""
    wire.say("input_audio_buffer.speech_started", audio_start_ms=5, item_id="u")
    wire.protocol.tool_result("call_1", {"stock": 4})
    wire.say("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u")


def test_one_answer_is_enough_for_what_came_and_what_he_said() -> None:
    wire = Wire(turn_detection=OWN_TURNS).ready()
    spoken(wire)
    wire.protocol.respond()
    wire.protocol.respond()
    assert wire.types() == ["conversation.item.create", "response.create"]
    wire.begin("r1", "a")
    wire.done("r1")
    assert wire.told() == []
    wire.say("input_audio_buffer.speech_started", audio_start_ms=2000, item_id="v")
    wire.say("input_audio_buffer.speech_stopped", audio_end_ms=2900, item_id="v")
    wire.protocol.respond()
    assert wire.types() == ["response.create"]


def test_an_answer_that_was_cut_is_none() -> None:
    wire = Wire(turn_detection=OWN_TURNS).ready()
    spoken(wire)
    wire.begin("r1", "a")
    wire.protocol.interrupted([Heard("a", 0)], by_server=False)
    wire.protocol.respond()
    wire.told()
    wire.done("r1", "cancelled")
    assert wire.types() == ["response.create"]


def test_a_response_refused_because_one_runs_is_asked_for_once_more() -> None:
    wire = Wire(greeting="Hello").ready()
    wire.protocol.greet()
    (create,) = wire.told()
    wire.begin("r1", "a")  # the server made one by itself
    refusal = {
        "type": "invalid_request_error",
        "code": "conversation_already_has_active_response",
        "message": "",
        "event_id": create["event_id"],
    }
    wire.say("error", error=refusal)
    assert wire.told() == []
    wire.done("r1")
    (again,) = wire.told()
    assert again["response"] == create["response"]


def test_a_failed_response_is_retried_once() -> None:
    wire = Wire().ready()
    failed = {"status_details": {"type": "failed", "error": {"code": "server_error", "type": "server_error"}}}
    wire.begin("r1")
    assert wire.done("r1", "failed", **failed) == (ev.ResponseEnded("r1", "failed", "server_error"),)
    assert wire.types() == ["response.create"]
    wire.begin("r2")
    wire.done("r2", "failed", **failed)
    assert wire.told() == []


# Audio up, and nonsense


@given(st.binary(min_size=1, max_size=800))
def test_appended_audio_arrives_as_it_was(audio: bytes) -> None:
    event = orjson.loads(append_message(audio))
    assert problems(event, "client") == []
    assert base64.b64decode(event["audio"]) == audio


NONSENSE = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"{}",
    b'{"type": 5}',
    b'{"type": "response.output_audio.delta"}',
    b'{"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "@@@"}',
    b'{"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "\xc3\xa9"}',
    b'{"type": "response.output_audio.delta", "response_id": [], "item_id": "i", "delta": ""}',
    b'{"type": "response.done", "response": null}',
    b'{"type": "response.done", "response": {"id": {}, "status": "completed"}}',
    b'{"type": "error"}',
    b'{"type": "error", "error": "x"}',
    b'{"type": "input_audio_buffer.speech_started", "audio_start_ms": "x"}',
]


@pytest.mark.parametrize("frame", NONSENSE)
def test_nonsense_is_counted_and_changes_nothing(frame: bytes) -> None:
    wire = Wire().ready()
    assert wire.protocol.receive(frame) == ()
    assert wire.protocol.malformed == 1
    assert wire.protocol.stage is Stage.READY


def test_an_unknown_event_is_counted_and_ignored() -> None:
    wire = Wire().ready()
    assert wire.say("response.telepathy.delta", x=1) == ()
    assert wire.protocol.unknown == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
_members = ["session", "response", "item", "error", "response_id", "item_id", "delta", "id", "status", "transcript"]


@given(st.sampled_from(sorted(TABLE)), st.data())
def test_no_event_of_any_shape_raises(type_: str, data: st.DataObject) -> None:
    members = data.draw(st.dictionaries(st.sampled_from(_members), _json, max_size=6))
    wire = Wire().ready()
    wire.protocol.receive(orjson.dumps({"type": type_} | members, option=orjson.OPT_NON_STR_KEYS))
    wire.protocol.data_to_send()


def test_memory_stays_bounded_over_a_long_session() -> None:
    wire = Wire().ready()
    for number in range(2000):
        wire.begin(f"r{number}", f"a{number}", audio=b"\x01" * 8)
        wire.protocol.interrupted([Heard(f"a{number}", 0)])
        wire.done(f"r{number}", "cancelled")
    conversation = wire.protocol.conversation
    assert len(conversation._items) <= 256 and len(conversation._dead) <= 256
    assert len(wire.protocol._outbox._sent) <= 64


def test_an_idle_caller_is_told_and_can_be_answered() -> None:
    wire = Wire(turn_detection=OWN_TURNS).ready()
    spoken(wire)
    told = wire.say("input_audio_buffer.timeout_triggered", audio_start_ms=5, audio_end_ms=9, item_id="u")
    assert told == (ev.CallerIdle(),)
