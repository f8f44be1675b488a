"""ElevenLabs: the protocol object frame by frame, and over a real session against the test server."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audio.format import Linear
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.elevenlabs.faults import ADVICE, CLOSE_ADVICE, FINAL_CLOSE_CODES
from bridge.realtime.elevenlabs.messages import ANSWER, FORMATS, NUDGE
from bridge.realtime.elevenlabs.protocol import GO_ON, TICK_S, ElevenLabsProtocol, Stage
from bridge.realtime.elevenlabs.signed_url import SignedUrl
from bridge.realtime.elevenlabs.turn_end import AFTERWORD_S, ANSWER_S, QUIET_S
from bridge.realtime.history import NOTHING, AgentWords, CallerWords, History, ToolUse
from bridge.realtime.openai.conversation import DELETED
from bridge.realtime.options import SessionOptions
from bridge.realtime.session import Session
from tests.servers.elevenlabs import Script, Settings, Talk, serving

A, B = b"\x11" * 800, b"\x22" * 800  # 100 ms of µ-law


@dataclass(frozen=True)
class Heard:
    item_id: str
    sent_ms: int


class Wire:
    """A protocol object with a server's voice and a clock of its own."""

    def __init__(self, history: History = NOTHING, audio: Any = Law.PCMU, **options: Any) -> None:
        self.protocol = ElevenLabsProtocol(SessionOptions(audio, **options), history)
        self.now = 1000.0

    def say(self, kind: str, member: str = "", **fields: Any) -> list[ev.Event]:
        event = {"type": kind} | ({member: fields} if member else fields)
        return list(self.protocol.receive(orjson.dumps(event)))

    def told(self) -> list[dict[str, Any]]:
        return [orjson.loads(message) for message in self.protocol.data_to_send()]

    def start(self, audio_in: str = "ulaw_8000", audio_out: str = "ulaw_8000") -> list[ev.Event]:
        return self.say(
            "conversation_initiation_metadata",
            "conversation_initiation_metadata_event",
            conversation_id="conv",
            user_input_audio_format=audio_in,
            agent_output_audio_format=audio_out,
        )

    def ready(self) -> Wire:
        self.protocol.begin()
        assert isinstance(self.start()[-1], ev.Ready)
        self.told()
        return self

    def text(self, words: str, event_id: int | None = None) -> list[ev.Event]:
        return self.say("agent_response", "agent_response_event", **numbered(event_id, agent_response=words))

    def audio(self, audio: bytes, event_id: int | None = None, **more: Any) -> list[ev.Event]:
        fields = numbered(event_id, audio_base_64=base64.b64encode(audio).decode(), **more)
        return self.say("audio", "audio_event", **fields)

    def interrupt(self, event_id: int | None = None) -> list[ev.Event]:
        return self.say("interruption", "interruption_event", **numbered(event_id))

    def understood(self, words: str) -> list[ev.Event]:
        return self.say("user_transcript", "user_transcription_event", user_transcript=words)

    def complete(self, event_id: int | None = None) -> list[ev.Event]:
        return self.say("agent_response_complete", "agent_response_complete_event", **numbered(event_id))

    def correct(self, original: str, corrected: str) -> list[ev.Event]:
        return self.say(
            "agent_response_correction",
            "agent_response_correction_event",
            original_agent_response=original,
            corrected_agent_response=corrected,
        )

    def call(self, call_id: str = "tc", parameters: Any = None, **more: Any) -> list[ev.Event]:
        fields = {"tool_name": "stock", "tool_call_id": call_id, "parameters": parameters} | more
        return self.say("client_tool_call", "client_tool_call", **fields)

    def wait(self, seconds: float) -> list[ev.Event]:
        """Alarms for so long, as a session rings them."""
        events: list[ev.Event] = []
        for _ in range(round(seconds / TICK_S)):
            for alarm in self.protocol.alarms():
                events += self.protocol.rang(alarm)
        return events


def numbered(event_id: int | None, **fields: Any) -> dict[str, Any]:
    return fields if event_id is None else fields | {"event_id": event_id}


def item_of(events: Sequence[ev.Event]) -> str:
    (placed,) = [event for event in events if isinstance(event, ev.Placed)]
    return placed.item_id


def kinds(events: Sequence[ev.Event]) -> list[type]:
    return [type(event) for event in events]


# The start


def test_the_first_message_goes_before_the_server_has_said_anything() -> None:
    wire = Wire(voice="v1")
    assert wire.told() == []
    wire.protocol.begin()
    (first,) = wire.told()
    assert first["conversation_config_override"] == {"tts": {"voice_id": "v1"}}


