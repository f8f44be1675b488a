"""The protocol object of Gemini Live, frame by frame, without a socket."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.gemini.asking import ANSWER_S
from bridge.realtime.gemini.calls import MOST_CALLS
from bridge.realtime.gemini.protocol import FINAL_CLOSE_CODES, GeminiProtocol
from bridge.realtime.gemini.turns import WORDS_LIMIT
from bridge.realtime.history import NOTHING, AgentWords, CallerWords, History, Note, ToolUse
from bridge.realtime.options import SessionOptions
from bridge.realtime.protocol import Alarm
from tests.servers.gemini import audio, problems

GEMINI_3 = "gemini-3.1-flash-live-preview"
VAD = {"type": "server_vad", "prefix_padding_ms": 200, "silence_duration_ms": 600}
STOCK = {"type": "function", "name": "stock", "parameters": {"type": "object", "properties": {}}}
TURNS = (
    CallerWords("c1", "I am Alice."),
    AgentWords("a1", "Nice to meet you...[interrupted]", cut=True),
    ToolUse("t1", "stock", '{"article":1}', '{"output":4}'),
    CallerWords("c2", "", audio=b"\0\0"),
    Note("The line broke."),
)
TOLD = [
    {"role": "user", "parts": [{"text": "I am Alice."}]},
    {"role": "model", "parts": [{"text": "Nice to meet you...[interrupted]"}]},
    {"role": "user", "parts": [{"text": '[You called stock with {"article":1}; its result was {"output":4}]'}]},
    {"role": "user", "parts": [{"text": "[The caller said something that was not understood.]"}]},
    {"role": "user", "parts": [{"text": "[The line broke.]"}]},
]


@dataclass(frozen=True)
class Heard:
    item_id: str
    sent_ms: int


class Wire:
    """A protocol object with a server's voice: `say` feeds it, `told` gives what it wants to send, checked."""

    def __init__(self, history: History = NOTHING, **options: Any) -> None:
        self.protocol = GeminiProtocol(SessionOptions(Linear(24000), **({"turn_detection": VAD} | options)), history)
        self.protocol.begin()

    def say(self, **members: Any) -> list[ev.Event]:
        return list(self.protocol.receive(orjson.dumps(members)))

    def content(self, **members: Any) -> list[ev.Event]:
        return self.say(serverContent=members)

    def told(self) -> list[dict[str, Any]]:
        messages = [orjson.loads(message) for message in self.protocol.data_to_send()]
        assert [problem for message in messages for problem in problems(message)] == []
        return messages

    def ready(self) -> Wire:
        assert any(isinstance(event, ev.Ready) for event in self.say(setupComplete={}))
        self.told()
        return self

    def speak(self, *words: str, pieces: int = 1) -> str:
        """The model says something; the item."""
        for text in words:
            self.content(outputTranscription={"text": text})
        for _ in range(pieces):
            (*_, delta) = self.content(**audio(b"\1\0" * 240))
            assert isinstance(delta, ev.AudioDelta)
        return delta.item_id

    def call(self, call_id: str = "fc_1", name: str = "stock", **arguments: Any) -> list[ev.Event]:
        return self.say(toolCall={"functionCalls": [{"id": call_id, "name": name, "args": arguments}]})

    def complete(self) -> list[ev.Event]:
        return [*self.content(generationComplete=True), *self.content(turnComplete=True)]

    @property
    def counts(self) -> tuple[int, int]:
        return self.protocol.malformed, self.protocol.unknown


