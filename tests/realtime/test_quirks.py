"""Every quirk that is known of realtime voice services (`QUIRKS`), and the test that shows that it does no harm.

`here` means a test of this file that is named after it, played by frames or by the built-in agent in script mode; all
others are named. What stands under J is about other providers.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Agent, ServerVad
from bridge.realtime import dialer
from bridge.realtime import events as ev
from bridge.realtime.faults import ADVICE, FATAL_CODES, retired
from bridge.realtime.history import AgentWords, CallerWords, History, ToolUse
from bridge.realtime.openai import handshake, response_slot, tool_calls
from bridge.realtime.openai import protocol as openai
from bridge.realtime.openai import reactions as openai_events
from bridge.realtime.openai.dialect import GA, PRESETS
from bridge.realtime.openai.protocol import Stage
from bridge.realtime.openai.tool_calls import ARGUMENTS_LIMIT, OUTPUT_LIMIT
from tests.realtime.talk import Talk
from tests.realtime.wire import PCM24, VAD, Wire

TESTS = Path(__file__).parent.parent
QUIRKS: dict[str, str] = {
    # A: truncation
    "A1": "here",  # a truncate longer than the item
    "A2": "here",  # an error that is no end
    "A3": "here",  # an item that cannot be truncated
    "A4": "here",  # interrupted before anything was heard
    "A5": "here",  # several items queued
    "A6": "here",  # nobody else truncates
    "A7": "here",  # heard to its end
    "A8": "realtime/test_transcript.py::test_words_that_were_not_heard_stand_apart",
    "A9": "here",  # servers that cannot truncate
    "A10": "here",  # what the phone still holds back
    # B: cancel and life of a response
    "B1": "here",  # cancels that come too late
    "B2": "here",  # one response at a time
    "B3": "here",  # a response nobody asked for
    "B4": "here",  # late audio
    "B5": "here",  # done before or after the speech
    "B6": "here",  # interrupted after the response was done
    "B7": "service/test_reversible.py::test_what_the_session_is_asked_for",
    "B8": "here",  # cancelled is no failure
    "B9": "here",  # instructions of a response replace the persona
    "B10": "here",  # no response over a caller who speaks
    "B11": "here",  # details as a string
    "B12": "here",  # a rate limit
    # C: audio out
    "C1": "media/test_playout.py::test_a_burst_leaves_frame_by_frame",
    "C2": "service/test_quirks.py::test_c2_a_minute_of_audio_at_once_does_not_delay_the_interruption",
    "C3": "test_call_tools.py::test_the_call_ends_when_the_last_word_was_heard",
    "C4": "media/test_playout.py::test_chunks_of_any_size_make_whole_frames",
    "C5": "service/test_phones.py::test_the_agents_sentence_is_heard_without_gap_repeat_or_loss",
    "C6": "here",  # two items in one response
    "C7": "here",  # silence behind the last word
    "C8": "here",  # text where audio was meant
    "C9": "media/test_pacer.py::test_a_stall_skips_slots_and_never_bursts",
    "C10": "here",  # the caller's first syllables
    # D: speech detection, echo, noise
    "D1": "service/test_echo_guard.py::test_an_echo_is_silence_to_the_model_and_a_caller_is_not",
    "D2": "service/test_echo_guard.py::test_without_the_guard_the_model_hears_itself",
    "D3": "here",  # noise: thresholds and noise reduction can be set
    "D4": "here",  # server_vad unless said otherwise
    "D5": "here",  # speech that never ends
    "D6": "here",  # speech that starts twice
    "D7": "service/test_reversible.py::test_where_words_are_wanted_a_noise_without_any_is_none",
    "D8": "here",  # 500 ms of silence unless said otherwise
    "D9": "service/test_bad_network.py::test_milliseconds_of_the_call_are_milliseconds_for_the_model",
    "D10": "service/test_digits_to.py::test_tones_are_keys_and_silence_to_the_model",
    "D11": "test_floor.py::test_a_cough_pauses_and_the_model_never_knows",
    "D12": "media/test_echo.py::test_whatever_comes_keeps_its_length",
    # E: G.711 and formats
    "E1": "here",  # another format than asked for
    "E2": "here",  # an echo that says nothing
    "E3": "test_hearing.py::test_two_laws_are_translated_until_the_caller_changes_his",
    "E4": "here",  # the two shapes of a format
    "E5": "here",  # a voice that is refused
    "E6": "service/test_phones.py::test_the_agents_sentence_is_heard_without_gap_repeat_or_loss",
    "E7": "here",  # language and keywords of the transcription
    "E8": "audio/test_conversion.py::test_a_tone_arrives_where_and_as_loud_as_it_was",
    "E9": "audio/test_conversion.py::test_how_the_stream_is_cut_changes_nothing",
    "E10": "here",  # messages above 1 MiB
    # F: tools
    "F1": "here",  # a call told several times
    "F2": "here",  # one response after the last result
    "F3": "test_call_tools.py::test_the_call_ends_when_the_last_word_was_heard",
    "F4": "test_comfort.py::test_it_begins_after_the_time_that_was_asked_for",
    "F5": "here",  # a call in an answer that was cut
    "F6": "here",  # arguments that are cut off
    "F7": "test_call_tools.py::test_who_speaks_into_the_farewell_keeps_the_call",
    "F8": "here",  # results that are too long
    "F9": "here",  # a result for a call nobody knows
    # G: transcripts
    "G1": "here",  # order by items
    "G2": "here",  # the language of the transcript
    "G3": "here",  # a transcription that always fails
    "G4": "here",  # words before their item
    "G5": "here",  # pieces that are no increments
    "G6": "here",  # words that never come
    "G7": "here",  # beta names
    "G8": "realtime/test_transcript.py::test_words_of_which_no_audio_came_were_not_heard",
    # H: the end of a call
    "H1": "service/test_set_up.py::test_the_agent_hangs_up_after_its_last_word_was_heard",
    "H2": "service/test_quirks.py::test_h2_a_caller_who_hangs_up_closes_the_session_at_once",
    "H3": "realtime/test_lasting.py::test_patience_has_an_end",
    "H4": "service/test_set_up.py::test_a_call_ends_at_its_time_limit",
    "H5": "service/test_set_up.py::test_silence_on_the_rtp_port_ends_the_call",
    # I: sessions, errors, reconnect
    "I1": "here",  # the session's time is over
    "I2": "here",  # errors that no second try mends
    "I3": "here",  # a new session knows nothing
    "I4": "here",  # an upgrade that says nothing about the key
    "I5": "realtime/test_lasting.py::test_an_answer_that_was_cut_off_is_gone_on_with",
    "I6": "here",  # a long history
    "I7": "here",  # fields that a model does not know
    "I8": "service/test_load.py::test_fifty_calls_at_once",
    "I9": "here",  # the beta header, and models of before
    "I10": "here",  # an event that breaks the reader
    "I11": "test_cli.py::test_no_secret_and_no_number_is_logged",
    "I12": "here",  # a greeting outside the conversation
    # K: rules that follow
    "K1": "service/test_barge_in.py::test_what_the_session_is_told_is_what_was_on_the_wire",
    "K2": "realtime/test_session.py::test_an_interruption_is_written_before_the_reaction_returns",
    "K3": "realtime/test_response_slot.py::test_whatever_happens_there_is_never_a_second_response",
    "K4": "here",  # three flags
    "K5": "here",  # a table of errors
    "K6": "realtime/test_dialects.py::test_each_preset_says_what_it_can",
    "K7": "here",  # no clock inside
    "K8": "test_documents.py::test_every_metric_is_documented_and_no_other",
}
KNOWN = {"A": 10, "B": 12, "C": 10, "D": 12, "E": 10, "F": 9, "G": 8, "H": 5, "I": 12, "K": 8}


def named_in(file: Path) -> set[str]:
    """The names of all tests in a file, also of those in classes."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_quirk_has_its_test() -> None:
    assert list(QUIRKS) == [f"{group}{number + 1}" for group, count in KNOWN.items() for number in range(count)]
    own = named_in(Path(__file__))
    for quirk, where in QUIRKS.items():
        if where == "here":
            assert any(name.startswith(f"test_{quirk.lower()}_") for name in own), quirk
        else:
            file, _, name = where.partition("::")
            assert name in named_in(TESTS / file), f"{quirk}: {where}"