@pytest.mark.parametrize("name", FORMATS)
def test_the_formats_are_those_that_the_agent_has(name: str) -> None:
    (ready,) = Wire().start("pcm_16000", name)
    assert isinstance(ready, ev.Ready)
    assert (ready.session_id, ready.audio_in, ready.audio_out) == ("conv", Linear(16000), FORMATS[name])
    assert ready.fell_back == f"asked for PCMU, the agent is set to pcm_16000 in and {name} out"
    (as_asked,) = Wire(audio=FORMATS[name]).start(name, name)
    assert isinstance(as_asked, ev.Ready) and as_asked.fell_back == ""


@pytest.mark.parametrize("name", ["pcm_22050", "pcm_44100", "mp3_44100", "", None, 7, ["ulaw_8000"]])
@pytest.mark.parametrize("side", ["user_input_audio_format", "agent_output_audio_format"])
def test_a_format_without_whole_samples_in_a_millisecond_is_refused_and_it_is_said_what_to_set(
    side: str, name: Any
) -> None:
    wire = Wire()
    formats = {"user_input_audio_format": "ulaw_8000", "agent_output_audio_format": "ulaw_8000"} | {side: name}
    (error,) = wire.say("conversation_initiation_metadata", "conversation_initiation_metadata_event", **formats)
    assert isinstance(error, ev.SessionError) and error.fatal
    assert error.code == "unusable_format" and error.code in ADVICE
    assert "ulaw_8000" in error.message
    assert wire.protocol.stage is Stage.FAILED


def test_a_second_start_and_audio_before_the_first_are_dropped_and_counted() -> None:
    wire = Wire()
    assert wire.audio(A, 1) == [] and wire.protocol.malformed == 1
    wire.ready()
    assert wire.start("pcm_16000", "pcm_16000") == [] and wire.protocol.malformed == 2
    assert isinstance(wire.audio(A, 1)[-1], ev.AudioDelta)


def test_a_ping_is_answered_at_once_even_before_the_start() -> None:
    wire = Wire()
    wire.say("ping", "ping_event", event_id=12, ping_ms=None)
    assert wire.told() == [{"type": "pong", "event_id": 12}]
    wire.say("ping", "ping_event")
    wire.say("ping", "ping_event", event_id=[1])
    wire.say("ping", "ping_event", event_id="1" * 10_000)
    assert wire.told() == [] and wire.protocol.malformed == 3


def test_what_was_said_before_is_put_back_before_it_is_ready() -> None:
    wire = Wire(History((CallerWords("c", "Is it there?"), AgentWords("a", "Yes, four", cut=True))))
    wire.protocol.begin()
    wire.told()
    assert kinds(wire.start()) == [ev.Ready]
    (note,) = wire.told()
    assert note["type"] == "contextual_update"
    assert note["text"].endswith("Caller: Is it there?\nYou: Yes, four (cut off here)")


# The agent's turns


def test_text_and_audio_of_a_turn_are_one_item_whichever_comes_first() -> None:
    wire = Wire().ready()
    first = wire.text("Hello.", 1)
    item = item_of(first)
    assert first == [ev.Placed(item, "agent"), ev.AgentSaid(item, "Hello.")]
    assert wire.audio(A, 2) == [ev.AudioDelta(item, A)]
    wire.complete(2)
    second = wire.audio(B, 3)
    other = item_of(second)
    assert second == [ev.Placed(other, "agent"), ev.AudioDelta(other, B)] and other != item
    assert wire.text("What else?", 4) == [ev.AgentSaid(other, "What else?")]


def test_ids_of_two_conversations_of_a_call_differ() -> None:
    one, two = Wire().ready(), Wire()
    two.say(
        "conversation_initiation_metadata",
        "conversation_initiation_metadata_event",
        conversation_id="another",
        user_input_audio_format="ulaw_8000",
        agent_output_audio_format="ulaw_8000",
    )
    assert item_of(one.audio(A)) != item_of(two.audio(A))


@pytest.mark.parametrize("end", ["complete", "is_final", "caller", "next text"])
def test_a_turn_ends_by_what_the_server_says(end: str) -> None:
    wire = Wire().ready()
    item = item_of(wire.text("Hello.", 1))
    wire.audio(A, 2)
    assert wire.protocol.response_active
    over: list[ev.Event] = [ev.AudioEnd(item), ev.ResponseEnded(item, "completed", "")]
    match end:
        case "complete":
            events = wire.complete(2)
        case "is_final":
            assert wire.audio(B, 3, is_final=False) == [ev.AudioDelta(item, B)]
            events = wire.audio(B, 3, is_final=True)
            over = [ev.AudioDelta(item, B), *over]
        case "caller":
            events = wire.understood("Hi!")
        case _:
            events = wire.text("One moment.", 5)
    assert events[: len(over)] == over
    assert wire.protocol.response_active is (end == "next text")