def kinds(events: list[ev.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def asked(words: str, *, complete: bool = True) -> dict[str, Any]:
    turns = [{"role": "user", "parts": [{"text": words}]}]
    return {"clientContent": {"turns": turns, "turnComplete": complete}}


# The beginning


def test_the_setup_comes_first_and_nothing_before_it_is_taken() -> None:
    wire = Wire(greeting="Say hello.")
    (setup,) = wire.told()
    assert setup["setup"]["model"].startswith("models/gemini-")
    wire.protocol.greet()
    assert wire.told() == []
    ready = ev.Ready("s-1", "gemini-2.5-flash-native-audio-preview-12-2025", Linear(16000), Linear(24000))
    assert wire.say(setupComplete={"sessionId": "s-1"}) == [ready]
    assert wire.told() == [asked("[Instruction, not said by the caller: Say hello.]")]


def test_a_second_setup_complete_begins_nothing_twice() -> None:
    wire = Wire(History(TURNS)).ready()
    assert wire.say(setupComplete={}) == []
    assert wire.told() == []


def test_what_comes_before_the_setup_is_complete_is_dropped() -> None:
    wire = Wire()
    assert wire.content(**audio(b"\0\0")) == []
    assert wire.call() == []
    assert wire.protocol.malformed > 0
    assert not wire.protocol.response_active


def test_what_has_no_place_is_said_with_ready() -> None:
    wire = Wire(speed=1.2, tools=({"type": "mcp"},))
    said, ready = wire.say(setupComplete={})
    assert isinstance(ready, ev.Ready)
    words = "Gemini has no place for: speed, tools of type mcp"
    assert said == ev.SessionError("not_supported", words, harmless=True)


def test_without_a_greeting_the_caller_speaks_first() -> None:
    wire = Wire().ready()
    wire.protocol.greet()
    assert wire.told() == []


def test_what_was_said_before_is_put_back_before_ready_and_asks_for_no_answer() -> None:
    wire = Wire(History(TURNS))
    wire.told()
    wire.say(setupComplete={})
    assert wire.told() == [{"clientContent": {"turns": TOLD, "turnComplete": False}}]
    assert not wire.protocol.response_active


def test_gemini_3_is_told_all_of_it_at_once() -> None:
    wire = Wire(History(TURNS), model=GEMINI_3)
    (setup,) = wire.told()
    assert setup["setup"]["historyConfig"] == {"initialHistoryInClientContent": True}
    wire.say(setupComplete={})
    assert wire.told() == [{"clientContent": {"turns": TOLD, "turnComplete": True}}]
    assert not wire.protocol.response_active


def test_a_server_that_waits_for_a_history_gets_an_empty_one() -> None:
    wire = Wire(extra={"historyConfig": {"initialHistoryInClientContent": True}})
    wire.told()
    wire.say(setupComplete={})
    assert wire.told() == [{"clientContent": {"turnComplete": True}}]


def test_a_resumed_session_is_told_nothing() -> None:
    wire = Wire(History(TURNS, "handle-1"))
    (setup,) = wire.told()
    assert setup["setup"]["sessionResumption"] == {"handle": "handle-1"}
    assert wire.protocol.resumption == "", "whether the handle is good is not known yet"
    wire.say(setupComplete={})
    assert wire.told() == []
    assert wire.protocol.resumption == "handle-1"


# What the model says


def test_a_turn_is_words_then_audio_and_the_end_is_told_once() -> None:
    wire = Wire().ready()
    wire.content(inputTranscription={"text": " Hello"})
    events = wire.content(outputTranscription={"text": "Good "})
    caller, agent = events[0].item_id, events[-1].item_id  # type: ignore[union-attr]
    assert events == [
        ev.Committed(caller),
        ev.CallerSaid(caller, "Hello"),
        ev.Placed(agent, "agent"),
        ev.AgentSaying(agent, "Good "),
    ]
    assert wire.protocol.response_active
    assert wire.content(**audio(b"\1\0\2\0")) == [ev.AudioDelta(agent, b"\1\0\2\0")]
    assert wire.content(outputTranscription={"text": "day."}) == [ev.AgentSaying(agent, "day.")]
    end, response = wire.content(generationComplete=True)
    assert end == ev.AudioEnd(agent)
    assert isinstance(response, ev.ResponseEnded) and response.status == "completed"
    assert not wire.protocol.response_active
    assert wire.content(outputTranscription={"text": " Late."}) == [ev.AgentSaying(agent, " Late.")]
    assert wire.content(turnComplete=True) == [ev.AgentSaid(agent, "Good day. Late.")]


def test_each_turn_has_names_of_its_own_and_so_has_each_session() -> None:
    one, other = Wire().ready(), Wire().ready()
    names = []
    for wire in (one, one, other):
        names.append(wire.speak("x"))
        wire.complete()
    assert len(set(names)) == 3


def test_content_after_the_generation_is_complete_is_a_response_of_its_own() -> None:
    wire = Wire().ready()
    first = wire.speak("One.")
    wire.content(generationComplete=True)
    second = wire.speak()
    assert first != second
    assert "ResponseEnded" in kinds(wire.complete())


def test_thoughts_are_neither_heard_nor_read_but_show_that_an_answer_comes() -> None:
    wire = Wire().ready()
    thought = {"text": "**Thinking** of the caller", "thought": True}
    spoken_thought = audio(b"\1\0")["modelTurn"]["parts"][0] | {"thought": True}
    events = wire.content(modelTurn={"parts": [thought, spoken_thought, {"text": "written only"}]})
    assert kinds(events) == ["Placed", "Committed"], "of the caller"
    assert wire.protocol.response_active
    assert wire.counts == (0, 0)


def test_one_frame_with_everything_gives_its_events_in_order() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    events = wire.say(
        usageMetadata={"promptTokenCount": 9, "responseTokenCount": 4},
        serverContent=audio(b"\1\0")
        | {
            "turnComplete": True,
            "outputTranscription": {"text": "Hi."},
            "inputTranscription": {"text": "Hello"},
        },
        toolCall={"functionCalls": [{"id": "f", "name": "stock", "args": {"a": 1}}]},
        goAway={"timeLeft": "50s"},
        sessionResumptionUpdate={"newHandle": "h", "resumable": True},
    )
    assert kinds(events) == [
        "Placed",
        "Committed",
        "CallerSaid",
        "Placed",
        "AgentSaying",
        "AudioDelta",
        "AudioEnd",
        "AgentSaid",
        "ToolCall",
        "ResponseEnded",
        "Usage",
        "GoingAway",
    ]
    assert wire.protocol.resumption == "h"
    assert events[-2] == ev.Usage("gemini-2.5-flash-native-audio-preview-12-2025", {"text_in": 9, "audio_out": 4})
    assert events[-1] == ev.GoingAway(50.0)


def test_empty_contents_are_nothing() -> None:
    wire = Wire().ready()
    assert wire.content() == []
    assert wire.content(modelTurn={}) == []
    assert wire.content(modelTurn={"parts": []}) == []
    assert wire.content(**audio(b"")) == []
    assert wire.content(interrupted=False, turnComplete=False, outputTranscription={"text": ""}) == []
    assert wire.say() == []
    assert wire.counts == (0, 0)
    assert not wire.protocol.response_active


def test_known_extras_are_nothing_and_new_ones_are_counted() -> None:
    wire = Wire().ready()
    wire.content(waitingForInput=True, interactionStatus="IDLE", interimInputTranscription={"text": "h"})
    assert wire.counts == (0, 0)
    wire.content(newThing={})
    wire.say(newerThing={})
    assert wire.counts == (0, 2)


def test_audio_that_is_no_base64_costs_itself_only() -> None:
    wire = Wire().ready()
    good = audio(b"\1\0")["modelTurn"]["parts"][0]
    bad = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "%%%"}}
    events = wire.say(serverContent={"modelTurn": {"parts": [bad, good, {"inlineData": 5}]}, "turnComplete": True})
    assert [event.audio for event in events if isinstance(event, ev.AudioDelta)] == [b"\1\0"]
    assert "ResponseEnded" in kinds(events)
    assert wire.counts == (2, 0)