OWN_TURNS = VAD | {"create_response": False, "interrupt_response": False}
INTERRUPTED = """
vad: false
rules:
  - on: response_create
    do:
      - response: {items: ITEMS, speed: SPEED}
      - delay_ms: WAIT
      - speech_started: {in_flight: 3}
      - delay_ms: 100
      - speech_stopped: {respond: false}
"""


def interrupted(items: str, *, wait: int, speed: str = "8", **options: Any) -> Talk:
    """A greeting that the caller interrupts after `wait` ms."""
    script = INTERRUPTED.replace("ITEMS", items).replace("WAIT", str(wait)).replace("SPEED", speed)
    return Talk(script, greeting="Hello.", **options).do("greet").run(1.0 + wait / 1000)


# A: truncation


def test_a1_never_more_is_truncated_than_came() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 29_600)
    (cut,) = wire.protocol.interrupted([Heard("a", 3760)])
    assert cut == ev.Truncated("a", 3700)
    talk = interrupted("[{audio_ms: 3700}]", wait=3690)
    assert talk.cuts and talk.errors() == []


def test_a2_that_error_is_no_end() -> None:
    talk = Talk(
        """
        vad: false
        rules:
          - on: response_create
            nth: 1
            do: [{error: {code: invalid_value, message: Audio content of 3700ms is already shorter than 3760ms}}]
          - on: response_create
            do: [{response: {items: [{audio_ms: 400}]}}]
        """,
        greeting="Hello.",
    )
    talk.do("user_text", "one").run(0.2)
    (error,) = talk.of(ev.SessionError)
    assert error.harmless and not error.fatal and talk.protocol.stage is Stage.READY
    talk.protocol.slot._asked = None  # the agent did not answer the first one at all
    talk.do("user_text", "two").run(0.5)
    assert talk.of(ev.AudioDelta)