def test_a_turn_of_which_nothing_more_comes_ends_when_its_audio_would_have_been_heard() -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A * 20, 1))  # 2 s, at once
    assert wire.wait(2) == []
    assert wire.protocol.response_active
    assert wire.wait(QUIET_S + 0.2) == [ev.AudioEnd(item), ev.ResponseEnded(item, "completed", "")]
    assert not wire.protocol.response_active
    assert wire.wait(60) == []


def test_how_long_its_audio_is_depends_on_the_agents_format() -> None:
    wire = Wire()
    wire.start("ulaw_8000", "pcm_24000")
    wire.audio(bytes(48_000), 1)  # 1 s
    assert wire.wait(QUIET_S + 0.5) == []
    assert kinds(wire.wait(1.0)) == [ev.AudioEnd, ev.ResponseEnded]


@pytest.mark.parametrize("by_server", [True, False])
def test_what_was_cut_off_does_not_hold_up_the_end_of_the_next_turn(by_server: bool) -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A * 600, 1))  # a minute
    wire.wait(1)
    if by_server:
        wire.interrupt(1)
    else:
        wire.protocol.interrupted([Heard(item, 900)], by_server=False)
        wire.complete(1)
    wire.audio(B, 2)
    assert kinds(wire.wait(QUIET_S + 0.5)) == [ev.AudioEnd, ev.ResponseEnded]


def test_a_turn_of_text_alone_ends_too() -> None:
    wire = Wire().ready()
    item = item_of(wire.text("Hello.", 1))
    assert wire.wait(ANSWER_S - 1) == []
    assert wire.wait(2) == [ev.ResponseEnded(item, "completed", "")]


def test_audio_without_an_event_id_is_played() -> None:
    wire = Wire().ready()
    wire.interrupt(7)
    assert isinstance(wire.audio(A)[-1], ev.AudioDelta)


def test_an_empty_piece_of_audio_opens_no_turn() -> None:
    wire = Wire().ready()
    assert wire.audio(b"", 1) == []
    assert wire.audio(b"", 2, is_final=True) == []
    assert not wire.protocol.response_active


# Interruptions


def test_an_interruption_flushes_and_ends_the_turn_and_nobody_is_said_to_speak_on() -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A, 5))
    assert wire.interrupt(5) == [ev.SpeechStarted(0), ev.ResponseEnded(item, "cancelled", "turn_detected")]
    assert wire.protocol.interrupted([Heard(item, 60)]) == [ev.Truncated(item, 60)]
    assert not wire.protocol.caller_speaking and not wire.protocol.response_active
    assert wire.told() == [], "the server needs no word of it"


def test_late_audio_is_dropped_by_its_event_id_and_counted() -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A, 5))
    wire.interrupt(7)
    assert wire.audio(A, 6) == wire.audio(A, 7) == []
    assert wire.audio(A, 6, is_final=True) == []
    assert wire.protocol.late_deltas == 3
    assert wire.protocol.malformed == 0
    assert item_of(wire.audio(B, 8)) != item


def test_an_older_interruption_takes_nothing_back() -> None:
    wire = Wire().ready()
    wire.interrupt(7)
    wire.interrupt(3)
    assert wire.audio(A, 7) == []


def test_an_interruption_without_an_id_is_one_of_all_that_has_come() -> None:
    wire = Wire().ready()
    wire.audio(A, 5)
    assert kinds(wire.interrupt()) == [ev.SpeechStarted, ev.ResponseEnded]
    assert wire.audio(A, 5) == []
    assert isinstance(wire.audio(B, 6)[-1], ev.AudioDelta)
    assert kinds(wire.say("interruption")) == [ev.SpeechStarted, ev.ResponseEnded]


def test_an_interruption_between_turns_flushes_what_still_plays() -> None:
    wire = Wire().ready()
    wire.audio(A, 5)
    wire.complete(5)
    assert wire.interrupt(5) == [ev.SpeechStarted(0)]


def test_text_and_end_of_an_interrupted_turn_come_too_late() -> None:
    wire = Wire().ready()
    wire.audio(A, 5)
    wire.interrupt(7)
    assert wire.text("Nobody hears this.", 6) == []
    item = item_of(wire.audio(B, 8))
    assert wire.complete(7) == []
    assert wire.complete(8)[0] == ev.AudioEnd(item)


def test_a_turn_that_is_interrupted_before_its_audio_came_was_not_heard_at_all() -> None:
    wire = Wire().ready()
    item = item_of(wire.text("Well,", 4))
    wire.interrupt(5)
    assert wire.protocol.interrupted([]) == [ev.Truncated(item, DELETED)]
    assert wire.protocol.interrupted([]) == []


