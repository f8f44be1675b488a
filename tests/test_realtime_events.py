"""The judge of events: it passes what the service was recorded to send, and no other thing."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.realtime_events import classes, problems

RECORDINGS = Path(__file__).parents[2] / "shared" / "data" / "recordings"

APPEND = {"type": "input_audio_buffer.append", "audio": "AAAA"}
TRUNCATE = {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 1240}
UPDATE = {
    "type": "session.update",
    "session": {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad", "threshold": 0.5}},
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1.0},
        },
    },
}
DELTA = {
    "type": "response.output_audio.delta",
    "event_id": "event_1",
    "response_id": "resp_1",
    "item_id": "item_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "AAAA",
}


def changed(event: dict[str, Any], path: str, value: Any = None) -> dict[str, Any]:
    """A copy with one member set, or taken out when there is no value."""
    copy = deepcopy(event)
    *way, last = path.split(".")
    inner = copy
    for name in way:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copy


def test_there_are_11_client_and_46_server_events() -> None:
    assert (len(classes("client")), len(classes("server"))) == (11, 46)


@pytest.mark.parametrize("event", [APPEND, TRUNCATE, UPDATE, {"type": "response.create"}])
def test_good_client_events(event: dict[str, Any]) -> None:
    assert problems(event, "client") == []
    assert problems(event, "server") != []


def test_good_server_events() -> None:
    assert problems(DELTA, "server") == []
    assert problems(DELTA | {"obfuscation": "xyz"}, "server") == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.explain"},
        {},
        {"type": 7},
        changed(TRUNCATE, "audio_end_ms"),
        changed(TRUNCATE, "audio_end_ms", "1240"),
        changed(TRUNCATE, "audio_end_ms", -1),
        changed(TRUNCATE, "audio_end_ms", 12.5),
        APPEND | {"format": "pcmu"},
        APPEND | {"event_id": "x" * 513},
        changed(UPDATE, "session.type"),
        changed(UPDATE, "session.input_audio_format", "g711_ulaw"),
        changed(UPDATE, "session.output_modalities", ["audio", "text"]),
        changed(UPDATE, "session.audio.turn_detection", {"type": "server_vad"}),
        changed(UPDATE, "session.audio.input.format", {"type": "audio/pcmu", "rate": 8000}),
        changed(UPDATE, "session.audio.input.format", {"type": "audio/pcm"}),
        changed(UPDATE, "session.audio.output.format.rate"),
        changed(UPDATE, "session.audio.output.speed", 3.0),
        changed(UPDATE, "session.audio.input.turn_detection.threshold", 7.0),
        {"type": "response.create", "response": {"max_output_tokens": 5000}},
        {"type": "response.create", "response": {"metadata": {"key": "x" * 513}}},
    ],
)
def test_bad_client_events(event: dict[str, Any]) -> None:
    assert problems(event, "client") != []


@pytest.mark.parametrize(
    "event",
    [
        changed(DELTA, "item_id"),
        changed(DELTA, "event_id"),
        changed(DELTA, "type", "response.audio.delta"),
        changed(DELTA, "output_index", -1),
        DELTA | {"colour": "red"},
    ],
)
def test_bad_server_events(event: dict[str, Any]) -> None:
    assert problems(event, "server") != []


def recorded() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in sorted(RECORDINGS.glob("openai-*.yaml")):
        for entry in yaml.safe_load(path.read_text())["interactions"]:
            if isinstance(entry.get("data"), dict) and "type" in entry["data"]:
                side = {"sent": "client", "received": "server"}[entry["direction"]]
                yield path.name, side, entry["data"]


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings of the service are not at ../shared/data/recordings"
)
def test_everything_that_was_recorded_is_good() -> None:
    events = list(recorded())
    assert len(events) > 100
    for name, side, event in events:
        assert problems(event, side) == [], (name, event)