def test_base64_of_the_other_alphabet_is_read() -> None:
    wire = Wire().ready()
    part = {"inlineData": {"mimeType": "audio/pcm", "data": base64.urlsafe_b64encode(b"\xfb\xff\xbe\xff").decode()}}
    (*_, delta) = wire.content(modelTurn={"parts": [part]})
    assert isinstance(delta, ev.AudioDelta) and delta.audio == b"\xfb\xff\xbe\xff"


@pytest.mark.parametrize("frame", [b"", b"\xff\xfe", b"{", b"[]", b"5", b"null", b'"x"', b"[" * 5000])
def test_a_frame_that_is_no_object_is_counted(frame: bytes) -> None:
    wire = Wire().ready()
    assert wire.protocol.receive(frame) == ()
    assert wire.counts == (1, 0)


def test_another_rate_than_was_agreed_on_is_fatal_and_never_played() -> None:
    (event,) = Wire().ready().content(**audio(b"\1\0", rate=16000))
    assert isinstance(event, ev.SessionError)
    assert (event.code, event.fatal) == ("format_changed", True)


def test_pictures_are_not_played() -> None:
    wire = Wire().ready()
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert wire.content(modelTurn={"parts": [picture]}) == []
    assert wire.counts == (0, 1)


def test_a_turn_that_ends_for_a_bad_reason_has_failed() -> None:
    wire = Wire().ready()
    wire.speak("I")
    events = wire.content(turnComplete=True, turnCompleteReason="RESPONSE_REJECTED")
    (ended,) = [event for event in events if isinstance(event, ev.ResponseEnded)]
    assert (ended.status, ended.detail) == ("failed", "RESPONSE_REJECTED")
    wire.speak("I")
    events = wire.content(turnComplete=True, turnCompleteReason="NEED_MORE_INPUT")
    assert [event.status for event in events if isinstance(event, ev.ResponseEnded)] == ["completed"]


def test_words_of_one_item_are_kept_up_to_a_limit() -> None:
    wire = Wire().ready()
    for _ in range(5):
        wire.content(inputTranscription={"text": "c" * WORDS_LIMIT})
        wire.content(outputTranscription={"text": "a" * WORDS_LIMIT})
    (said,) = [event for event in wire.complete() if isinstance(event, ev.AgentSaid)]
    assert len(said.text) == WORDS_LIMIT