def test_the_delay_to_the_ear_is_taken_off_what_was_heard() -> None:
    wire = Wire(far_end_delay_ms=100).ready()
    assert wire.protocol.interrupted([Heard("a", 250), Heard("b", 60)]) == [
        ev.Truncated("a", 150),
        ev.Truncated("b", 0),
    ]


def test_an_interruption_by_the_bridge_silences_the_rest_of_the_turn_and_holds_the_agent_back() -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A, 5))
    assert wire.protocol.interrupted([Heard(item, 60)], by_server=False) == [ev.Truncated(item, 60)]
    assert wire.told() == [{"type": "user_activity"}]
    assert wire.audio(A, 6) == [] and wire.protocol.late_deltas == 1
    assert wire.protocol.response_active, "the server is still at it"
    assert wire.complete(6) == [ev.ResponseEnded(item, "cancelled", "")]
    assert isinstance(wire.audio(B, 7)[-1], ev.AudioDelta)


def test_the_answer_to_what_is_written_then_is_heard_and_the_rest_of_the_old_turn_is_not() -> None:
    wire = Wire().ready()
    item = item_of(wire.audio(A, 5))
    wire.protocol.interrupted([Heard(item, 60)], by_server=False)
    wire.audio(A, 6)
    wire.protocol.user_text("The caller pressed 1")
    assert wire.audio(A, 6) == [], "it was under way"
    assert isinstance(wire.audio(B, 7)[-1], ev.AudioDelta)


def test_a_silenced_turn_ends_by_the_next_text_or_by_silence_too() -> None:
    wire = Wire().ready()
    item = item_of(wire.text("A long story.", 4))
    wire.audio(A, 5)
    wire.protocol.interrupted([], by_server=False)
    events = wire.text("Another one.", 8)
    assert events[0] == ev.ResponseEnded(item, "cancelled", "")
    other = item_of(events)
    assert wire.protocol.interrupted([], by_server=False) == [ev.Truncated(other, DELETED)]
    wire.audio(A, 9)
    assert wire.wait(QUIET_S + 0.2) == [ev.ResponseEnded(other, "cancelled", "")]


def test_the_bridge_interrupting_silence_says_nothing() -> None:
    wire = Wire().ready()
    assert wire.protocol.interrupted([], by_server=False) == []
    assert wire.told() == []


def test_a_correction_gives_the_item_the_words_that_were_heard() -> None:
    wire = Wire().ready()
    item = item_of(wire.text("There are four of them. ", 1))
    wire.audio(A, 2)
    wire.interrupt(2)
    assert wire.correct(" There are four of them.", "There are ") == [ev.AgentSaid(item, "There are")]


def test_a_correction_finds_its_item_by_the_text_else_it_is_the_newest() -> None:
    wire = Wire().ready()
    assert wire.correct("What?", "Wh") == [], "nothing was said yet"
    first = item_of(wire.text("One.", 1))
    second = item_of(wire.text("Two.", 2))
    assert wire.correct("One.", "O") == [ev.AgentSaid(first, "O")]
    assert wire.correct("Never said.", "Nev") == [ev.AgentSaid(second, "Nev")]


# The caller


def test_the_callers_words_are_an_item_of_his() -> None:
    wire = Wire().ready()
    events = wire.understood(" Hello? ")
    item = item_of(events)
    assert events == [ev.Placed(item, "caller"), ev.Committed(item), ev.CallerSaid(item, "Hello?")]
    assert wire.understood(" ") == []


def test_words_of_ours_that_come_back_as_the_callers_are_not_his() -> None:
    wire = Wire().ready()
    wire.protocol.user_text("The caller pressed 1")
    assert wire.understood("The caller pressed 1") == []
    assert ev.CallerSaid in kinds(wire.understood("The caller pressed 1"))


# What is asked of it


def test_digits_are_a_turn_of_the_caller_or_only_a_note() -> None:
    wire = Wire().ready()
    wire.protocol.user_text("The caller pressed 1", respond=False)
    assert not wire.protocol.response_active
    wire.protocol.user_text("The caller pressed 2")
    assert wire.protocol.response_active
    assert wire.told() == [
        {"type": "contextual_update", "text": "The caller pressed 1"},
        {"type": "user_message", "text": "The caller pressed 2"},
    ]


def test_an_answer_that_was_asked_for_begins_or_is_given_up() -> None:
    wire = Wire().ready()
    wire.protocol.user_text("1")
    item = item_of(wire.audio(A, 1))
    assert wire.complete(1) == [ev.AudioEnd(item), ev.ResponseEnded(item, "completed", "")]
    assert not wire.protocol.response_active
    wire.protocol.user_text("2")
    assert wire.wait(ANSWER_S - 1) == []
    assert wire.wait(2) == [ev.ResponseEnded("", "incomplete", "no_answer")]
    assert not wire.protocol.response_active


