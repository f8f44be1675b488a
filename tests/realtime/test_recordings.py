"""Sessions of real services, event by event: nothing is malformed, nothing unknown, and what happened comes out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.openai.dialect import PRESETS
from bridge.realtime.openai.protocol import OpenAIProtocol, Stage
from bridge.realtime.options import SessionOptions
from tests.realtime.wire import VAD

FOLDER = Path(__file__).parent / "recordings"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def replay(name: str) -> tuple[OpenAIProtocol, list[ev.Event], list[dict[str, Any]]]:
    """The protocol object after a whole session, what it gave, and what it wanted to send."""
    dialect = PRESETS[name.partition("-")[0]]
    options = SessionOptions(
        Linear(24000), model="asked for", turn_detection=VAD, transcription={"model": "gpt-realtime-whisper"}
    )
    protocol = OpenAIProtocol(options, dialect=dialect)
    events: list[ev.Event] = []
    sent: list[dict[str, Any]] = []
    for step in yaml.load((FOLDER / f"{name}.yaml").read_text("utf-8"), yaml.CSafeLoader)["interactions"]:
        if step["direction"] == "received":
            events += protocol.receive(orjson.dumps(step["data"]))
            sent += [orjson.loads(message) for message in protocol.data_to_send()]
    return protocol, events, sent


@pytest.mark.parametrize("name", FILES)
def test_every_event_is_understood(name: str) -> None:
    protocol, events, _ = replay(name)
    assert (protocol.malformed, protocol.unknown) == (0, 0)
    assert protocol.stage is Stage.READY
    (ready,) = [event for event in events if isinstance(event, ev.Ready)]
    assert (ready.audio_in, ready.audio_out, ready.fell_back) == (Linear(24000), Linear(24000), "")
    assert ready.session_id and ready.model != "asked for"
    assert (ready.expires_at is None) is name.startswith("xai")
    assert {event.status for event in events if isinstance(event, ev.ResponseEnded)} == {"completed"}


@pytest.mark.parametrize(
    ("name", "caller", "agent"),
    [
        ("openai-audio_in_server_vad_turn", "Hello, my name is Marcelo.", "Great to meet you."),
        ("azure-audio_in_server_vad_transcribes", "Hello, my name is Marcelo.", "it's great to meet you!"),
        ("xai-audio_in_server_vad_turn", "Hello, my name is Marcelo.", "Nice to meet you."),
    ],
)
def test_a_spoken_turn(name: str, caller: str, agent: str) -> None:
    _, events, _ = replay(name)
    kinds = Counter(type(event).__name__ for event in events)
    assert kinds["SpeechStarted"] == kinds["SpeechStopped"] == kinds["Committed"] == kinds["ResponseEnded"] == 1
    (said,) = [event for event in events if isinstance(event, ev.CallerSaid)]
    assert said.text == caller
    (answer,) = [event for event in events if isinstance(event, ev.AgentSaid)]
    assert agent in answer.text
    pieces = [event.words for event in events if isinstance(event, ev.AgentSaying)]
    assert "".join(pieces) == answer.text
    assert {event.item_id for event in events if isinstance(event, ev.AudioDelta)} == {answer.item_id}
    placed = [event for event in events if isinstance(event, ev.Placed)]
    assert (placed[0].item_id, placed[0].role) == (said.item_id, "caller")
    assert (placed[-1].item_id, placed[-1].previous_item_id) == (answer.item_id, said.item_id)


@pytest.mark.parametrize("name", [name for name in FILES if "text_in_audio_out" in name])
def test_an_answer_to_a_text(name: str) -> None:
    _, events, sent = replay(name)
    assert [message["type"] for message in sent] == ["session.update"]
    audio = [event for event in events if isinstance(event, ev.AudioDelta)]
    ends = [event.item_id for event in events if isinstance(event, ev.AudioEnd)]
    assert audio and set(ends) == {event.item_id for event in audio}


@pytest.mark.parametrize("name", [name for name in FILES if "tool_call" in name])
def test_a_tool_is_called_once(name: str) -> None:
    _, events, _ = replay(name)
    (call,) = [event for event in events if isinstance(event, ev.ToolCall)]
    assert call.name == "get_weather" and orjson.loads(call.arguments) == {"city": "London"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("openai") and "audio" not in name])
def test_an_answer_that_is_only_written_is_noticed(name: str) -> None:
    _, events, sent = replay(name)
    assert "text_without_audio" in [event.code for event in events if isinstance(event, ev.SessionError)]
    assert sent[-1] == {"type": "response.create", "response": {"output_modalities": ["audio"]}} | {
        "event_id": sent[-1]["event_id"]
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "openai-tool_call_round",
            [
                ev.Usage("gpt-realtime", {"text_in": 63, "text_out": 22}),
                ev.Usage("gpt-realtime", {"text_in": 39, "text_cached": 64, "text_out": 13}),
            ],
        ),
        (
            "azure-audio_in_server_vad_transcribes",
            [
                ev.Usage("gpt-realtime-whisper", seconds=3.0),
                ev.Usage("gpt-realtime", {"text_in": 14, "audio_in": 26, "text_out": 29, "audio_out": 77}),
            ],
        ),
        (
            "xai-audio_in_server_vad_turn",
            [ev.Usage("grok-voice-latest", {"text_in": 10, "audio_in": 146, "text_out": 15, "audio_out": 170}, 5.0)],
        ),
    ],
)
def test_what_it_used(name: str, expected: list[ev.Usage]) -> None:
    _, events, _ = replay(name)
    assert [event for event in events if isinstance(event, ev.Usage)] == expected