# What the caller says


def test_words_that_come_late_still_stand_before_the_answer() -> None:
    wire = Wire().ready()
    placed, committed, agent, _ = wire.content(**audio(b"\1\0"))
    assert isinstance(placed, ev.Placed) and placed.role == "caller"
    assert committed == ev.Committed(placed.item_id)
    assert isinstance(agent, ev.Placed) and agent.role == "agent"
    assert wire.content(inputTranscription={"text": "Hello "}) == []
    assert wire.content(inputTranscription={"text": "there."}) == []
    assert ev.CallerSaid(placed.item_id, "Hello there.") in wire.complete()


def test_words_that_never_come_are_given_up_at_the_turns_end() -> None:
    wire = Wire().ready()
    placed, *_ = wire.content(**audio(b"\1\0"))
    assert isinstance(placed, ev.Placed)
    assert ev.NotTranscribed(placed.item_id) in wire.complete()


def test_more_words_of_the_same_turn_are_told_with_those_before() -> None:
    wire = Wire().ready()
    (placed,) = wire.content(inputTranscription={"text": "One"})
    assert isinstance(placed, ev.Placed)
    assert ev.CallerSaid(placed.item_id, "One") in wire.content(**audio(b"\1\0"))
    wire.content(inputTranscription={"text": " two."})
    assert ev.CallerSaid(placed.item_id, "One two.") in wire.complete()


def test_a_finished_transcription_is_told_at_once() -> None:
    wire = Wire().ready()
    placed, said = wire.content(inputTranscription={"text": "One.", "finished": True})
    assert isinstance(placed, ev.Placed)
    assert said == ev.CallerSaid(placed.item_id, "One.")


def test_an_answer_that_was_asked_for_has_no_turn_of_the_caller_before_it() -> None:
    wire = Wire(greeting="Hi").ready()
    wire.protocol.greet()
    assert kinds(wire.content(**audio(b"\1\0"))) == ["Placed", "AudioDelta"]


# Interruptions


def test_an_interruption_is_the_caller_speaking_until_the_turn_is_over() -> None:
    wire = Wire().ready()
    wire.protocol.audio_message(b"\0\0" * 16 * 250)
    item = wire.speak("Once upon")
    events = wire.content(interrupted=True)
    assert kinds(events) == ["AudioEnd", "AgentSaid", "ResponseEnded", "NotTranscribed", "SpeechStarted"]
    started = events[-1]
    assert isinstance(started, ev.SpeechStarted) and started.audio_start_ms == 250
    ended = events[2]
    assert isinstance(ended, ev.ResponseEnded) and (ended.status, ended.detail) == ("cancelled", "interrupted")
    assert wire.protocol.caller_speaking and not wire.protocol.response_active
    assert wire.protocol.interrupted([Heard(item, 120)]) == [ev.Truncated(item, 120)]
    assert wire.told() == [], "there is nobody to tell"
    assert wire.content(turnComplete=True) == [ev.SpeechStopped(250)]
    assert not wire.protocol.caller_speaking


def test_the_words_of_the_interruption_belong_to_the_item_it_began() -> None:
    wire = Wire().ready()
    wire.speak("Once upon")
    *_, started = wire.content(interrupted=True)
    assert isinstance(started, ev.SpeechStarted)
    wire.content(turnComplete=True)
    assert wire.content(inputTranscription={"text": "Stop!"}) == []
    assert ev.CallerSaid(started.item_id, "Stop!") in wire.content(**audio(b"\1\0"))


def test_late_audio_of_an_interrupted_turn_is_dropped_and_counted_until_its_end() -> None:
    wire = Wire().ready()
    item = wire.speak("Once upon")
    wire.content(interrupted=True)
    late = [*wire.content(**audio(b"\1\0")), *wire.content(outputTranscription={"text": " a time"})]
    assert late == []
    assert wire.content(modelTurn={"parts": [{"text": "hm", "thought": True}]}) == []
    assert wire.content(**audio(b"\1\0")) == []
    assert wire.protocol.late_deltas == 2
    wire.content(turnComplete=True)
    assert wire.speak() != item
    assert wire.protocol.late_deltas == 2


def test_an_interruption_while_what_was_made_is_still_played_is_one_too() -> None:
    wire = Wire().ready()
    wire.speak("Once upon")
    wire.content(generationComplete=True)
    assert kinds(wire.content(interrupted=True))[-1] == "SpeechStarted"
    wire.content(turnComplete=True)
    assert kinds(wire.content(interrupted=True)) == ["SpeechStarted", "SpeechStopped"]
    assert not wire.protocol.caller_speaking