def test_a3_what_has_no_audio_is_deleted_and_a_call_is_left_alone() -> None:
    wire = Wire().ready()
    wire.begin("r", "a")
    wire.item("r", "f", type="function_call")
    wire.protocol.interrupted([])
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [("conversation.item.delete", "a")]
    wire.begin("r2", "b", audio=b"\x01" * 80)
    wire.protocol.interrupted([Heard("b", 0)])
    (truncate,) = wire.told()
    wire.error("unsupported_content_type", "Only model output audio messages", event_id=truncate["event_id"])
    assert [(m["type"], m["item_id"]) for m in wire.told()] == [("conversation.item.delete", "b")]


def test_a4_what_was_not_heard_at_all_is_truncated_at_0() -> None:
    talk = interrupted("[{audio_ms: 5000, name: a}, {audio_ms: 2000, name: b}]", wait=1200)
    assert [cut.heard_ms for cut in talk.cuts][-1] == 0
    assert talk.errors() == []


def test_a5_each_of_several_items_is_cut_where_it_was() -> None:
    talk = interrupted("[{audio_ms: 300}, {audio_ms: 3000}, {audio_ms: 900}]", wait=1500)
    spoken = talk.agent.stage.spoken
    told = {cut.item_id: cut.heard_ms for cut in talk.cuts}
    assert spoken[0].id not in told
    assert 0 < told[spoken[1].id] < 3000 and told[spoken[2].id] == 0
    assert [item.truncated_ms for item in spoken] == [None, told[spoken[1].id], 0]


def test_a6_it_is_the_bridge_that_truncates_on_a_web_socket() -> None:
    talk = interrupted("[{audio_ms: 4000}]", wait=900)
    assert len(talk.told("conversation.item.truncate")) == 1


def test_a7_what_was_heard_to_its_end_is_left_alone() -> None:
    talk = interrupted("[{audio_ms: 500}]", wait=1500)
    assert talk.of(ev.SpeechStarted)
    assert talk.cuts == [] and talk.told("conversation.item.truncate") == []


@pytest.mark.parametrize("name", ["localai", "hf", "xai", "speaches"])
def test_a9_a_server_that_cannot_truncate_is_told_in_another_way(name: str) -> None:
    wire = Wire(dialect=PRESETS[name]).ready()
    wire.begin("r", "a", audio=b"\x01\x00" * 24_000)  # one second
    wire.saying("r", "a", "We open at nine every day.")
    wire.protocol.interrupted([Heard("a", 500)])
    told = wire.told()
    assert "conversation.item.truncate" not in [m["type"] for m in told]
    if name == "localai":
        put, deleted = told
        assert put["previous_item_id"] == "a" and deleted["item_id"] == "a"
        assert put["item"]["content"] == [{"type": "output_text", "text": "We open at"}]
    elif name == "hf":
        assert told[0]["item"]["role"] == "system" and '"We open at"' in told[0]["item"]["content"][0]["text"]
    else:
        assert told == []


def test_a10_what_the_phone_holds_back_is_taken_off() -> None:
    wire = Wire(far_end_delay_ms=60).ready()
    wire.begin("r", "a", "b", audio=b"\x01" * 1600)
    cuts = wire.protocol.interrupted([Heard("a", 100), Heard("b", 20)])
    assert [cut.heard_ms for cut in cuts] == [40, 0]


# B: cancel and life of a response


def test_b1_no_cancel_where_the_server_cancels_and_one_too_many_is_harmless() -> None:
    talk = interrupted("[{audio_ms: 4000}]", wait=700)
    assert talk.told("response.cancel") == [] and talk.errors() == []
    (error,) = Wire().ready().error("response_cancel_not_active", "Cancellation failed: no active response found")
    assert isinstance(error, ev.SessionError) and error.harmless


def test_b2_a_response_waits_for_the_one_that_runs() -> None:
    talk = Talk("{vad: false, answer: {items: [{audio_ms: 1000}], speed: 2}}", greeting="Hello.").do("greet")
    talk.run(0.1)
    for key in "123":
        talk.do("user_text", f"The caller pressed {key}.")
    assert len(talk.told("response.create")) == 1
    talk.run(2)
    assert len(talk.told("response.create")) == 2  # one answer to all three
    assert talk.errors() == []


def test_b2_one_that_is_refused_is_asked_for_once_more() -> None:
    wire = Wire(greeting="Hello").ready()
    wire.protocol.greet()
    (create,) = wire.told()
    wire.begin("r1", "a")  # the server made one by itself
    wire.error("conversation_already_has_active_response", event_id=create["event_id"])
    assert wire.told() == []
    wire.done("r1")
    (again,) = wire.told()
    assert again["response"] == create["response"]
    wire.error("conversation_already_has_active_response", event_id=again["event_id"])
    wire.done("r2")
    assert wire.told() == []


def test_b3_a_response_that_nobody_asked_for_is_one_like_any_other() -> None:
    wire = Wire().ready()
    assert wire.delta("r9", "z", b"\x01" * 160) == (ev.AudioDelta("z", b"\x01" * 160),)
    assert wire.done("r9") == (ev.ResponseEnded("r9", "completed", ""),)
    wire.protocol.user_text("x")
    assert wire.types() == ["conversation.item.create", "response.create"]


