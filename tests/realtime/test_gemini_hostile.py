"""Whatever a server sends: never an exception, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.gemini.protocol import GeminiProtocol
from bridge.realtime.options import SessionOptions
from tests.servers.gemini import audio, problems

NAMES = [
    "setupComplete",
    "serverContent",
    "toolCall",
    "toolCallCancellation",
    "usageMetadata",
    "goAway",
    "sessionResumptionUpdate",
    "voiceActivity",
    "modelTurn",
    "parts",
    "inlineData",
    "mimeType",
    "data",
    "text",
    "thought",
    "finished",
    "inputTranscription",
    "outputTranscription",
    "generationComplete",
    "turnComplete",
    "turnCompleteReason",
    "interrupted",
    "functionCalls",
    "id",
    "ids",
    "name",
    "args",
    "timeLeft",
    "newHandle",
    "resumable",
    "sessionId",
    "promptTokenCount",
    "promptTokensDetails",
    "modality",
    "tokenCount",
    "voiceActivityType",
    "audioOffset",
]
VALUES = ["audio/pcm;rate=24000", "AAAA", "AA==", "ACTIVITY_START", "ACTIVITY_END", "TEXT", "1.5s", "a", ""]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)
GOOD = st.sampled_from(
    [
        {"serverContent": audio(b"\1\0")},
        {"serverContent": {"outputTranscription": {"text": "word "}}},
        {"serverContent": {"inputTranscription": {"text": "word ", "finished": True}}},
        {"serverContent": {"modelTurn": {"parts": [{"text": "x", "thought": True}]}}},
        {"serverContent": {"generationComplete": True}},
        {"serverContent": {"interrupted": True}},
        {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 5}},
        {"serverContent": {"interrupted": True, "turnComplete": True}},
        {"toolCall": {"functionCalls": [{"id": "a", "name": "f"}]}},
        {"toolCall": {"functionCalls": [{"name": "f", "args": {}}]}},
        {"toolCallCancellation": {"ids": ["a"]}},
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}},
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}},
        {"goAway": {}},
    ]
)
ACTS = st.sampled_from(["greet", "instruct", "text", "cut", "heard", "respond", "commit", "tool", "alarm", "note"])
MODELS = st.sampled_from(["", "gemini-3.8-live"])
VAD = st.sampled_from([None, {"type": "server_vad"}])


def protocol_of(model: str = "", turn_detection: Any = None) -> GeminiProtocol:
    made = GeminiProtocol(SessionOptions(Linear(24000), model=model, greeting="Hi", turn_detection=turn_detection))
    made.begin()
    return made


@given(st.lists(st.binary(max_size=64) | JSON.map(orjson.dumps), max_size=20))
def test_no_frame_raises(frames: list[bytes]) -> None:
    protocol = protocol_of()
    protocol.receive(b'{"setupComplete":{}}')
    for frame in frames:
        protocol.receive(frame)
    assert protocol.events_in == len(frames) + 1


def act(protocol: GeminiProtocol, what: str, calls: list[str]) -> None:
    match what:
        case "greet":
            protocol.greet()
        case "instruct":
            protocol.instruct("x")
        case "text":
            protocol.user_text("1", respond=False)
        case "cut":
            protocol.interrupted([], by_server=False)
        case "heard":
            protocol.interrupted([])
        case "respond":
            protocol.respond()
        case "commit":
            protocol.commit()
        case "tool" if calls:
            protocol.tool_result(calls.pop(), {"output": 1})
        case "note":
            protocol.correct("a", "")
        case "alarm":
            for alarm in protocol.alarms():
                protocol.rang(alarm)


@settings(max_examples=300)
@given(MODELS, VAD, st.lists(GOOD | ACTS, max_size=40))
def test_in_any_order_items_begin_and_end_once_and_all_that_is_sent_is_valid(
    model: str, turn_detection: Any, steps: list[Any]
) -> None:
    protocol = protocol_of(model, turn_detection)
    events: list[ev.Event] = list(protocol.receive(b'{"setupComplete":{}}'))
    calls: list[str] = []
    for step in steps:
        if isinstance(step, str):
            act(protocol, step, calls)
        else:
            new = list(protocol.receive(orjson.dumps(step)))
            calls += [event.call_id for event in new if isinstance(event, ev.ToolCall)]
            events += new
    assert (protocol.malformed, protocol.unknown) == (0, 0)
    for message in protocol.data_to_send():
        assert problems(orjson.loads(message)) == []
    consistent(events)


def consistent(events: list[ev.Event]) -> None:
    """Each item is placed before anything else of it, and nothing of an agent's item follows its end."""
    placed: set[str] = set()
    ended: set[str] = set()
    said: set[str] = set()
    responses: list[str] = []
    for event in events:
        match event:
            case ev.Placed(item_id):
                assert item_id not in placed
                placed.add(item_id)
            case ev.AudioDelta(item_id):
                assert item_id in placed and item_id not in ended | said
            case ev.AgentSaying(item_id):
                assert item_id in placed and item_id not in said
            case ev.AudioEnd(item_id):
                assert item_id in placed and item_id not in ended
                ended.add(item_id)
            case ev.AgentSaid(item_id):
                assert item_id in placed and item_id not in said
                said.add(item_id)
            case ev.ResponseEnded(response_id):
                responses.append(response_id)
    assert len(responses) == len(set(responses))


def test_a_long_flood_leaves_nothing_behind() -> None:
    protocol = protocol_of(turn_detection={"type": "server_vad"})
    protocol.receive(b'{"setupComplete":{}}')
    words = "w" * 500

    numbers = iter(range(10_000))

    def flood(count: int) -> None:
        for number in (next(numbers) for _ in range(count)):
            for frame in (
                {"serverContent": {"inputTranscription": {"text": words}, "outputTranscription": {"text": words}}},
                {"serverContent": audio(b"\1\0" * 240)},
                {"toolCall": {"functionCalls": [{"id": f"{words[:200]}{number}", "name": "f"}]}},
                {"sessionResumptionUpdate": {"newHandle": f"{words}{number}", "resumable": True}},
                {"serverContent": {"interrupted": True}},
                {"usageMetadata": {"promptTokenCount": number}},
                {"serverContent": {"turnComplete": True} if number % 50 == 0 else {}},
            ):
                protocol.receive(orjson.dumps(frame))
            protocol.tool_result(f"{words[:200]}{number}", {})
            protocol.user_text(words, respond=False)
            protocol.data_to_send()
            protocol.alarms()

    flood(300)
    tracemalloc.start()
    try:
        flood(300)
        before = tracemalloc.get_traced_memory()[0]
        flood(900)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 50_000
