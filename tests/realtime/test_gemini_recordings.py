"""Recorded traffic of the real service through the protocol object: everything in it is accounted for.

The recordings stand in `tests/servers/recordings`, with their licence.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.gemini.protocol import GeminiProtocol
from bridge.realtime.options import SessionOptions
from tests.servers.gemini import problems

FOLDER = Path(__file__).parent.parent / "servers" / "recordings"
NAMES = sorted(path.stem for path in FOLDER.glob("google-*.yaml"))


def recorded(name: str, direction: str) -> list[dict[str, Any]]:
    interactions = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["interactions"]
    return [each["data"] for each in interactions if each["direction"] == direction]


def replayed(name: str) -> tuple[GeminiProtocol, list[ev.Event]]:
    """All the server's frames; tools are answered as the recorded client did."""
    protocol = GeminiProtocol(SessionOptions(Linear(24000)))
    protocol.begin()
    events: list[ev.Event] = []
    for message in recorded(name, "received"):
        new = list(protocol.receive(orjson.dumps(message)))
        events += new
        for call in new:
            if isinstance(call, ev.ToolCall):
                protocol.tool_result(call.call_id, {"output": "armed"})
    return protocol, events


def test_there_are_recordings() -> None:
    assert len(NAMES) == 3
    assert (FOLDER / "LICENSE").exists()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_recorded_is_unknown_malformed_or_lost(name: str) -> None:
    protocol, events = replayed(name)
    contents = [message.get("serverContent", {}) for message in recorded(name, "received")]
    parts = [part for content in contents for part in content.get("modelTurn", {}).get("parts", [])]
    audio = b"".join(base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part)
    words = "".join(content.get("outputTranscription", {}).get("text", "") for content in contents)
    turns = sum(bool(content.get("turnComplete")) for content in contents)
    assert (protocol.malformed, protocol.unknown, protocol.late_deltas) == (0, 0, 0)
    assert isinstance(events[0], ev.Ready)
    assert b"".join(event.audio for event in events if isinstance(event, ev.AudioDelta)) == audio
    assert "".join(event.words for event in events if isinstance(event, ev.AgentSaying)) == words
    said = [event.text for event in events if isinstance(event, ev.AgentSaid)]
    assert len(said) == turns and "".join(said).replace(" ", "") == words.replace(" ", "")
    assert not any(thought in repr(events) for thought in ("Crafting", "Recall"))
    assert not protocol.response_active


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        (
            "google-asap_enqueue_waits_for_response_boundary",
            [
                {"text_in": 1185, "text_out": 7, "audio_out": 44},
                {"text_in": 1250, "audio_in": 1, "audio_out": 63},
            ],
        ),
        ("google-message_history_seeding", [{"text_in": 1150, "audio_out": 85, "text_out": 28}]),
        ("google-text_in_audio_out_turn", [{"text_in": 1131, "audio_out": 26, "text_out": 24}]),
    ],
)
def test_the_recorded_tokens_are_those_of_each_turn(name: str, tokens: list[dict[str, int]]) -> None:
    _, events = replayed(name)
    assert [event.tokens for event in events if isinstance(event, ev.Usage)] == tokens


def test_the_recorded_tool_call_stands_before_the_words_about_it() -> None:
    _, events = replayed("google-asap_enqueue_waits_for_response_boundary")
    steps = [event for event in events if isinstance(event, ev.ToolCall | ev.AgentSaid | ev.ResponseEnded)]
    assert isinstance(steps[0], ev.ToolCall) and (steps[0].name, steps[0].arguments) == ("queue_followup", "{}")
    assert [event.text for event in steps if isinstance(event, ev.AgentSaid)] == [
        "FIRST RESPONSE COMPLETE",
        "QUEUED MARKER RECEIVED",
    ]
    assert [event.status for event in steps if isinstance(event, ev.ResponseEnded)] == ["completed"] * 3


@pytest.mark.parametrize("name", NAMES)
def test_our_check_of_client_messages_takes_what_the_service_took(name: str) -> None:
    for message in recorded(name, "sent"):
        (key,) = message
        camel = key.replace("_c", "C").replace("_r", "R")
        assert problems({camel: message[key]}) == []