def test_b4_what_comes_late_of_a_dead_response_is_dropped() -> None:
    talk = Talk(
        """
        vad: false
        rules:
          - on: response_create
            do:
              - response: {items: [{audio_ms: 8000, name: a}], speed: 2}
              - delay_ms: 1000
              - speech_started: {in_flight: 3}
              - delay_ms: 100
              - audio: {item: a, ms: 300}
        """,
        greeting="Hello.",
    )
    talk.do("greet").run(2)
    started = next(n for n, event in enumerate(talk.events) if isinstance(event, ev.SpeechStarted))
    assert not [event for event in talk.events[started:] if isinstance(event, ev.AudioDelta)]
    assert talk.protocol.late_deltas >= 4


@pytest.mark.parametrize("done_first", [True, False])
def test_b5_the_order_of_done_and_speech_does_not_matter(done_first: bool) -> None:
    wire = Wire().ready()
    wire.begin("r", "a", "b", audio=b"\x01" * 160)
    wire.item("r", "c")
    if done_first:
        wire.done("r", "cancelled")
        wire.starts()
    cuts = wire.protocol.interrupted([Heard("a", 20), Heard("b", 0)])
    if not done_first:
        wire.done("r", "cancelled")
    assert cuts == [ev.Truncated("a", 20), ev.Truncated("b", 0), ev.Truncated("c", -1)]
    assert wire.types() == ["conversation.item.truncate", "conversation.item.truncate", "conversation.item.delete"]


def test_b6_what_is_queued_after_the_response_was_done_is_cut_too() -> None:
    talk = interrupted("[{audio_ms: 4000}]", wait=1500, speed="max")
    ended = next(n for n, event in enumerate(talk.events) if isinstance(event, ev.ResponseEnded))
    started = next(n for n, event in enumerate(talk.events) if isinstance(event, ev.SpeechStarted))
    assert ended < started
    (cut,) = talk.cuts
    assert 1000 < cut.heard_ms < 2000 and talk.errors() == []


def test_b8_cancelled_is_no_failure_and_a_failure_is_tried_once_more() -> None:
    wire = Wire().ready()
    wire.begin("r1", "a")
    wire.done("r1", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})
    assert wire.told() == []
    for response, retries in (("r2", 1), ("r3", 0)):
        wire.begin(response)
        wire.failed(response, "server_error")
        assert len(wire.types()) == retries


def test_b9_the_persona_is_repeated_before_instructions_of_a_response() -> None:
    wire = Wire(instructions="You are Ada.", greeting="Say hello.").ready()
    wire.protocol.greet()
    assert wire.told()[0]["response"]["instructions"] == "You are Ada.\n\nSay hello."


def test_b10_nothing_is_asked_for_while_the_caller_speaks() -> None:
    wire = Wire(turn_detection=OWN_TURNS).ready()
    wire.starts()
    wire.protocol.user_text("The caller pressed 5.")
    assert wire.types() == ["conversation.item.create"]
    wire.stops()
    assert wire.types() == ["response.create"]


def test_b10_what_was_asked_for_before_he_spoke_is_cancelled_when_it_begins() -> None:
    wire = Wire(greeting="Hello.").ready()
    wire.protocol.greet()
    wire.told()
    wire.starts()
    wire.protocol.interrupted([])
    wire.say("response.created", response={"id": "r1"})
    (cancel,) = wire.told()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "r1")
    assert wire.delta("r1", "a", b"\x01" * 160) == ()


@pytest.mark.parametrize("details", ["unimplemented", None, 5, [], {"error": "x"}, {}])
def test_b11_details_and_usage_of_any_shape_are_taken(details: Any) -> None:
    wire = Wire().ready()
    wire.begin("r")
    told = wire.done("r", status_details=details, usage={"input_tokens": "x", "output_token_details": 5})
    assert told == (ev.ResponseEnded("r", "completed", ""),)
    assert wire.protocol.malformed == 0


def test_b12_after_a_rate_limit_the_same_is_asked_for_again_later() -> None:
    wire = Wire(greeting="Hello.").ready()
    wire.protocol.greet()
    (first,) = wire.told()
    wire.begin("r")
    wire.failed("r", "inference_rate_limit_exceeded", "Please try again in 1.5s.")
    assert wire.told() == []
    (alarm,) = wire.protocol.alarms()
    assert (alarm.name, alarm.after_s) == ("retry", 1.5)
    wire.protocol.rang(alarm)
    (again,) = wire.told()
    assert again["response"] == first["response"]
    waits = []
    for number in range(9):
        wire.begin(f"r{number}")
        wire.failed(f"r{number}", "rate_limit_exceeded")
        for alarm in wire.protocol.alarms():
            waits.append(alarm.after_s)
            wire.protocol.rang(alarm)
    assert waits == [2.0, 4.0, 8.0]  # and then no more


# C: audio out


def test_c6_items_of_one_response_are_told_apart() -> None:
    talk = Talk("{vad: false, answer: {items: [{audio_ms: 700}, {audio_ms: 900}], overlap: true}}", greeting="Hello.")
    talk.do("greet").run(2)
    sizes = {item.id: 0 for item in talk.agent.stage.spoken}
    for delta in talk.of(ev.AudioDelta):
        sizes[delta.item_id] += len(delta.audio)
    assert list(sizes.values()) == [700 * 8, 900 * 8]
    assert {end.item_id for end in talk.of(ev.AudioEnd)} == set(sizes)