def test_a_caller_who_speaks_before_the_answer_has_begun_takes_its_place() -> None:
    wire = Wire(greeting="Hi").ready()
    wire.protocol.greet()
    assert kinds(wire.content(interrupted=True)) == ["SpeechStarted", "SpeechStopped"]
    assert not wire.protocol.response_active


def test_what_the_bridge_cut_is_not_played_and_not_interrupted_again() -> None:
    wire = Wire(far_end_delay_ms=50).ready()
    item = wire.speak("Once upon")
    cuts = wire.protocol.interrupted([Heard(item, 120), Heard("b", 20)], by_server=False)
    assert cuts == [ev.Truncated(item, 70), ev.Truncated("b", 0)]
    assert wire.content(**audio(b"\1\0")) == []
    assert wire.protocol.late_deltas == 1
    assert wire.protocol.response_active, "the server makes it all the same"
    events = wire.content(interrupted=True)
    assert kinds(events) == ["AudioEnd", "AgentSaid", "ResponseEnded"]
    assert not wire.protocol.caller_speaking


def test_an_answer_that_the_bridge_cut_ends_as_cancelled_and_the_next_one_is_heard() -> None:
    wire = Wire().ready()
    item = wire.speak("Once upon")
    wire.protocol.interrupted([Heard(item, 120)], by_server=False)
    (_, ended) = wire.content(generationComplete=True)
    assert isinstance(ended, ev.ResponseEnded) and ended.status == "cancelled"
    wire.content(turnComplete=True)
    assert wire.speak() != item


def test_a_cut_when_nothing_is_made_cuts_nothing_that_comes() -> None:
    wire = Wire().ready()
    wire.protocol.interrupted([], by_server=False)
    wire.speak("Hello")
    wire.content(generationComplete=True)
    wire.protocol.interrupted([], by_server=False)
    wire.content(turnComplete=True)
    wire.speak("Hello")
    assert wire.protocol.late_deltas == 0


def test_signals_of_voice_activity_are_the_callers_turns() -> None:
    wire = Wire(extra={"explicitVadSignal": True}).ready()
    wire.speak("Once upon")
    events = wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_START", "audioOffset": "1.5s"})
    started = events[-1]
    assert isinstance(started, ev.SpeechStarted) and started.audio_start_ms == 1500
    assert wire.content(interrupted=True) == [], "said once"
    assert wire.content(turnComplete=True) == []
    assert wire.protocol.caller_speaking
    assert wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_START"}) == []
    stopped = wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_END", "audioOffset": "2.25s"})
    assert stopped == [ev.SpeechStopped(2250)]
    assert wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_END"}) == []


def test_a_caller_whose_end_is_never_signalled_has_stopped_when_the_answer_comes() -> None:
    wire = Wire().ready()
    wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_START"})
    assert "SpeechStopped" in kinds(wire.content(**audio(b"\1\0")))
    assert not wire.protocol.caller_speaking


def test_activity_that_interrupts_nothing_is_not_told() -> None:
    wire = Wire(turn_detection=VAD | {"interrupt_response": False}).ready()
    wire.speak("Once upon")
    assert wire.say(voiceActivity={"voiceActivityType": "ACTIVITY_START"}) == []
    wire.speak("a time")


# Tools


def test_a_tool_call_is_told_as_json_text_and_ends_the_response_but_not_the_turn() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    item = wire.speak("Let me see.")
    events = wire.call(article="4711", count=2)
    assert events[:-1] == [
        ev.AudioEnd(item),
        ev.AgentSaid(item, "Let me see."),
        ev.ToolCall("fc_1", "stock", '{"article":"4711","count":2}'),
    ]
    assert kinds(events)[-1] == "ResponseEnded"
    assert not wire.protocol.response_active, "or a transfer would wait for its own result"
    wire.protocol.tool_result("fc_1", {"output": "4"})
    answer = {"id": "fc_1", "name": "stock", "response": {"output": "4"}}
    assert wire.told() == [{"toolResponse": {"functionResponses": [answer]}}]
    assert wire.protocol.response_active
    assert wire.speak("Four.") != item


def test_a_model_that_says_nothing_about_a_result_ends_its_response_all_the_same() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call()
    wire.protocol.tool_result("fc_1", {}, respond=False)
    assert wire.protocol.response_active, "it may say goodbye"
    assert "ResponseEnded" in kinds(wire.content(turnComplete=True))
    assert not wire.protocol.response_active


