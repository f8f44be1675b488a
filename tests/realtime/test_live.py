"""The protocol object of OpenAI Live, frame by frame, without a socket."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law, encode
from bridge.realtime import events as ev
from bridge.realtime.history import AgentWords, CallerWords, History, Note, ToolUse
from bridge.realtime.live.protocol import LiveProtocol, Stage
from bridge.realtime.live.track import CUT_ENDS_MS, ITEM_ENDS_MS, STALLED_MS
from bridge.realtime.options import SessionOptions
from tests.servers.live_types import problems

HANG_UP = {"type": "function", "name": "hang_up", "description": "End the call.", "parameters": {"type": "object"}}


@dataclass(frozen=True)
class Heard:
    item_id: str
    sent_ms: int


def tone(ms: int, audio: Format = Law.PCMU) -> bytes:
    """A square wave, loud enough for every gate."""
    half = audio.rate // 1000
    pcm = (b"\x00\x20" * half + b"\x00\xe0" * half) * (ms // 2)
    return encode(pcm, audio) if isinstance(audio, Law) else pcm


class Wire:
    """A protocol object with a server's voice: `say` feeds it, `told` gives what it wants to send, checked."""

    def __init__(self, history: History | None = None, **options: Any) -> None:
        self.audio: Format = options.pop("audio", Law.PCMU)
        self.protocol = LiveProtocol(SessionOptions(self.audio, **options), history or History())

    def say(self, kind: str, **members: Any) -> list[ev.Event]:
        return list(self.protocol.receive(orjson.dumps({"type": kind, "event_id": "e", **members})))

    def told(self) -> list[dict[str, Any]]:
        messages = [orjson.loads(message) for message in self.protocol.data_to_send()]
        for message in messages:
            assert problems(message, "client") == [], message
        return messages

    def start(self) -> dict[str, Any]:
        self.protocol.begin()
        (start,) = self.told()
        assert start["type"] == "session.start"
        return dict(start["session"])

    def started(self, wire: Any = None, **session: Any) -> list[ev.Event]:
        rate = self.audio.rate
        kind = {Law.PCMU: "audio/pcmu", Law.PCMA: "audio/pcma"}.get(self.audio, "audio/pcm")  # type: ignore[call-overload]
        known = {"id": "live_1", "model": "gpt-live-1", "expires_at": 1794000000, "status": "active"}
        audio = {"audio": {"format": wire or {"type": kind, "rate": rate}}}
        return self.say("session.started", session=known | audio | session)

    def ready(self) -> Wire:
        self.start()
        assert [type(event) for event in self.started()] == [ev.Ready]
        return self

    def pass_time(self, ms: int) -> None:
        """The caller's audio, which is the session's clock."""
        self.protocol.audio_message(silence_of(ms, self.audio))

    def sound(self, ms: int = 100, *, with_time: bool = True) -> list[ev.Event]:
        return self.track(tone(ms, self.audio), ms if with_time else 0)

    def silence(self, ms: int) -> list[ev.Event]:
        found: list[ev.Event] = []
        for _ in range(ms // 100):
            found += self.track(silence_of(100, self.audio), 100)
        return found

    def track(self, audio: bytes, ms: int = 0) -> list[ev.Event]:
        self.pass_time(ms)
        return self.say("session.output_audio.delta", delta=base64.b64encode(audio).decode())

    def agent_text(self, words: str, start_ms: int, end_ms: int) -> list[ev.Event]:
        return self.say("session.output_transcript.delta", delta=words, start_ms=start_ms, end_ms=end_ms)

    def caller_text(self, words: str, start_ms: int, end_ms: int) -> list[ev.Event]:
        return self.say("session.input_transcript.delta", delta=words, start_ms=start_ms, end_ms=end_ms)

    def backend(self, kind: str, delegation: str | None = "item_k", **members: Any) -> list[ev.Event]:
        return self.say("response.event", delegation_id=delegation, event={"type": kind, **members})

    def call(self, call_id: str, name: str = "hang_up", delegation: str | None = "item_k") -> list[ev.Event]:
        item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}", "status": "completed"}
        return self.backend("response.output_item.done", delegation, item=item)

    def created(self, response: str, delegation: str | None = "item_k") -> None:
        self.backend("response.created", delegation, response={"id": response})

    def completed(self, response: str, delegation: str | None = "item_k", **more: Any) -> list[ev.Event]:
        return self.backend("response.completed", delegation, response={"id": response, **more})


def audio_of(events: Sequence[ev.Event]) -> bytes:
    return b"".join(event.audio for event in events if isinstance(event, ev.AudioDelta))