def test_what_is_asked_for_during_a_turn_is_due_after_it() -> None:
    wire = Wire().ready()
    wire.audio(A, 1)
    wire.protocol.user_text("1")
    wire.audio(A, 1)
    wire.complete(1)
    assert wire.protocol.response_active
    assert wire.wait(ANSWER_S - 1) == []
    assert wire.wait(2) == [ev.ResponseEnded("", "incomplete", "no_answer")]


def test_an_instruction_is_a_note_and_a_turn_without_words() -> None:
    wire = Wire().ready()
    wire.protocol.instruct("Ask whether he is still there.")
    wire.protocol.go_on()
    assert [message["text"] for message in wire.told()] == ["Ask whether he is still there.", NUDGE, GO_ON, NUDGE]
    assert wire.protocol.response_active


def test_the_greeting_is_asked_for_unless_the_server_says_one_by_itself() -> None:
    asked = Wire(greeting="Greet the caller.").ready()
    asked.protocol.greet()
    assert [message["text"] for message in asked.told()] == ["Greet the caller.", NUDGE]
    first = {"conversation_config_override": {"agent": {"first_message": "Hello!"}}}
    for wire in (Wire().ready(), Wire(greeting="Greet the caller.", extra=first).ready()):
        wire.protocol.greet()
        assert wire.told() == []


def test_it_answers_what_it_hears_by_itself_but_must_be_asked_about_what_another_session_heard() -> None:
    wire = Wire().ready()
    wire.protocol.respond()
    assert wire.told() == [{"type": "user_message", "text": ANSWER}]
    wire.protocol.respond()
    assert wire.told() == [], "an answer is under way"


def test_what_was_done_elsewhere_is_told_and_may_be_answered() -> None:
    wire = Wire().ready()
    use = ToolUse("t", "stock", "{}", '{"n":4}')
    wire.protocol.remember([use])
    wire.protocol.remember([])
    assert [message["type"] for message in wire.told()] == ["contextual_update"]
    wire.protocol.remember([use], respond=True)
    assert [message["type"] for message in wire.told()] == ["contextual_update", "user_message"]
    wire.protocol.correct("a", "Yes, f")
    wire.protocol.correct("a", "")
    partly, nothing = wire.told()
    assert partly["text"].endswith("only this: Yes, f") and nothing["text"].endswith("nothing")


def test_what_it_has_no_use_for_does_nothing() -> None:
    wire = Wire().ready()
    wire.protocol.forget("x")
    wire.protocol.commit()
    wire.protocol.finish()
    assert wire.told() == []


# Tools


def test_a_tool_is_called_and_answered_once() -> None:
    wire = Wire().ready()
    assert wire.call("tc", {"article": "é"}) == [ev.ToolCall("tc", "stock", '{"article":"é"}')]
    assert wire.call("tc", {"article": "é"}) == [], "the same call again"
    wire.protocol.tool_result("tc", {"n": 4})
    wire.protocol.tool_result("tc", {"n": 5})
    wire.protocol.tool_result("other", {"n": 6})
    assert wire.told() == [{"type": "client_tool_result", "tool_call_id": "tc", "result": '{"n":4}', "is_error": False}]


def test_an_error_is_told_as_one() -> None:
    wire = Wire().ready()
    wire.call("tc")
    wire.protocol.tool_result("tc", {"error": "no such article"})
    assert wire.told()[0]["is_error"] is True


def test_a_tool_for_which_the_agent_does_not_wait_gets_no_result() -> None:
    wire = Wire().ready()
    assert kinds(wire.call("tc", {}, expects_response=False)) == [ev.ToolCall]
    wire.protocol.tool_result("tc", {"n": 4})
    assert wire.told() == []
    assert not wire.protocol.response_active


def test_after_a_result_without_an_answer_the_last_words_are_awaited_for_a_moment() -> None:
    wire = Wire().ready()
    wire.call("tc")
    wire.protocol.tool_result("tc", {"status": "the call ends"}, respond=False)
    assert wire.protocol.response_active
    assert wire.wait(AFTERWORD_S - 0.2) == []
    assert wire.wait(0.8) == [ev.ResponseEnded("", "completed", "")]
    assert not wire.protocol.response_active


@pytest.mark.parametrize("parameters", ["{}", 5, [1]])
def test_parameters_that_are_no_object_are_no_call(parameters: Any) -> None:
    wire = Wire().ready()
    assert wire.call("tc", parameters) == [] and wire.protocol.malformed == 1