def test_only_a_function_that_is_not_waited_for_can_be_silent() -> None:
    free = STOCK | {"name": "note", "behavior": "NON_BLOCKING"}
    wire = Wire(tools=(STOCK, free)).ready()
    wire.call("a", "note")
    wire.call("b", "stock")
    wire.protocol.tool_result("a", {}, respond=False)
    assert not wire.protocol.response_active
    wire.protocol.tool_result("b", {}, respond=False)
    silent, waited = (message["toolResponse"]["functionResponses"][0] for message in wire.told())
    assert silent["scheduling"] == "SILENT"
    assert "scheduling" not in waited


def test_the_model_goes_on_when_the_last_of_several_results_is_there() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    calls = [{"id": name, "name": "stock", "args": {}} for name in "ab"]
    events = wire.say(toolCall={"functionCalls": calls})
    assert [event.call_id for event in events if isinstance(event, ev.ToolCall)] == ["a", "b"]
    wire.protocol.tool_result("b", {})
    assert not wire.protocol.response_active
    wire.protocol.tool_result("a", {})
    assert wire.protocol.response_active


def test_a_cancelled_call_is_told_once_and_never_answered() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call("a")
    wire.call("b")
    assert wire.say(toolCallCancellation={"ids": ["a", "x", 5]}) == [ev.ToolCancelled("a")]
    assert wire.say(toolCallCancellation={"ids": ["a"]}) == []
    wire.protocol.tool_result("a", {})
    wire.protocol.tool_result("never", {})
    assert wire.told() == []
    assert wire.protocol.unwanted_results == 2
    wire.protocol.tool_result("b", {})
    assert len(wire.told()) == 1


def test_an_interrupted_call_that_was_not_cancelled_is_still_answered() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call()
    assert kinds(wire.content(interrupted=True))[-2:] == ["SpeechStarted", "SpeechStopped"]
    wire.protocol.interrupted([])
    wire.protocol.tool_result("fc_1", {"output": 1})
    assert len(wire.told()) == 1
    wire.speak("One.")


def test_a_call_behind_a_cut_makes_what_follows_heard_again() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    item = wire.speak("Let me see.")
    wire.protocol.interrupted([Heard(item, 10)], by_server=False)
    assert ev.ToolCall("fc_1", "stock", "{}") in wire.call()
    assert not wire.protocol.response_active
    wire.protocol.tool_result("fc_1", {})
    wire.speak("Four.")


def test_a_call_that_is_said_twice_is_carried_out_once() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call()
    assert wire.call() == []
    wire.protocol.tool_result("fc_1", {})
    assert wire.call() == []


def test_a_call_without_an_id_gets_one_and_its_answer_has_none() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    events = wire.say(toolCall={"functionCalls": [{"name": "stock"}, {"name": "stock"}]})
    first, second = (event for event in events if isinstance(event, ev.ToolCall))
    assert first.call_id != second.call_id and first.arguments == "{}"
    wire.protocol.tool_result(first.call_id, {"output": 1})
    assert wire.told() == [{"toolResponse": {"functionResponses": [{"name": "stock", "response": {"output": 1}}]}}]


def test_calls_that_make_no_sense_are_counted_and_answered_where_that_is_possible() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    calls = [5, {"id": "a"}, {"id": "b", "name": "stock", "args": "{}"}, {"id": "d", "name": "stock", "args": deep}]
    frame = json.dumps({"toolCall": {"functionCalls": calls}})  # orjson writes no more than 254 levels
    assert list(wire.protocol.receive(frame.encode())) == []
    answers = [message["toolResponse"]["functionResponses"][0] for message in wire.told()]
    assert [(answer["id"], list(answer["response"])) for answer in answers] == [("b", ["error"]), ("d", ["error"])]
    assert wire.counts == (4, 0)


def test_a_flood_of_calls_is_refused_call_by_call() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    calls = [{"id": f"f{number}", "name": "stock", "args": {}} for number in range(1000)]
    events = wire.say(toolCall={"functionCalls": calls})
    assert kinds(events).count("ToolCall") == MOST_CALLS
    assert len(wire.told()) == 1000 - MOST_CALLS


def test_a_result_that_no_json_can_tell_is_answered_with_an_error() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call()
    wire.protocol.tool_result("fc_1", {"output": "\ud800"})
    (message,) = wire.told()
    assert list(message["toolResponse"]["functionResponses"][0]["response"]) == ["error"]


# Our words


def test_words_wait_until_they_interrupt_nothing_and_go_together() -> None:
    wire = Wire().ready()
    wire.speak("Once upon")
    wire.protocol.instruct("Say that time is up.")
    wire.protocol.user_text("12#", respond=False)
    wire.content(generationComplete=True)
    assert wire.told() == [], "what was made is still being played"
    wire.content(turnComplete=True)
    (message,) = wire.told()
    assert message["clientContent"]["turnComplete"] is True
    assert [turn["parts"][0]["text"] for turn in message["clientContent"]["turns"]] == [
        "[Instruction, not said by the caller: Say that time is up.]",
        "12#",
    ]
    assert wire.protocol.response_active