def kinds(events: Sequence[ev.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# Start


def test_the_client_speaks_first_and_asks_for_the_callers_own_law() -> None:
    wire = Wire(audio=Law.PCMA, instructions="Be brief.", voice="cedar")
    assert wire.protocol.data_to_send() == []
    session = wire.start()
    assert session == {
        "model": "gpt-live-1",
        "instructions": "Be brief.",
        "audio": {"format": {"type": "audio/pcma", "rate": 8000}, "output": {"voice": "cedar"}},
    }


def test_pcm_is_asked_for_at_the_rate_it_has() -> None:
    assert Wire(audio=Linear(24000)).start()["audio"] == {"format": {"type": "audio/pcm", "rate": 24000}}
    assert Wire(audio=Linear(48000)).start()["audio"] == {"format": {"type": "audio/pcm", "rate": 24000}}


def test_fields_of_other_providers_stay_out_of_the_strict_session() -> None:
    session = Wire(
        speed=1.2,
        turn_detection={"type": "server_vad"},
        transcription={"model": "x"},
        noise_reduction={"type": "far_field"},
        truncation="auto",
        max_output_tokens="inf",
    ).start()
    assert set(session) == {"model", "audio"}
    backend = Wire(tools=(HANG_UP,), max_output_tokens="inf").start()["delegation"]["responses"]
    assert "max_output_tokens" not in backend


def test_tools_are_had_by_delegation_to_a_backend_of_the_service() -> None:
    session = Wire(instructions="Sell bicycles.", tools=(HANG_UP,), reasoning_effort="low", tool_choice="auto").start()
    assert session["delegation"] == {
        "type": "responses",
        "responses": {
            "model": "gpt-5.6-luna",
            "instructions": "Sell bicycles.",
            "tools": [HANG_UP],
            "parallel_tool_calls": False,
            "reasoning": {"effort": "low"},
            "tool_choice": "auto",
        },
    }


def test_the_voice_is_told_what_it_can_have_done() -> None:
    instructions = Wire(instructions="Sell bicycles.", tools=(HANG_UP,)).start()["instructions"]
    assert instructions.startswith("Sell bicycles.\n\n")
    assert "- hang_up: End the call." in instructions


def test_of_a_tool_only_what_the_service_documents_is_told() -> None:
    session = Wire(tools=(HANG_UP | {"timeout_s": 3}, {"type": "web_search"})).start()
    assert session["delegation"]["responses"]["tools"] == [HANG_UP, {"type": "web_search"}]


def test_the_language_stands_in_the_instructions_for_want_of_a_field() -> None:
    assert "ISO 639-1 code: de" in Wire(language="de").start()["instructions"]


def test_extra_fields_are_merged_into_the_session_object_by_object() -> None:
    extra = {
        "store": False,
        "delegation": {"acknowledgement_delay_ms": 300, "responses": {"model": "gpt-5.6-terra"}},
        "audio": {"output": {"voice": {"id": "voice_1"}}},
    }
    session = Wire(tools=(HANG_UP,), extra=extra).start()
    assert session["store"] is False
    assert session["delegation"]["acknowledgement_delay_ms"] == 300
    assert session["delegation"]["responses"]["model"] == "gpt-5.6-terra"
    assert session["delegation"]["responses"]["tools"] == [HANG_UP]
    assert session["audio"] == {"format": {"type": "audio/pcmu", "rate": 8000}, "output": {"voice": {"id": "voice_1"}}}


def test_a_backend_can_be_had_without_tools_and_left_out_with_them() -> None:
    search = {"model": "gpt-5.6-terra", "tools": [{"type": "web_search"}]}
    named = {"delegation": {"type": "responses", "responses": search}}
    assert Wire(extra=named).start()["delegation"]["responses"]["tools"] == [{"type": "web_search"}]
    client = {"delegation": {"type": "client"}}
    assert Wire(tools=(HANG_UP,), extra=client).start()["delegation"] == {"type": "client"}


def test_ready_tells_what_is_in_force() -> None:
    wire = Wire()
    wire.start()
    assert wire.started() == [ev.Ready("live_1", "gpt-live-1", Law.PCMU, Law.PCMU, "", 1794000000.0)]
    assert wire.protocol.stage is Stage.READY


def test_another_format_than_asked_for_is_a_fact() -> None:
    wire = Wire()
    wire.start()
    (ready,) = wire.started({"type": "audio/pcm", "rate": 24000})
    assert isinstance(ready, ev.Ready)
    assert (ready.audio_in, ready.audio_out) == (Linear(24000), Linear(24000))
    assert "PCMU" in ready.fell_back and "PCM24" in ready.fell_back
    wire.protocol.audio_message(bytes(4800))
    assert wire.protocol.clock_ms == 100, "the clock counts in the format in force"


@pytest.mark.parametrize(
    "told", [{"type": "audio/opus", "rate": 48000}, {"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 8000}, "pcmu"]
)
def test_a_format_that_is_not_known_ends_it(told: Any) -> None:
    wire = Wire()
    wire.start()
    (error,) = wire.started(told)
    assert isinstance(error, ev.SessionError)
    assert (error.code, error.fatal) == ("format_mismatch", True)


def test_a_second_start_changes_nothing() -> None:
    wire = Wire().ready()
    assert wire.started({"type": "audio/pcm", "rate": 24000}) == []
    assert wire.protocol.malformed == 1
    assert audio_of(wire.sound(100)) == tone(100)


# History


def test_what_was_said_before_goes_in_as_input() -> None:
    turns = (
        CallerWords("a", "Is my bike ready?"),
        AgentWords("b", "Yes."),
        ToolUse("c", "price", '{"bike":1}', '{"euros":84}'),
        Note("The caller pressed 1."),
        CallerWords("d", "", audio=b"\xff"),
        AgentWords("e", ""),
    )
    said = [(item["role"], item["content"][0]["text"]) for item in Wire(History(turns)).start()["input"]]
    assert said == [
        ("user", "Is my bike ready?"),
        ("assistant", "Yes."),
        ("developer", 'price was called with {"bike":1}. Its result: {"euros":84}'),
        ("developer", "The caller pressed 1."),
        ("developer", "(The caller said something that could not be transcribed.)"),
    ]


def texts(history: History) -> list[str]:
    return [item["content"][0]["text"] for item in Wire(history).start()["input"]]


def test_as_many_messages_as_the_service_takes_go_in_whole() -> None:
    words = [f"turn {number}" for number in range(128)]
    assert texts(History(tuple(CallerWords(word, word) for word in words))) == words


def test_of_more_messages_the_newest_are_kept_behind_a_note() -> None:
    words = [f"turn {number}" for number in range(129)]
    told = texts(History(tuple(CallerWords(word, word) for word in words)))
    assert len(told) == 128
    assert "began earlier" in told[0]
    assert told[1:] == words[2:]


def test_of_more_tokens_the_newest_are_kept_behind_a_note() -> None:
    words = [f"{number:03}" * 500 for number in range(20)]  # 500 tokens each
    told = texts(History(tuple(CallerWords(word, word) for word in words)))
    assert "began earlier" in told[0]
    assert told[1:] == words[4:], "sixteen turns fit into 8,192 tokens"


def test_one_long_result_does_not_push_out_the_conversation() -> None:
    told = texts(History((CallerWords("a", "Hello"), ToolUse("b", "read", "{}", "x" * 100_000))))
    assert told[0] == "Hello"
    assert told[1].endswith("…") and len(told[1]) <= 6000


# Sound


def test_silence_alone_is_no_item_and_is_not_passed_on() -> None:
    wire = Wire().ready()
    assert wire.silence(5000) == []
    assert not wire.protocol.response_active


@pytest.mark.parametrize("audio", [Law.PCMU, Law.PCMA, Linear(16000), Linear(24000)])
def test_an_item_begins_with_sound_and_ends_after_the_gate_was_silent(audio: Format) -> None:
    wire = Wire(audio=audio).ready()
    wire.silence(300)
    begun = wire.sound(100)
    assert kinds(begun) == ["Placed", "AudioDelta"]
    assert wire.protocol.response_active
    rest = wire.silence(ITEM_ENDS_MS - 100)
    assert kinds(rest) == ["AudioDelta"] * 7, "a pause within an item is part of it"
    end = wire.silence(100)
    assert kinds(end) == ["AudioDelta", "AudioEnd", "ResponseEnded"]
    assert not wire.protocol.response_active
    assert audio_of(wire.sound(100)) == tone(100, audio), "what is passed on is not passed on again"
    wire.silence(ITEM_ENDS_MS)
    assert wire.silence(1000) == []
    per_ms = audio.bytes_per_ms
    assert len(audio_of([*begun, *rest, *end])) == (60 + 100 + ITEM_ENDS_MS) * per_ms


def test_soft_beginnings_are_kept_by_a_pre_roll() -> None:
    wire = Wire().ready()
    wire.track(b"\xfe" * 800)  # the smallest steps of the law: below the gate
    assert audio_of(wire.sound(100)) == b"\xfe" * 480 + tone(100)


def test_each_item_has_an_id_of_its_own_across_sessions() -> None:
    first, second = Wire().ready(), Wire()
    second.start()
    second.started(id="live_2")
    ids = []
    for wire in (first, second):
        for _ in range(2):
            (_, delta) = wire.sound(100)
            assert isinstance(delta, ev.AudioDelta)
            ids.append(delta.item_id)
            wire.silence(1000)
    assert ids == ["live_1-1", "live_1-2", "live_2-1", "live_2-2"]


def test_pieces_of_any_size_make_the_same_items() -> None:
    track = silence_of(200, Linear(24000)) + tone(100, Linear(24000)) + silence_of(900, Linear(24000))
    found = []
    for size in (1, 7, 961, 4800, len(track)):
        wire = Wire(audio=Linear(24000)).ready()
        events = [event for at in range(0, len(track), size) for event in wire.track(track[at : at + size])]
        found.append((audio_of(events).strip(b"\0"), kinds(events).count("AudioEnd")))
    assert found == [(tone(100, Linear(24000)).strip(b"\0"), 1)] * 5


def test_where_silence_is_left_out_an_item_ends_by_the_callers_clock() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.pass_time(STALLED_MS)
    assert kinds(wire.say("info", code="c", message="m")) == []
    wire.pass_time(100)
    assert kinds(wire.say("info", code="c", message="m")) == ["AudioEnd", "ResponseEnded"]
    assert kinds(wire.sound(100)) == ["Placed", "AudioDelta"]


def test_a_burst_of_late_deltas_is_one_item_and_passes_whole() -> None:
    wire = Wire().ready()
    wire.pass_time(3000)
    found = [event for _ in range(30) for event in wire.sound(100, with_time=False)]
    assert kinds(found) == ["Placed"] + ["AudioDelta"] * 30
    assert audio_of(found) == tone(3000)


def test_audio_outside_the_session_is_dropped_and_counted() -> None:
    wire = Wire()
    wire.start()
    assert wire.sound(100) == []
    assert wire.protocol.malformed == 1


# Interruption


def test_an_interruption_tells_the_service_nothing_and_the_transcript_what_was_heard() -> None:
    wire = Wire(far_end_delay_ms=50).ready()
    wire.sound(500)
    for by_server in (True, False):
        cuts = wire.protocol.interrupted([Heard("live_1-1", 400), Heard("other", 20)], by_server=by_server)
        assert cuts == [ev.Truncated("live_1-1", 350), ev.Truncated("other", 0)]
    assert wire.told() == []


def test_a_cut_item_is_dropped_until_the_next_pause_and_counted() -> None:
    wire = Wire().ready()
    wire.sound(500)
    wire.protocol.interrupted([Heard("live_1-1", 300)], by_server=False)
    assert wire.sound(400) == [] and wire.sound(400) == []
    assert wire.protocol.late_deltas == 2
    assert kinds(wire.silence(CUT_ENDS_MS)) == ["AudioEnd", "ResponseEnded"]
    assert kinds(wire.sound(100)) == ["Placed", "AudioDelta"]
    assert wire.protocol.late_deltas == 2


def test_an_agent_nobody_listens_to_is_cut_though_nothing_of_it_was_played() -> None:
    wire = Wire().ready()
    wire.sound(100)
    assert wire.protocol.interrupted([], by_server=False) == []
    assert wire.sound(100) == []


def test_the_silence_after_a_cut_is_not_played() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.silence(200)
    wire.protocol.interrupted([Heard("live_1-1", 100)], by_server=False)
    assert audio_of(wire.silence(100)) == b""


def test_an_agent_that_never_pauses_is_heard_again_some_time() -> None:
    wire = Wire().ready()
    wire.sound(500)
    wire.protocol.interrupted([Heard("live_1-1", 300)], by_server=False)
    heard = [event for _ in range(100) for event in wire.sound(100)]
    assert kinds(heard)[:4] == ["AudioEnd", "ResponseEnded", "Placed", "AudioDelta"]
    assert len(audio_of(heard)) == 2000 * 8


def test_an_interruption_between_items_drops_nothing() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.silence(1000)
    assert wire.protocol.interrupted([Heard("live_1-1", 90)]) == [ev.Truncated("live_1-1", 90)]
    assert audio_of(wire.sound(100)).endswith(tone(100))


# Transcripts


def test_fragments_of_the_caller_become_one_line_when_no_more_come() -> None:
    wire = Wire().ready()
    assert wire.caller_text("Is my", 100, 500) == [ev.Placed("live_1-1", "caller")]
    assert wire.caller_text(" bike ready?", 600, 1400) == []
    assert wire.silence(1400) == []
    wire.pass_time(100)
    said = wire.say("session.usage.updated", usage={"seconds": 0})
    assert said == [ev.Committed("live_1-1"), ev.CallerSaid("live_1-1", "Is my bike ready?")]


def test_a_pause_of_the_caller_begins_a_new_line() -> None:
    wire = Wire().ready()
    wire.caller_text("One.", 0, 500)
    found = wire.caller_text("Two.", 1301, 1500)
    assert found[-2:] == [ev.CallerSaid("live_1-1", "One."), ev.Placed("live_1-2", "caller")]
    assert wire.caller_text(" Three.", 2300, 2500) == [], "800 ms is no pause"


def test_an_answer_within_the_pause_begins_a_new_line_of_the_caller() -> None:
    wire = Wire().ready()
    wire.caller_text("One.", 0, 500)
    wire.agent_text("Mhm.", 600, 700)
    assert "CallerSaid" in kinds(wire.caller_text("Two.", 800, 900))


def test_text_before_its_sound_gives_the_item_its_id() -> None:
    wire = Wire().ready()
    assert wire.agent_text("Good", 100, 200) == [
        ev.Placed("live_1-1", "agent"),
        ev.AgentSaying("live_1-1", "Good"),
    ]
    (delta,) = wire.sound(100)
    assert isinstance(delta, ev.AudioDelta) and delta.item_id == "live_1-1"
    assert wire.agent_text(" morning", 200, 300) == [ev.AgentSaying("live_1-1", " morning")]


def test_sound_before_its_text_gives_the_text_its_item() -> None:
    wire = Wire().ready()
    wire.sound(100)
    assert wire.agent_text("Good", 0, 100) == [ev.AgentSaying("live_1-1", "Good")]


def test_the_whole_text_of_an_item_comes_when_it_is_over() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("Good", 0, 100)
    wire.agent_text(" morning.", 100, 200)
    events = wire.silence(2000)
    assert [event for event in events if isinstance(event, ev.AgentSaid)] == [ev.AgentSaid("live_1-1", "Good morning.")]
    assert kinds(events).index("AudioEnd") < kinds(events).index("AgentSaid")


def test_a_late_fragment_belongs_to_the_item_that_has_just_ended() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("Good", 0, 400)
    wire.silence(900)
    assert wire.agent_text(" morning.", 400, 800) == [ev.AgentSaying("live_1-1", " morning.")]


def test_what_is_heard_as_one_has_one_text_whatever_its_times() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("One", 0, 100)
    found = [event for _ in range(20) for event in wire.sound(100)]
    assert kinds(found) == ["AudioDelta"] * 20, "its text is not whole before its sound is"
    assert wire.agent_text(" and more.", 2000, 2100) == [ev.AgentSaying("live_1-1", " and more.")]


def test_what_is_heard_apart_has_two_texts_whatever_their_times() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("One.", 0, 500)
    wire.silence(800)
    (placed, _) = wire.sound(100)
    assert placed == ev.Placed("live_1-2", "agent")
    assert wire.agent_text("Two.", 600, 700) == [ev.AgentSaid("live_1-1", "One."), ev.AgentSaying("live_1-2", "Two.")]


def test_text_of_what_comes_next_may_come_in_the_pause_before_it() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("One.", 0, 100)
    wire.silence(700)
    assert wire.agent_text("Two.", 1000, 1100)[-2:] == [
        ev.Placed("live_1-2", "agent"),
        ev.AgentSaying("live_1-2", "Two."),
    ]
    wire.silence(200)
    assert wire.sound(100)[-1] == ev.AudioDelta("live_1-2", b"\xff" * 480 + tone(100))


def test_two_items_have_two_texts() -> None:
    wire = Wire().ready()
    for words, start in (("One.", 0), ("Two.", 1100)):
        wire.sound(100)
        wire.agent_text(words, start, start + 100)
        wire.silence(1000)
    said = [event for event in wire.silence(2000) if isinstance(event, ev.AgentSaid)]
    assert said == [ev.AgentSaid("live_1-2", "Two.")]


def test_lines_are_placed_by_the_time_they_began() -> None:
    wire = Wire().ready()
    wire.agent_text("First.", 0, 100)
    wire.agent_text("Last.", 3000, 3500)
    placed = [event for event in wire.caller_text("Between.", 1000, 1500) if isinstance(event, ev.Placed)]
    assert placed == [ev.Placed("live_1-3", "caller", "live_1-1"), ev.Placed("live_1-2", "agent", "live_1-3")]


def test_words_before_everything_else_push_the_first_line_behind_them() -> None:
    wire = Wire().ready()
    wire.pass_time(1500)
    wire.sound(100)
    placed = wire.caller_text("Hello?", 200, 700)
    assert placed == [ev.Placed("live_1-2", "caller"), ev.Placed("live_1-1", "agent", "live_1-2")]


def test_a_fragment_that_is_much_too_late_is_a_line_in_its_place() -> None:
    wire = Wire().ready()
    wire.caller_text("One.", 0, 500)
    wire.caller_text("Three.", 5000, 5500)
    found = wire.caller_text("Two.", 2000, 2500)
    assert found == [
        ev.Placed("live_1-3", "caller", "live_1-1"),
        ev.Placed("live_1-2", "caller", "live_1-3"),
        ev.CallerSaid("live_1-3", "Two."),
    ]
    assert wire.caller_text(" Four.", 5600, 6000) == [], "the line that is open goes on"
    wire.agent_text("Six.", 8000, 8500)
    assert wire.agent_text("Five.", 6500, 7000)[-1] == ev.AgentSaid("live_1-5", "Five.")


def test_an_answer_that_is_heard_ends_the_line_of_the_caller() -> None:
    wire = Wire().ready()
    wire.caller_text("Ready?", 0, 100)
    found = wire.sound(100)
    assert kinds(found) == ["Committed", "CallerSaid", "Placed", "AudioDelta"]


def test_words_of_the_caller_that_come_during_the_answer_stand_before_it_and_are_told_soon() -> None:
    wire = Wire().ready()
    wire.pass_time(1000)
    wire.sound(100)
    assert wire.caller_text("Ready?", 0, 500)[0] == ev.Placed("live_1-2", "caller")
    said = [event for _ in range(8) for event in wire.sound(100) if isinstance(event, ev.CallerSaid)]
    assert said == [ev.CallerSaid("live_1-2", "Ready?")]


def test_a_line_without_end_is_cut() -> None:
    wire = Wire().ready()
    said = []
    for number in range(200):
        said += wire.caller_text("x" * 100, number * 100, number * 100 + 100)
    lines = [event.text for event in said if isinstance(event, ev.CallerSaid)]
    assert lines and max(map(len, lines)) <= 8100


# What the voice is told


def appended(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    for message in messages:
        assert message["delegation_id"] is None
    return [(message["type"].split(".")[1], message["content"]) for message in messages]


def test_the_greeting_is_an_instruction_not_to_wait() -> None:
    wire = Wire(greeting="Adler bicycles, good day.").ready()
    wire.protocol.greet()
    ((kind, words),) = appended(wire.told())
    assert kind == "instructions"
    assert "Adler bicycles, good day." in words and "without waiting" in words and "pause and listen" in words


def test_without_a_greeting_the_caller_speaks_first() -> None:
    wire = Wire().ready()
    wire.protocol.greet()
    assert wire.told() == []


def test_an_answer_is_on_its_way_from_the_request_to_its_sound() -> None:
    wire = Wire().ready()
    wire.protocol.instruct("Say goodbye.")
    assert wire.protocol.response_active
    wire.silence(4000)
    wire.sound(100)
    assert kinds(wire.silence(800))[-1] == "ResponseEnded"
    assert not wire.protocol.response_active


def test_a_request_that_nothing_comes_of_is_over_some_time() -> None:
    wire = Wire().ready()
    wire.protocol.instruct("Say goodbye.")
    wire.pass_time(4990)
    assert wire.protocol.response_active
    wire.pass_time(10)
    assert wire.silence(100) == [ev.ResponseEnded("live_1", "completed", "")]
    assert wire.silence(100) == []


def test_what_the_agent_is_told_silently_and_aloud() -> None:
    wire = Wire().ready()
    protocol = wire.protocol
    protocol.instruct("Say goodbye.")
    protocol.go_on()
    protocol.respond()
    protocol.remember([CallerWords("a", "Yes"), AgentWords("b", "No"), Note("Music played.")])
    protocol.remember([])
    protocol.correct("b", "Half")
    protocol.correct("b", "")
    told = appended(wire.told())
    assert [kind for kind, _ in told] == ["instructions"] * 3 + ["thinking"] * 3
    assert told[0][1] == "Say goodbye."
    assert told[3][1] == "The caller said: Yes\nThe agent said: No\nMusic played."
    assert '"Half"' in told[4][1] and "not heard" in told[5][1]


def test_what_is_remembered_may_be_answered() -> None:
    wire = Wire().ready()
    wire.protocol.remember([ToolUse("c", "price", "{}", "84")], respond=True)
    assert [kind for kind, _ in appended(wire.told())] == ["thinking", "instructions"]


def test_digits_reach_the_voice_as_quoted_words() -> None:
    wire = Wire().ready()
    wire.protocol.user_text('Press "2".', respond=False)
    wire.protocol.user_text("The caller pressed 2.")
    (silent, aloud) = appended(wire.told())
    assert silent[0] == "thinking" and r'"Press \"2\"."' in silent[1]
    assert aloud[0] == "instructions" and "no instruction" in aloud[1] and "React to it now." in aloud[1]


def test_digits_reach_the_backend_too_and_do_not_start_it() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.protocol.user_text("The caller pressed 2.")
    item, instructions = wire.told()
    assert item["item"]["content"] == [{"type": "input_text", "text": "The caller pressed 2."}]
    assert instructions["type"] == "session.instructions.append"


def test_long_words_go_in_pieces_the_service_takes() -> None:
    wire = Wire().ready()
    sentence = "This is one of many sentences, each as long as the other. "
    wire.protocol.instruct(sentence * 100)
    told = [words for _, words in appended(wire.told())]
    assert all(len(words) <= 1500 and words.endswith(".") for words in told)
    assert " ".join(told) == (sentence * 100).strip()


def test_what_has_no_counterpart_sends_nothing() -> None:
    wire = Wire().ready()
    wire.protocol.commit()
    wire.protocol.forget("live_1-1")
    assert wire.told() == []


# Tools


def test_a_tool_call_is_told_once_and_its_result_lets_the_backend_go_on() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    assert wire.call("call_1") == [ev.ToolCall("call_1", "hang_up", "{}")]
    assert wire.call("call_1") == []
    wire.completed("resp_1")
    assert wire.protocol.response_active
    wire.protocol.tool_result("call_1", {"ok": True})
    output, create = wire.told()
    assert output["item"] == {"type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'}
    assert create["type"] == "response.create"


def test_one_response_create_follows_the_last_result_of_a_response() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    wire.call("call_2")
    wire.completed("resp_1")
    wire.protocol.tool_result("call_2", {})
    assert [message["type"] for message in wire.told()] == ["response.item.create"]
    wire.protocol.tool_result("call_1", {})
    assert [message["type"] for message in wire.told()] == ["response.item.create", "response.create"]


def test_a_result_before_the_end_of_its_response_waits_for_it() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    wire.protocol.tool_result("call_1", {})
    assert [message["type"] for message in wire.told()] == ["response.item.create"]
    wire.completed("resp_1")
    assert [message["type"] for message in wire.told()] == ["response.create"]


def test_no_response_is_asked_for_while_another_is_made() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    wire.completed("resp_1")
    wire.created("resp_2", "item_2")
    wire.protocol.tool_result("call_1", {})
    assert [message["type"] for message in wire.told()] == ["response.item.create"]
    wire.completed("resp_2", "item_2")
    assert [message["type"] for message in wire.told()] == ["response.create"]


def test_no_response_is_asked_for_while_one_is_asked_for_already() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    for number in (1, 2):
        wire.created(f"resp_{number}", f"item_{number}")
        wire.call(f"call_{number}", delegation=f"item_{number}")
        wire.completed(f"resp_{number}", f"item_{number}")
    wire.protocol.tool_result("call_1", {})
    wire.protocol.tool_result("call_2", {})
    creates = [message for message in wire.told() if message["type"] == "response.create"]
    assert len(creates) == 1
    wire.created("resp_3")
    wire.completed("resp_3")
    assert [message["type"] for message in wire.told()] == ["response.create"]


def test_a_result_nobody_shall_speak_about_starts_nothing_and_ends_the_answer() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    wire.protocol.tool_result("call_1", {}, respond=False)
    assert wire.completed("resp_1") == [ev.ResponseEnded("live_1", "completed", "")]
    assert [message["type"] for message in wire.told()] == ["response.item.create"]
    assert not wire.protocol.response_active


def test_the_end_of_work_is_not_told_while_the_agent_still_speaks() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.sound(100)
    assert wire.completed("resp_1") == []
    assert kinds(wire.silence(800))[-2:] == ["AudioEnd", "ResponseEnded"]


def test_results_that_nobody_waits_for_are_not_sent() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    wire.completed("resp_1")
    wire.protocol.tool_result("unknown", {})
    wire.protocol.tool_result("call_1", {})
    wire.told()
    wire.protocol.tool_result("call_1", {})
    assert wire.told() == []


def test_calls_of_a_failed_response_are_void() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    wire.call("call_1")
    found = wire.backend("response.failed", response={"id": "resp_1", "error": {"code": "insufficient_quota"}})
    assert found[0] == ev.ToolCancelled("call_1")
    error = found[1]
    assert isinstance(error, ev.SessionError) and error.code == "insufficient_quota"
    assert not error.fatal, "the voice goes on"
    wire.protocol.tool_result("call_1", {})
    assert wire.told() == []


def test_an_unfinished_call_is_none() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a', "status": "incomplete"}
    assert wire.backend("response.output_item.done", item=item) == []


def test_a_refused_response_is_asked_for_again_when_another_is_over() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    for number in (1, 2):
        wire.created(f"resp_{number}", f"item_{number}")
        wire.call(f"call_{number}", delegation=f"item_{number}")
        wire.completed(f"resp_{number}", f"item_{number}")
    wire.protocol.tool_result("call_1", {})
    create = wire.told()[-1]
    refusal = {"type": "invalid_request_error", "code": "x", "message": "", "client_event_id": create["event_id"]}
    wire.say("error", error=refusal)
    assert wire.told() == []
    wire.protocol.tool_result("call_2", {}, respond=False)
    assert [message["type"] for message in wire.told()] == ["response.item.create", "response.create"]


def test_a_stream_without_delegation_or_announcement_still_works() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    assert kinds(wire.call("call_1", delegation=None)) == ["ToolCall"]
    wire.completed("resp_9", None)
    wire.protocol.tool_result("call_1", {})
    assert [message["type"] for message in wire.told()] == ["response.item.create", "response.create"]


def test_work_for_nobody_is_answered_so_that_the_voice_does_not_wait() -> None:
    wire = Wire().ready()
    delegation = {"id": "item_k3v", "type": "delegation", "target": "client"}
    assert wire.say("session.delegation.created", offset_ms=1, delegation=delegation) == []
    (answer,) = wire.told()
    assert (answer["type"], answer["delegation_id"]) == ("session.commentary.append", "item_k3v")


def test_work_for_the_backend_is_left_to_it() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    delegation = {"id": "item_k3v", "type": "delegation", "target": "responses", "response_id": "resp_1"}
    wire.say("session.delegation.created", offset_ms=1, delegation=delegation)
    assert wire.told() == []


# Usage, errors, end


def test_usage_is_the_difference_to_the_last_report() -> None:
    wire = Wire().ready()
    assert wire.say("session.usage.updated", usage={"seconds": 15}) == [ev.Usage("gpt-live-1", seconds=15.0)]
    assert wire.say("session.usage.updated", usage={"seconds": 30.5}) == [ev.Usage("gpt-live-1", seconds=15.5)]
    assert wire.say("session.usage.updated", usage={"seconds": 20}) == []
    found = wire.say("session.closed", reason="expired", usage={"seconds": 31.0}, session={})
    assert found == [ev.Usage("gpt-live-1", seconds=0.5), ev.GoingAway(0.0)]


def test_tokens_of_the_backend_are_told_by_kind() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("resp_1")
    usage = {"input_tokens": 310, "output_tokens": 25, "input_tokens_details": {"cached_tokens": 10}}
    (told, _) = wire.completed("resp_1", usage=usage)
    assert told == ev.Usage("gpt-5.6-luna", {"text_in": 300, "text_cached": 10, "text_out": 25})


@pytest.mark.parametrize(
    "code", ["invalid_api_key", "insufficient_quota", "credit_balance_exhausted", "model_not_found"]
)
def test_errors_that_no_session_survives(code: str) -> None:
    error = {"type": "invalid_request_error", "code": code, "message": "no"}
    (told,) = Wire().ready().say("error", error=error)
    assert told == ev.SessionError(code, "no", fatal=True)


def test_every_error_before_the_start_is_fatal() -> None:
    wire = Wire()
    wire.start()
    error = {"type": "invalid_request_error", "code": "unknown_parameter", "message": "no", "param": "session.voice"}
    assert wire.say("error", error=error) == [ev.SessionError("unknown_parameter", "no (session.voice)", fatal=True)]


def test_an_error_without_a_code_is_called_by_its_type_and_the_session_goes_on() -> None:
    wire = Wire().ready()
    error = {"type": "moderation_error", "code": None, "message": "muted"}
    assert wire.say("error", error=error) == [ev.SessionError("moderation_error", "muted")]
    assert audio_of(wire.sound(100)) == tone(100)


def test_errors_at_the_end_are_harmless() -> None:
    wire = Wire().ready()
    error = {"type": "x", "code": "context_injection_incomplete", "message": ""}
    assert wire.say("error", error=error) == [ev.SessionError("context_injection_incomplete", "", harmless=True)]
    wire.protocol.finish()
    (told,) = wire.say("error", error={"type": "x", "code": "insufficient_quota", "message": ""})
    assert isinstance(told, ev.SessionError) and told.harmless and not told.fatal


def test_finish_asks_for_the_end_once_and_what_follows_is_no_surprise() -> None:
    wire = Wire().ready()
    wire.protocol.finish()
    wire.protocol.finish()
    assert [message["type"] for message in wire.told()] == ["session.close"]
    found = wire.say("session.closed", reason="close_requested", usage={"seconds": 61.4}, session={})
    assert found == [ev.Usage("gpt-live-1", seconds=61.4)]
    assert wire.protocol.stage is Stage.CLOSED


@pytest.mark.parametrize("reason", ["expired", "connection_lost", "remote_hangup", "something_new"])
def test_a_session_that_ends_by_itself_gives_way_to_another(reason: str) -> None:
    assert Wire().ready().say("session.closed", reason=reason, usage={}, session={}) == [ev.GoingAway(0.0)]


@pytest.mark.parametrize(("code", "final"), [(1000, False), (1005, False), (1006, False), (1008, True), (3000, True)])
def test_which_closes_another_session_would_see_again(code: int, final: bool) -> None:
    assert Wire().protocol.is_final_close(code, "") is final


def test_after_the_safety_filter_there_is_no_other_session() -> None:
    (told,) = Wire().ready().say("session.closed", reason="content", usage={}, session={})
    assert isinstance(told, ev.SessionError) and (told.code, told.fatal) == ("content", True)


def test_a_session_closed_before_it_began_was_never_had() -> None:
    wire = Wire()
    wire.start()
    (told,) = wire.say("session.closed", reason="expired", usage={}, session={})
    assert isinstance(told, ev.SessionError) and (told.code, told.fatal) == ("expired", True)


def test_what_was_being_said_ends_with_the_session() -> None:
    wire = Wire().ready()
    wire.sound(100)
    wire.agent_text("Hi", 0, 100)
    found = wire.say("session.closed", reason="expired", usage={}, session={})
    assert found == [ev.AudioEnd("live_1-1"), ev.AgentSaid("live_1-1", "Hi"), ev.GoingAway(0.0)]


# Strangers


def test_unknown_events_are_counted_and_known_ones_without_effect_are_not() -> None:
    wire = Wire().ready()
    assert wire.say("session.mood.updated", mood="good") == []
    assert wire.say("session.thinking.appended", start_ms=0, end_ms=0) == []
    assert wire.protocol.unknown == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"session.started"',
        b'{"type":7}',
        b'{"type":"session.output_audio.delta"}',
        b'{"type":"session.output_audio.delta","delta":"***"}',
        b'{"type":"session.output_audio.delta","delta":"AAA"}',
        b'{"type":"session.output_transcript.delta","delta":"x","start_ms":"now","end_ms":1}',
        b'{"type":"session.delegation.created","delegation":{"target":"client"}}',
        b'{"type":"response.event","event":"x"}',
        b'{"type":"response.event","delegation_id":7,"event":{"type":"response.created"}}',
        b'{"type":"error","error":"x"}',
    ],
)
def test_what_makes_no_sense_is_dropped_and_counted(frame: bytes) -> None:
    wire = Wire().ready()
    assert wire.protocol.receive(frame) == []
    assert wire.protocol.malformed == 1
    assert audio_of(wire.sound(100)) == tone(100)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    [
        "error",
        "info",
        "response.event",
        "session.closed",
        "session.delegation.created",
        "session.input_transcript.delta",
        "session.output_audio.delta",
        "session.output_transcript.delta",
        "session.started",
        "session.usage.updated",
        "x",
    ]
)
NESTED = st.sampled_from(
    ["response.created", "response.output_item.done", "response.completed", "response.failed", "x"]
)
CALL = st.fixed_dictionaries(
    {"type": st.just("function_call"), "call_id": JSON | st.text(max_size=3), "name": st.text(), "arguments": JSON}
)
EVENT = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "session": JSON,
        "delta": JSON | st.binary(max_size=50).map(lambda raw: base64.b64encode(raw).decode()),
        "start_ms": JSON | st.integers(0, 10_000),
        "end_ms": JSON | st.integers(0, 10_000),
        "error": JSON | st.fixed_dictionaries({"code": JSON, "message": JSON}),
        "reason": JSON,
        "usage": JSON | st.fixed_dictionaries({"seconds": JSON}),
        "delegation": JSON,
        "delegation_id": JSON,
        "event": JSON | st.fixed_dictionaries({"type": NESTED, "item": CALL, "response": JSON}),
    },
)


@given(st.lists(EVENT.map(lambda event: orjson.dumps(event)) | st.binary()))
def test_whatever_a_server_sends_nothing_is_raised_and_good_events_go_out(frames: list[bytes]) -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    for frame in frames:
        wire.pass_time(20)
        for event in wire.protocol.receive(frame):
            if isinstance(event, ev.ToolCall):
                wire.protocol.tool_result(event.call_id, {})
    wire.told()


def test_a_flood_of_everything_fills_no_memory() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()

    def flood(start: int) -> None:
        for number in range(start, start + 3000):
            name = f"{number}" * 20
            wire.created(name, name)
            wire.call(name, delegation=name)
            wire.caller_text("x" * 100, number * 2000, number * 2000 + 1)
            wire.agent_text("x" * 100, number * 2000 + 1000, number * 2000 + 1001)
            wire.track(tone(20) + silence_of(900, Law.PCMU))
            wire.protocol.data_to_send()

    flood(1000)
    before = size_of(wire.protocol)
    flood(4000)
    assert size_of(wire.protocol) < before * 1.1


def test_ids_without_measure_are_not_kept() -> None:
    wire = Wire(tools=(HANG_UP,)).ready()
    wire.created("x" * 1_000_000)
    wire.call("y" * 1_000_000)
    wire.call("z", delegation="d" * 1_000_000)
    assert size_of(wire.protocol) < 100_000


def size_of(value: object, seen: set[int] | None = None) -> int:
    """Bytes of an object with all that it holds."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    parts: list[object] = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    elif type(value).__module__.startswith("bridge."):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        parts = [getattr(value, name, None) for name in slots] + list(getattr(value, "__dict__", {}).values())
    return sys.getsizeof(value) + sum(size_of(part, seen) for part in parts)