def test_nobody_is_there_to_approve_a_tool_of_an_mcp_server() -> None:
    allowed = {"type": "mcp", "server_label": "s1", "require_approval": "never"}
    for tools, approved in (((), False), ((allowed,), True)):
        wire = Wire(tools=tools).ready()
        for state in ("loading", "awaiting_approval", "success"):
            wire.say("mcp_tool_call", "mcp_tool_call", state=state, service_id="s1", tool_call_id="m", tool_name="look")
        assert wire.told() == [{"type": "mcp_tool_approval_result", "tool_call_id": "m", "is_approved": approved}]


# Errors


@pytest.mark.parametrize(
    ("code", "fatal"), [(1000, False), (1002, False), (1008, True), (1011, False), ("1008", False), (None, False)]
)
def test_an_error_is_fatal_only_when_it_is_a_refusal(code: Any, fatal: bool) -> None:
    wire = Wire().ready()
    fields = {"code": code, "message": "m", "error_type": "llm_timeout"}
    assert wire.say("error", "error_event", **fields) == [ev.SessionError("llm_timeout", "m", fatal)]


def test_an_error_by_its_other_name_is_one_too() -> None:
    error = Wire().ready().say("client_error", "error_event", code=1002, reason="r", error_name="llm_timeout")
    assert error == [ev.SessionError("llm_timeout", "r")]


def test_any_error_before_the_start_is_fatal() -> None:
    wire = Wire()
    (error,) = wire.say("error", "error_event", code=1011, reason="out of order")
    assert error == ev.SessionError("error_1011", "out of order", fatal=True)


def test_the_close_codes_are_known_and_two_of_them_are_final() -> None:
    assert CLOSE_ADVICE.keys() == {1000, 1002, 1008, 1011}
    assert set(FINAL_CLOSE_CODES) == {1000, 1008}
    assert {code for code in range(900, 5000) if Wire().protocol.is_final_close(code, "")} == FINAL_CLOSE_CODES


def test_known_events_without_effect_are_not_unknown() -> None:
    wire = Wire().ready()
    wire.say("vad_score", "vad_score_event", vad_score=0.9)
    wire.say("tentative_user_transcript")
    assert wire.protocol.unknown == 0
    wire.say("brand_new")
    assert (wire.protocol.unknown, wire.protocol.malformed) == (1, 0)


# What a hostile server sends

DEEP = (
    b'{"type":"client_tool_call","client_tool_call":{"tool_name":"t","tool_call_id":"d","parameters":{"a":%s%s}}}'
    % (
        b"[" * 500,
        b"]" * 500,
    )
)
DEEP_TEXT = b'{"type":"error","error_event":{"error_type":%s%s,"message":%s%s}}' % ((b"[" * 900, b"]" * 900) * 2)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"type":5}',
        b'{"type":"audio"}',
        b'{"type":"audio","audio_event":{"event_id":1}}',
        b'{"type":"audio","audio_event":{"audio_base_64":"@@@@","event_id":1}}',
        b'{"type":"audio","audio_event":{"audio_base_64":"AAA","event_id":1}}',
        '{"type":"audio","audio_event":{"audio_base_64":"é"}}'.encode(),
        b'{"type":"agent_response","agent_response_event":{"agent_response":[]}}',
        b'{"type":"client_tool_call","client_tool_call":{"tool_name":"t"}}',
        b'{"type":"client_tool_call","client_tool_call":{"tool_name":"t","tool_call_id":"%s"}}' % (b"x" * 10_000),
        b'{"type":"mcp_tool_call","mcp_tool_call":{"state":"awaiting_approval"}}',
        b'{"type":"user_transcript","user_transcription_event":null}',
        DEEP,
    ],
)
def test_nonsense_is_dropped_and_counted(frame: bytes) -> None:
    wire = Wire().ready()
    assert list(wire.protocol.receive(frame)) == []
    assert wire.protocol.malformed == 1
    assert wire.told() == []


def test_texts_that_are_none_do_not_get_into_an_error() -> None:
    assert list(Wire().ready().protocol.receive(DEEP_TEXT)) == [ev.SessionError("error_0", "")]