def test_words_behind_a_cut_need_not_wait() -> None:
    wire = Wire().ready()
    item = wire.speak("Once upon")
    wire.protocol.interrupted([Heard(item, 10)], by_server=False)
    wire.protocol.user_text("1")
    assert wire.told() == [asked("1")]
    wire.content(interrupted=True)
    wire.content(turnComplete=True)
    assert wire.protocol.response_active, "that was the end of the answer before"
    assert kinds(wire.content(**audio(b"\1\0"))) == ["Placed", "AudioDelta"]


def test_gemini_3_is_told_by_realtime_input_and_notes_wait_for_the_next_question() -> None:
    wire = Wire(model=GEMINI_3).ready()
    wire.protocol.remember(TURNS[:2])
    assert wire.told() == []
    wire.protocol.user_text("1")
    text = "I am Alice.\n[You said before: Nice to meet you...[interrupted]]\n1"
    assert wire.told() == [{"realtimeInput": {"text": text}}]


def test_what_happened_meanwhile_is_remembered_and_answered_if_wanted() -> None:
    wire = Wire().ready()
    wire.protocol.remember(TURNS[:1])
    assert wire.told() == [asked("I am Alice.", complete=False)]
    assert not wire.protocol.response_active
    wire.protocol.remember(TURNS[:1], respond=True)
    assert wire.told() == [asked("I am Alice.")]
    assert wire.protocol.response_active


def test_an_answer_to_what_was_put_back_is_asked_for_without_words() -> None:
    wire = Wire(History(TURNS)).ready()
    wire.protocol.respond()
    assert wire.told() == [{"clientContent": {"turnComplete": True}}]
    wire.protocol.respond()
    assert wire.told() == [], "it is on its way"
    wire = Wire(History(TURNS), model=GEMINI_3).ready()
    wire.protocol.respond()
    (message,) = wire.told()
    assert "Answer" in message["realtimeInput"]["text"]


def test_the_rest_of_an_answer_is_asked_for_and_a_correction_is_said() -> None:
    wire = Wire(History(TURNS)).ready()
    wire.protocol.correct("a1", "Nice to")
    wire.protocol.go_on()
    correction, rest = wire.told()
    assert "heard only: Nice to" in correction["clientContent"]["turns"][0]["parts"][0]["text"]
    assert correction["clientContent"]["turnComplete"] is False
    assert "do not greet again" in rest["clientContent"]["turns"][0]["parts"][0]["text"]
    wire.protocol.forget("c1")
    wire.protocol.finish()
    assert wire.told() == []


def test_an_answer_that_does_not_come_is_asked_for_once_more_and_then_given_up() -> None:
    wire = Wire(model=GEMINI_3).ready()
    wire.protocol.user_text("1")
    wire.told()
    (alarm,) = wire.protocol.alarms()
    assert alarm.after_s == ANSWER_S and wire.protocol.alarms() == []
    assert wire.protocol.rang(alarm) == []
    assert wire.told() == [{"realtimeInput": {"text": "1"}}]
    assert wire.protocol.rang(alarm) == [], "of the first attempt"
    (again,) = wire.protocol.alarms()
    (ended,) = wire.protocol.rang(again)
    assert isinstance(ended, ev.ResponseEnded) and (ended.status, ended.detail) == ("failed", "no_answer")
    assert not wire.protocol.response_active


def test_an_answer_that_comes_settles_the_alarm() -> None:
    wire = Wire().ready()
    wire.protocol.user_text("1")
    (alarm,) = wire.protocol.alarms()
    wire.speak("One.")
    wire.told()
    assert wire.protocol.rang(alarm) == [] and wire.told() == []
    wire.complete()
    assert wire.protocol.rang(alarm) == [] and wire.told() == []
    assert wire.protocol.rang(Alarm("other", "1", ANSWER_S)) == []


def test_a_result_that_is_not_answered_holds_up_nothing_for_ever() -> None:
    wire = Wire(tools=(STOCK,)).ready()
    wire.call()
    wire.protocol.tool_result("fc_1", {})
    (alarm,) = wire.protocol.alarms()
    assert kinds(list(wire.protocol.rang(alarm))) == ["ResponseEnded"]
    assert not wire.protocol.response_active
    wire.told()
    wire.protocol.user_text("1")
    assert wire.told() == [asked("1")]


# Audio up, and turns that the bridge decides