def test_c7_silence_behind_the_last_word_is_audio_of_its_item() -> None:
    talk = interrupted("[{audio_ms: 500, tail_ms: 2000}]", wait=1500)
    (cut,) = talk.cuts
    assert 1000 < cut.heard_ms < 2000 and talk.errors() == []


def test_c8_an_answer_that_was_only_written_is_asked_for_once_more() -> None:
    wire = Wire().ready()
    for response, told in (("r1", ["conversation.item.delete", "response.create"]), ("r2", [])):
        wire.begin(response)
        wire.item(response, f"t{response}")
        wire.say("response.output_text.delta", response_id=response, item_id=f"t{response}", delta="Nine.")
        error, _ = wire.done(response)
        assert isinstance(error, ev.SessionError) and (error.code, error.fatal) == ("text_without_audio", False)
        sent = wire.told()
        assert [m["type"] for m in sent] == told
        if sent:
            assert sent[1]["response"] == {"output_modalities": ["audio"]}


def test_c10_the_caller_s_audio_is_never_cleared() -> None:
    talk = interrupted("[{audio_ms: 4000}]", wait=900)
    assert talk.told("input_audio_buffer.clear") == []


# D: speech detection


def test_d3_and_what_helps_against_noise_reaches_the_session() -> None:
    patient = {"type": "semantic_vad", "eagerness": "low", "create_response": True, "interrupt_response": True}
    asked = Wire(turn_detection=patient, noise_reduction={"type": "far_field", "strength": 0.5}).created()
    assert asked["audio"]["input"]["turn_detection"] == patient
    assert asked["audio"]["input"]["noise_reduction"] == {"type": "far_field", "strength": 0.5}
    loud = VAD | {"threshold": 0.8}
    assert Wire(turn_detection=loud).created()["audio"]["input"]["turn_detection"] == loud


def test_d4_turns_are_detected_by_loudness_unless_said_otherwise() -> None:
    assert isinstance(Agent().turn_detection, ServerVad)


def test_d5_speech_that_never_ends_is_told_and_answered() -> None:
    talk = Talk("{vad: false, rules: [{on: connect, do: [{delay_ms: 500}, {speech_started: {}}]}]}")
    talk.run(29)
    assert talk.of(ev.SessionError) == []
    talk.run(3)
    error = talk.of(ev.SessionError)[0]
    assert (error.code, error.fatal) == ("endless_speech", False)
    assert not talk.protocol.caller_speaking
    assert [m["type"] for m in talk.sent[-2:]] == ["input_audio_buffer.commit", "response.create"]


def test_d5_speech_that_ends_in_time_is_not() -> None:
    wire = Wire().ready()
    wire.starts("u")
    (first,) = wire.protocol.alarms()
    wire.stops("u")
    wire.starts("v")
    assert wire.protocol.rang(first) == () and wire.told() == []


def test_d6_a_second_start_is_no_second_speech() -> None:
    wire = Wire(turn_detection=OWN_TURNS).ready()
    wire.starts("u")
    assert wire.starts("v") == (ev.SpeechStarted(5, "v"),)
    assert wire.protocol.caller_speaking
    wire.stops("v")
    assert not wire.protocol.caller_speaking
    wire.protocol.respond()
    assert wire.types() == ["response.create"]