NAMES = [
    "agent_response",
    "agent_response_complete",
    "agent_response_correction",
    "audio",
    "client_error",
    "client_tool_call",
    "conversation_initiation_metadata",
    "error",
    "interruption",
    "mcp_tool_call",
    "ping",
    "user_transcript",
    "vad_score",
    "x",
]
FIELDS = [
    "agent_output_audio_format",
    "agent_response",
    "audio_base_64",
    "code",
    "conversation_id",
    "corrected_agent_response",
    "error_type",
    "event_id",
    "expects_response",
    "is_final",
    "message",
    "original_agent_response",
    "parameters",
    "state",
    "tool_call_id",
    "tool_name",
    "user_input_audio_format",
    "user_transcript",
]
MEMBERS = {
    "user_transcript": "user_transcription_event",
    "client_tool_call": "client_tool_call",
    "client_error": "error_event",
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "AAAA", "ulaw_8000", "pcm_16000", "awaiting_approval", "Hello."])
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(NAMES))
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8))
    member = MEMBERS.get(name, "mcp_tool_call" if name == "mcp_tool_call" else f"{name}_event")
    return orjson.dumps({"type": name, member: draw(st.just(fields) | VALUES)})


@settings(max_examples=150, deadline=None)
@given(st.lists(frames() | st.binary(max_size=40), max_size=25), st.data())
def test_whatever_comes_is_an_event_or_is_dropped(sent: list[bytes], data: st.DataObject) -> None:
    wire = Wire().ready()
    for frame in sent:
        for event in wire.protocol.receive(frame):
            assert isinstance(event, ev.Event.__args__)  # type: ignore[attr-defined]
            if isinstance(event, ev.ToolCall):
                wire.protocol.tool_result(event.call_id, {"ok": True}, respond=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            wire.protocol.interrupted([], by_server=data.draw(st.booleans()))
        wire.wait(0.2)
        wire.told()
    assert wire.protocol.events_in == len(sent) + 1
    for _ in range(3):
        wire.now += ANSWER_S + 1
        wire.wait(0.1)
    assert not wire.protocol.response_active, "no turn stays open for ever"


def test_a_flood_of_everything_leaves_memory_as_it_was() -> None:
    wire = Wire().ready()
    tracemalloc.start()
    try:
        for number in range(4000):
            wire.text(f"{number} " + "word " * 300, number * 3)
            wire.audio(A, number * 3 + 1)
            wire.call(f"call {number}", {"n": number})
            wire.correct("Never said." * 300, "N")
            wire.understood(f"{number}" * 50)
            wire.protocol.user_text(f"{number}")
            if number % 5 == 0:
                wire.interrupt(number * 3 + 1)
            wire.told()
            if number == 500:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 300_000
    finally:
        tracemalloc.stop()


def test_giant_texts_are_not_kept() -> None:
    wire = Wire().ready()
    tracemalloc.start()
    try:
        for number in range(100):
            wire.text("x" * 200_000 + str(number), number)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


# Over a real socket


class Caller:
    """A session of the bridge with everything that it says."""

    def __init__(self, dialer: Dialer, **options: Any) -> None:
        self.events: list[ev.Event] = []
        self.protocol = ElevenLabsProtocol(SessionOptions(Law.PCMU, **options))
        self.session = Session(self.protocol, dialer, on_event=self.take)

    def take(self, event: ev.Event) -> None:
        """What a call does, as far as it matters here."""
        self.events.append(event)
        if isinstance(event, ev.SpeechStarted):
            self.protocol.interrupted([Heard(item, 40) for item in self.items("agent")[-1:]])
        elif isinstance(event, ev.ToolCall):
            self.protocol.tool_result(event.call_id, {"n": 4})
            self.session.flush()

    def items(self, role: str) -> list[str]:
        return [event.item_id for event in self.events if isinstance(event, ev.Placed) and event.role == role]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def conversation(script: Script, setup: Settings = Settings(), **options: Any) -> tuple[Caller, ev.Lost, Talk]:  # noqa: B008
    """One session, until the script closes it."""
    async with serving(script, setup) as server:
        find = SignedUrl(setup.agent_id, setup.key, server.base) if setup.private else None
        caller = Caller(Dialer(Address(server.url), find=find), **options)
        await caller.session.open(5)
        caller.session.append(A)
        async with asyncio.timeout(10):
            lost = await caller.session.run()
        await caller.session.close()
        assert server.talk.problems == []
        return caller, lost, server.talk


async def a_talk(talk: Talk) -> None:
    assert await talk.heard(len(A)) == A
    await talk.ping()
    await talk.say("Bicycle shop.", A, B)
    await talk.understand("The blue one?")
    result = await talk.call("stock", {"article": "blue"})
    assert (result["result"], result["is_error"]) == ('{"n":4}', False)
    await talk.say("There are four of them, and more of the red one.", A)
    interrupted = await talk.interrupt("There are four of them, and more of the red one.", "There are four")
    await talk.speak(B, B, event_id=interrupted)
    await talk.understand("Bye.")
    await talk.say("Goodbye.", B)
    await talk.complete()
    await talk.close(1000, "end_call")


@pytest.mark.parametrize("private", [False, True])
async def test_a_conversation_with_a_tool_an_interruption_and_a_correction(private: bool) -> None:
    caller, lost, talk = await conversation(a_talk, Settings(private=private), metadata={"caller": "+49 30 1"})
    greeting, answer, goodbye = caller.items("agent")
    assert [(said.item_id, said.text) for said in caller.of(ev.AgentSaid)] == [
        (greeting, "Bicycle shop."),
        (answer, "There are four of them, and more of the red one."),
        (answer, "There are four"),
        (goodbye, "Goodbye."),
    ]
    assert [said.text for said in caller.of(ev.CallerSaid)] == ["The blue one?", "Bye."]
    audio = {
        item: b"".join(d.audio for d in caller.of(ev.AudioDelta) if d.item_id == item) for item in caller.items("agent")
    }
    assert audio == {greeting: A + B, answer: A, goodbye: B}
    assert caller.protocol.late_deltas == 2
    assert [ended.status for ended in caller.of(ev.ResponseEnded)] == ["completed", "cancelled", "completed"]
    assert (lost.code, lost.reason) == (1000, "end_call")
    assert ("conversation_signature=cvtkn_1" in talk.url) is private
    assert talk.initiation == {
        "type": "conversation_initiation_client_data",
        "dynamic_variables": {"caller": "+49 30 1"},
    }
    assert caller.protocol.malformed == caller.protocol.unknown == 0


@pytest.mark.parametrize("code", [1002, 1008, 1011])
async def test_the_close_code_reaches_the_call(code: int) -> None:
    async def script(talk: Talk) -> None:
        await talk.heard(len(A))
        await talk.send("error", "error_event", code=code, message="enough", error_type="some_reason")
        await talk.close(code, "enough")

    caller, lost, _ = await conversation(script)
    assert lost == ev.Lost(code, "enough")
    assert caller.of(ev.SessionError) == [ev.SessionError("some_reason", "enough", fatal=code == 1008)]


async def test_an_agent_that_speaks_pcm_gets_pcm_in_messages_of_the_same_length() -> None:
    async def script(talk: Talk) -> None:
        await talk.heard(640)
        await talk.say("Hello.", bytes(3200))
        await talk.close(1000)

    async with serving(script, Settings(audio_in="pcm_16000", audio_out="pcm_24000")) as server:
        caller = Caller(Dialer(Address(server.url)))
        ready = await caller.session.open(5)
        assert (ready.audio_in, ready.audio_out) == (Linear(16000), Linear(24000))
        caller.session.append(bytes(320))
        assert caller.session.audio_in_bytes == 0, "20 ms are 640 bytes"
        caller.session.append(bytes(320))
        await caller.session.run()
        await caller.session.close()
        assert len(server.talk.audio) == 640
    assert caller.of(ev.AudioDelta)[0].audio == bytes(3200)


async def test_nonsense_and_events_without_ids_in_the_middle_harm_nothing() -> None:
    async def script(talk: Talk) -> None:
        await talk.heard(len(A))
        for frame in ("{", "[]", b"\xff\x00", '{"type":"audio","audio_event":{"audio_base_64":"?"}}'):
            await talk.raw(frame)
        audio = base64.b64encode(A).decode()
        await talk.send("audio", "audio_event", audio_base_64=audio)
        await talk.send("agent_response", "agent_response_event", agent_response="Hello.")
        await talk.send("interruption", "interruption_event")
        await talk.ping()
        await talk.close(1000)

    caller, _, _ = await conversation(script)
    assert caller.protocol.malformed == 4
    assert kinds(caller.events) == [ev.Placed, ev.AudioDelta, ev.AgentSaid, ev.SpeechStarted, ev.ResponseEnded]


async def test_a_refused_override_says_so_when_the_session_is_opened() -> None:
    async def never(talk: Talk) -> None:
        raise AssertionError("the conversation began")

    async with serving(never, Settings(allowed=frozenset())) as server:
        caller = Caller(Dialer(Address(server.url)), language="de")
        with pytest.raises(SessionFailed) as failed:
            await caller.session.open(5)
        await caller.session.close()
    assert failed.value.reason == "closed"
    assert "1008" in failed.value.detail and "not allowed" in failed.value.detail


async def test_an_unusable_format_fails_the_session_with_its_reason() -> None:
    async def silent(talk: Talk) -> None:
        await talk.left()

    async with serving(silent, Settings(audio_out="pcm_44100")) as server:
        caller = Caller(Dialer(Address(server.url)))
        with pytest.raises(SessionFailed) as failed:
            await caller.session.open(5)
        await caller.session.close()
    assert failed.value.reason == "unusable_format"