def test_the_callers_audio_is_pcm_of_16_khz() -> None:
    message = orjson.loads(Wire().protocol.audio_message(b"\1\2\3\4"))
    assert problems(message) == []
    sent = message["realtimeInput"]["audio"]
    assert sent == {"mimeType": "audio/pcm;rate=16000", "data": base64.b64encode(b"\1\2\3\4").decode()}


START, END = ({"realtimeInput": {name: {}}} for name in ("activityStart", "activityEnd"))


def test_without_turn_detection_the_bridge_says_when_the_caller_speaks() -> None:
    wire = Wire(turn_detection=None)
    wire.told()
    wire.say(setupComplete={})
    assert wire.told() == [START]
    wire.protocol.commit()
    wire.protocol.respond()
    assert wire.told() == [END], "the service answers by itself"
    assert wire.protocol.response_active
    wire.speak("Yes.")
    wire.content(generationComplete=True)
    assert wire.told() == []
    wire.content(turnComplete=True)
    assert wire.told() == [START]


def test_the_callers_turn_begins_after_the_greeting() -> None:
    wire = Wire(turn_detection=None, greeting="Hi").ready()
    assert wire.told() == []
    wire.protocol.greet()
    assert "clientContent" in wire.told()[0]
    wire.speak("Hello.")
    wire.complete()
    assert wire.told() == [START]


def test_an_interruption_by_the_bridge_begins_the_callers_turn() -> None:
    wire = Wire(turn_detection=None).ready()
    wire.protocol.commit()
    item = wire.speak("Once upon")
    wire.told()
    wire.protocol.interrupted([Heard(item, 10)], by_server=False)
    assert wire.told() == [START]
    wire.protocol.interrupted([], by_server=False)
    assert wire.told() == []


def test_a_turn_that_was_not_answered_does_not_leave_the_service_deaf() -> None:
    wire = Wire(turn_detection=None).ready()
    wire.protocol.commit()
    wire.told()
    wire.protocol.commit()
    assert wire.told() == [START]


def test_where_the_service_decides_a_commit_says_nothing() -> None:
    wire = Wire().ready()
    wire.protocol.commit()
    assert wire.told() == []


# The end


def test_the_newest_handle_that_can_be_resumed_is_kept() -> None:
    wire = Wire().ready()
    for update in (
        {"newHandle": "one", "resumable": True},
        {"newHandle": "two", "resumable": True},
        {"newHandle": "three", "resumable": False},
        {"newHandle": "", "resumable": True},
        {"resumable": True},
        {},
    ):
        assert wire.say(sessionResumptionUpdate=update) == []
    assert wire.protocol.resumption == "two"
    assert wire.counts == (0, 0)
    wire.say(sessionResumptionUpdate={"newHandle": "x" * 10_000, "resumable": True})
    wire.say(sessionResumptionUpdate={"newHandle": 5, "resumable": True})
    assert (wire.protocol.resumption, wire.counts) == ("two", (2, 0))


@pytest.mark.parametrize(("left", "seconds"), [("50s", 50.0), ("9.5s", 9.5), (None, 10.0), ("soon", 10.0), (5, 10.0)])
def test_the_end_is_announced_even_when_its_time_is_not(left: Any, seconds: float) -> None:
    assert Wire().ready().say(goAway={} if left is None else {"timeLeft": left}) == [ev.GoingAway(seconds)]


@pytest.mark.parametrize(
    ("code", "reason", "final"),
    [
        (1007, "API key not valid. Please pass a valid API key.", True),
        (1007, "Request contains an invalid argument.", False),
        (1008, "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent.", True),
        (1008, "Operation is not implemented, or supported, or enabled.", False),
        (1008, "Requested entity was not found.", False),
        (1008, "The operation was aborted.", False),
        (1011, "You exceeded your current quota, please check your plan and billing details.", True),
        (1011, "Deadline expired before operation could complete.", False),
        (1000, "", False),
        (1006, "", False),
    ],
)
def test_only_the_reason_tells_whether_a_close_is_final(code: int, reason: str, final: bool) -> None:
    assert GeminiProtocol(SessionOptions(Linear(16000))).is_final_close(code, reason) is final


def test_no_close_code_is_final_by_itself() -> None:
    assert not any(Wire().protocol.is_final_close(code, "") for code in (*FINAL_CLOSE_CODES, 1000, 1006))


def test_a_frame_of_parts_without_end_is_dropped() -> None:
    wire = Wire().ready()
    part = audio(b"\1\0")["modelTurn"]["parts"][0]
    assert wire.content(modelTurn={"parts": [part] * 257}) == []
    assert wire.protocol.malformed == 1
    assert wire.content(modelTurn={"parts": [part] * 256}) != []