def test_d8_half_a_second_of_silence_ends_a_turn_unless_said_otherwise() -> None:
    assert ServerVad().silence_duration_ms == 500
    assert Wire().created()["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


# E: formats


def test_e1_other_formats_than_asked_for_are_spoken_and_a_change_is_the_end() -> None:
    wire = Wire()
    wire.created()
    (ready,) = wire.updated(PCM24, PCM24)
    assert isinstance(ready, ev.Ready)
    assert (ready.audio_in.name, ready.audio_out.name) == ("PCM24", "PCM24") and "audio/pcmu" in ready.fell_back
    (refused,) = wire.updated({"type": "audio/pcmu"}, {"type": "audio/pcmu"})
    assert isinstance(refused, ev.SessionError) and (refused.code, refused.fatal) == ("format_changed", True)


def test_e2_an_echo_that_says_nothing_leads_to_what_all_speak() -> None:
    wire = Wire()
    wire.created()
    assert wire.say("session.updated", session={}) == ()
    (update,) = wire.told()
    assert update["session"]["audio"]["output"]["format"] == PCM24
    (ready,) = wire.say("session.updated", session={})
    assert isinstance(ready, ev.Ready) and ready.audio_out.name == "PCM24" and ready.fell_back


def test_e4_g711_has_no_rate_and_pcm_has_one() -> None:
    assert Wire().created()["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    asked = Wire(dialect=PRESETS["localai"]).created()
    assert asked["audio"]["input"]["format"] == asked["audio"]["output"]["format"] == PCM24


@pytest.mark.parametrize(
    ("code", "param"), [("invalid_value", "session.audio.output.voice"), ("cannot_update_voice", None)]
)
def test_e5_a_voice_that_is_refused_is_left_out(code: str, param: str | None) -> None:
    wire = Wire(voice="onyx")
    assert wire.created()["audio"]["output"]["voice"] == "onyx"
    (error,) = wire.error(code, "No such voice", param=param)
    assert isinstance(error, ev.SessionError) and not error.fatal
    assert "voice" not in wire.told()[0]["session"]["audio"]["output"]


def test_e7_language_and_keywords_of_the_transcription_reach_the_session() -> None:
    transcription = {"model": "gpt-transcribe", "language": "en", "keywords": ["derailleur"]}
    assert Wire(transcription=transcription).created()["audio"]["input"]["transcription"] == transcription


def test_e10_long_messages_are_taken() -> None:
    assert dialer.MAX_MESSAGE_BYTES >= 16 << 20
    wire = Wire().ready()
    (delta,) = wire.delta("r", "a", b"\x01" * (2 << 20))
    assert isinstance(delta, ev.AudioDelta) and len(delta.audio) == 2 << 20


# F: tools


def test_f1_a_call_that_is_told_four_times_is_one() -> None:
    talk = Talk("{vad: false, answer: {items: [{call: stock, call_id: c1}]}}", greeting="Hello.").do("greet").run(1)
    assert talk.of(ev.ToolCall) == [ev.ToolCall("c1", "stock", "{}")]


def test_f1_a_call_that_only_the_response_tells_is_one_too() -> None:
    wire = Wire().ready()
    wire.begin("r")
    item = {"id": "f", "type": "function_call", "call_id": "c", "name": "n", "arguments": "{}", "status": "completed"}
    told = wire.done("r", output=[item, {"type": "function_call"}, 5, item])
    assert told == (ev.ToolCall("c", "n", "{}"), ev.ResponseEnded("r", "completed", ""))


def test_f2_after_parallel_calls_one_response_follows_the_last_result() -> None:
    talk = Talk(
        """
        vad: false
        rules:
          - on: response_create
            nth: 1
            do: [{response: {items: [{call: a, call_id: c1}, {call: b, call_id: c2}, {audio_ms: 900}], speed: 2}}]
          - on: response_create
            nth: 2
            do: [{response: {items: [{audio_ms: 300}]}}]
        """,
        greeting="Hello.",
    )
    talk.do("greet").run(0.1)
    assert len(talk.of(ev.ToolCall)) == 2
    talk.do("tool_result", "c1", {"stock": 4})  # the response still runs
    talk.run(2)
    assert talk.of(ev.ResponseEnded) and len(talk.told("response.create")) == 1
    talk.do("tool_result", "c2", {"price": 9})
    assert [m["type"] for m in talk.sent[-2:]] == ["conversation.item.create", "response.create"]
    talk.run(1)
    assert talk.errors() == [] and len(talk.told("response.create")) == 2


def test_f2_a_result_that_comes_while_he_speaks_is_answered_with_him() -> None:
    wire = Wire().ready()
    wire.begin("r1")
    wire.calls("r1", "c")
    wire.done("r1")
    wire.starts()
    wire.protocol.tool_result("c", {"stock": 4})
    wire.stops()
    wire.begin("r2", "a")  # the server's own answer
    wire.done("r2")
    assert wire.types() == ["conversation.item.create"]


def test_f2_and_where_no_answer_comes_it_is_asked_for() -> None:
    wire = Wire().ready()
    wire.begin("r1")
    wire.calls("r1", "c")
    wire.done("r1")
    wire.starts()
    wire.protocol.tool_result("c", {"stock": 4})
    wire.protocol.alarms()
    wire.stops()
    (alarm,) = wire.protocol.alarms()
    wire.protocol.rang(alarm)
    assert wire.types() == ["conversation.item.create", "response.create"]


def test_f5_a_call_that_was_cut_off_is_answered_and_not_executed() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 160)
    wire.protocol.interrupted([Heard("a", 20)])
    wire.told()
    assert wire.calls("r", "c", "incomplete", arguments='{"art') == ()
    assert wire.done("r", "cancelled") == (ev.ResponseEnded("r", "cancelled", ""),)
    (answer,) = wire.told()
    assert (answer["item"]["call_id"], answer["item"]["output"]) == ("c", '{"status":"cancelled"}')


def test_f6_a_call_whose_arguments_are_cut_off_is_told_as_it_is() -> None:
    wire = Wire().ready()
    wire.begin("r")
    assert wire.calls("r", "c", "incomplete", arguments='{"art') == ()
    told = wire.done("r", "incomplete", status_details={"reason": "max_output_tokens"})
    assert told[0] == ev.ToolCall("c", "stock", '{"art')
    wire.protocol.tool_result("c", {"error": "no JSON"})
    assert wire.types() == ["conversation.item.create", "response.create"]
    (call,) = wire.calls("r", "d", arguments="x" * (ARGUMENTS_LIMIT + 5))
    assert isinstance(call, ev.ToolCall) and len(call.arguments) == ARGUMENTS_LIMIT


def test_f8_a_result_that_is_too_long_is_cut_and_says_so() -> None:
    wire = Wire().ready()
    wire.calls("r", "c")
    wire.protocol.tool_result("c", {"text": "x" * 5 * OUTPUT_LIMIT})
    output = wire.told()[0]["item"]["output"]
    assert OUTPUT_LIMIT < len(output) < OUTPUT_LIMIT + 200 and "The rest was too long." in output


def test_f9_a_result_for_a_call_nobody_knows_is_a_note() -> None:
    wire = Wire().ready()
    wire.protocol.tool_result("call_of_before", {"stock": 4})
    note, create = wire.told()
    assert note["item"]["role"] == "system" and '{"stock":4}' in note["item"]["content"][0]["text"]
    assert create["type"] == "response.create"
    (error,) = wire.error("item_create_invalid_tool_call_id", "Tool call ID not found")
    assert isinstance(error, ev.SessionError) and error.harmless


# G: transcripts


def test_g1_items_tell_their_places_however_late_their_words_come() -> None:
    talk = Talk(
        """
        heard_ms: 1500
        vad: false
        rules:
          - on: connect
            do: [{delay_ms: 50}, {speech_started: {}}, {delay_ms: 100}, {speech_stopped: {}}]
          - on: turn
            do: [{response: {items: [{audio_ms: 400, transcript: Nine.}]}}]
        """
    )
    talk.run(3)
    caller, *_, agent = talk.of(ev.Placed)
    assert (caller.role, agent.role, agent.previous_item_id) == ("caller", "agent", caller.item_id)
    names = [type(event).__name__ for event in talk.events]
    assert names.index("CallerSaid") > names.index("AgentSaid")


def test_g2_the_language_is_told() -> None:
    asked = Wire(transcription={"model": "gpt-transcribe", "language": "pl"}).created()
    assert asked["audio"]["input"]["transcription"]["language"] == "pl"


def test_g3_a_transcription_that_always_fails_is_said_once() -> None:
    wire = Wire().ready()
    name = "conversation.item.input_audio_transcription.failed"
    error = {"type": "transcription_error", "code": "DeploymentNotFound", "message": "No such deployment."}
    first = wire.say(name, item_id="u1", error=error)
    assert first[0] == ev.NotTranscribed("u1")
    assert isinstance(first[1], ev.SessionError) and "DeploymentNotFound" in first[1].message and not first[1].fatal
    assert wire.say(name, item_id="u2", error=error) == (ev.NotTranscribed("u2"),)


def test_g4_words_may_come_before_their_item() -> None:
    wire = Wire(transcription={"model": "t"}).ready()
    name = "conversation.item.input_audio_transcription"
    assert wire.say(f"{name}.delta", item_id="u", delta="Hel") == ()
    assert wire.say(f"{name}.completed", item_id="u", transcript="Hello.") == (ev.CallerSaid("u", "Hello."),)
    wire.commits("u")
    assert wire.protocol.alarms() == ()  # nothing is waited for


def test_g5_only_what_is_final_counts() -> None:
    wire = Wire(dialect=PRESETS["xai"]).ready()
    name = "conversation.item.input_audio_transcription"
    assert wire.say(f"{name}.updated", item_id="u", transcript="Hel") == ()
    assert wire.say(f"{name}.completed", item_id="u", transcript="Hello", status="in_progress") == ()
    told = wire.say(f"{name}.completed", item_id="u", transcript="Hello there.", status="completed")
    assert told == (ev.CallerSaid("u", "Hello there."),) and wire.protocol.unknown == 0


def test_g6_words_that_never_come_are_given_up() -> None:
    talk = Talk(
        """
        heard: null
        vad: false
        rules:
          - on: connect
            do: [{delay_ms: 50}, {speech_started: {}}, {delay_ms: 100}, {speech_stopped: {respond: false}}]
        """
    )
    talk.run(9)
    assert talk.of(ev.NotTranscribed) == []
    talk.run(3)
    (committed,) = talk.of(ev.Committed)
    assert talk.of(ev.NotTranscribed) == [ev.NotTranscribed(committed.item_id)]


def test_g7_beta_names_mean_the_same() -> None:
    wire = Wire().ready()
    wire.begin("r", "a")
    assert wire.say("response.audio.delta", response_id="r", item_id="a", delta="AQ==") == (ev.AudioDelta("a", b"\1"),)
    assert wire.say("response.audio.done", response_id="r", item_id="a") == (ev.AudioEnd("a"),)
    told = wire.say("response.audio_transcript.delta", response_id="r", item_id="a", delta="Hi")
    assert told == (ev.AgentSaying("a", "Hi"),)
    assert wire.say("response.audio_transcript.done", item_id="a", transcript="Hi.") == (ev.AgentSaid("a", "Hi."),)
    item = {"id": "u", "type": "message", "role": "user"}
    assert wire.say("conversation.item.created", item=item) == (ev.Placed("u", "caller", None),)
    assert wire.protocol.unknown == 0


# I: sessions, errors, reconnect


def test_i1_the_end_of_the_session_s_time_is_not_the_end_of_the_call() -> None:
    steps = "[{delay_ms: 200}, {error: {code: session_expired}}, {close: {code: 1001}}]"
    talk = Talk(f"{{rules: [{{on: session.updated, do: {steps}}}]}}").run(1)
    error, going = talk.events[-2:]
    assert isinstance(error, ev.SessionError) and not error.fatal
    assert going == ev.GoingAway(0.0)
    assert talk.closed is not None and talk.closed.code == 1001


@pytest.mark.parametrize("code", sorted(FATAL_CODES))
def test_i2_what_no_second_try_mends_is_fatal_at_any_time(code: str) -> None:
    for wire in (Wire(), Wire().ready()):
        (error,) = wire.error(code)
        assert isinstance(error, ev.SessionError) and error.fatal and wire.protocol.stage is Stage.FAILED


def test_i3_a_new_session_is_told_everything_before_audio_flows() -> None:
    turns = (CallerWords("u1", "Do you open at nine?"), AgentWords("a1", "Yes, at"), ToolUse("c1", "stock", "{}", "4"))
    wire = Wire(history=History(turns), tools=({"type": "function", "name": "stock"},))
    asked = wire.created()
    assert asked["tools"] and asked["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert isinstance(wire.updated()[0], ev.Ready)
    items = [message["item"] for message in wire.told()]
    assert [item["type"] for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert items[0]["content"] == [{"type": "input_text", "text": "Do you open at nine?"}]
    assert items[1]["content"] == [{"type": "output_text", "text": "Yes, at"}]


def test_i4_a_session_begins_when_it_is_created_and_a_bad_key_may_come_instead() -> None:
    wire = Wire()
    assert wire.told() == []
    (error,) = wire.error("invalid_api_key")
    assert isinstance(error, ev.SessionError) and error.fatal


def test_i6_a_long_history_is_one_text_and_the_last_turns() -> None:
    turns = [
        turn for n in range(20) for turn in (CallerWords(f"u{n}", f"question {n}"), AgentWords(f"a{n}", f"no {n}"))
    ]
    wire = Wire(history=History(tuple(turns)))
    wire.created()
    wire.updated()
    items = [message["item"] for message in wire.told()]
    assert len(items) == 9 and items[0]["role"] == "system"
    text = "\n".join(part["text"] for item in items for part in item["content"])
    places = [text.index(turn.text) for turn in turns]
    assert places == sorted(places)
    spoken = [item for item in items if item["role"] == "assistant"]
    assert all(wire.say("conversation.item.added", item=item) == () for item in spoken)  # nobody says it anew


def test_i7_fields_that_a_model_does_not_know_are_left_out() -> None:
    talk = Talk("{vad: false}", model="gpt-realtime", reasoning_effort="low", parallel_tool_calls=True)
    assert talk.protocol.stage is Stage.READY
    left_out = talk.of(ev.SessionError)
    assert len(left_out) == 2 and not any(error.fatal for error in left_out)
    last = talk.told("session.update")[-1]["session"]
    assert "reasoning" not in last and "parallel_tool_calls" not in last and "turn_detection" in last["audio"]["input"]


def test_i9_no_beta_header_and_a_word_about_models_of_before() -> None:
    assert GA.headers == () and "beta_api_shape_disabled" in FATAL_CODES and ADVICE["beta_api_shape_disabled"]
    assert "gpt-realtime" in retired("gpt-4o-realtime-preview-2024-12-17")
    assert retired("gpt-realtime-2.1") == ""


def test_i10_nothing_that_comes_breaks_the_reader() -> None:
    talk = Talk(
        """
        vad: false
        answer: {items: [{audio_ms: 300}]}
        rules:
          - on: session.updated
            do:
              - send_text: "{"
              - send_binary: "00ff"
              - send: {type: response.done, response: 5}
              - send: {type: response.output_audio.delta, item_id: [], delta: {}}
              - send: {type: input_audio_buffer.speech_started, audio_start_ms: soon}
              - send: {type: error, error: {message: [[[]]]}}
              - send: {type: never.heard.of}
        """,
        greeting="Hello.",
    )
    talk.run(0.1).do("greet").run(1)
    assert talk.of(ev.AudioDelta) and talk.protocol.malformed == 5 and talk.protocol.unknown == 1


def test_i12_the_greeting_is_in_the_conversation() -> None:
    wire = Wire(greeting="Say hello.").ready()
    wire.protocol.greet()
    (create,) = wire.told()
    assert create["type"] == "response.create" and "conversation" not in create["response"]


# K: rules


def test_k4_speaking_generating_and_the_caller_are_three_things() -> None:
    wire = Wire().ready()
    wire.begin("r", "a", audio=b"\x01" * 160)
    assert (wire.protocol.response_active, wire.protocol.caller_speaking) == (True, False)
    wire.starts()
    assert (wire.protocol.response_active, wire.protocol.caller_speaking) == (True, True)
    wire.done("r")
    assert (wire.protocol.response_active, wire.protocol.caller_speaking) == (False, True)
    wire.stops()
    assert not wire.protocol.caller_speaking


@pytest.mark.parametrize(
    ("code", "fatal", "harmless"),
    [
        ("response_cancel_not_active", False, True),
        ("input_audio_buffer_commit_empty", False, True),
        ("invalid_item_id", False, True),
        ("insufficient_quota", True, False),
        ("never_heard_of", False, False),
        (None, False, False),
    ],
)
def test_k5_each_error_is_ignored_told_or_the_end(code: str | None, fatal: bool, harmless: bool) -> None:
    error = Wire().ready().error(code)[0]
    assert isinstance(error, ev.SessionError) and (error.fatal, error.harmless) == (fatal, harmless)


def test_k7_nothing_here_reads_a_clock() -> None:
    for module in (handshake, openai, openai_events, response_slot, tool_calls):
        tree = ast.parse(TESTS.parent.joinpath(*module.__name__.split(".")).with_suffix(".py").read_text("utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"time", "asyncio", "datetime"}


class Heard:
    """What the ledger knows of an item."""

    def __init__(self, item_id: str, sent_ms: int) -> None:
        self.item_id = item_id
        self.sent_ms = sent_ms
