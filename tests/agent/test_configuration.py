"""session.update: what it may say, and that a refused one changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.configuration import Configuration
from bridge.agent.formats import AudioFormat
from bridge.agent.refusal import Refusal
from tests.agent.peer import Peer


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "event_id": "mine", "session": session}


def audio(**sides: Any) -> dict[str, Any]:
    return update(type="realtime", instructions="changed", audio=sides)


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("no type", update(instructions="x"), "missing_required_parameter", "session.type"),
    ("wrong type", update(type="transcription"), "invalid_value", "session.type"),
    ("no session", {"type": "session.update", "event_id": "mine"}, "missing_required_parameter", "session"),
    ("session no object", {"type": "session.update", "event_id": "mine", "session": 3}, "invalid_type", "session"),
    ("unknown", update(type="realtime", colour="red"), "unknown_parameter", "session.colour"),
    ("beta format", update(type="realtime", input_audio_format="g711_ulaw"), "unknown_parameter",
     "session.input_audio_format"),
    ("beta modalities", update(type="realtime", modalities=["audio"]), "unknown_parameter", "session.modalities"),
    ("beta vad", update(type="realtime", turn_detection=None), "unknown_parameter", "session.turn_detection"),
    ("temperature", update(type="realtime", temperature=0.8), "unknown_parameter", "session.temperature"),
    ("both modalities", update(type="realtime", output_modalities=["audio", "text"]), "invalid_value",
     "session.output_modalities"),
    ("no modality", update(type="realtime", output_modalities=[]), "invalid_value", "session.output_modalities"),
    ("another model", update(type="realtime", model="gpt-live-1"), "invalid_value", "session.model"),
    ("pcm without rate", audio(output={"format": {"type": "audio/pcm"}}), "missing_required_parameter",
     "session.audio.output.format.rate"),
    ("pcm at 8000", audio(input={"format": {"type": "audio/pcm", "rate": 8000}}), "invalid_value",
     "session.audio.input.format.rate"),
    ("pcmu with rate", audio(input={"format": {"type": "audio/pcmu", "rate": 8000}}), "unknown_parameter",
     "session.audio.input.format.rate"),
    ("beta law", audio(input={"format": {"type": "g711_ulaw"}}), "invalid_value", "session.audio.input.format.type"),
    ("format a string", audio(input={"format": "audio/pcmu"}), "invalid_type", "session.audio.input.format"),
    ("voice", audio(output={"voice": "onyx"}), "invalid_value", "session.audio.output.voice"),
    ("speed", audio(output={"speed": 2}), "invalid_value", "session.audio.output.speed"),
    ("threshold", audio(input={"turn_detection": {"type": "server_vad", "threshold": 7.0}}), "invalid_value",
     "session.audio.input.turn_detection.threshold"),
    ("threshold a string", audio(input={"turn_detection": {"type": "server_vad", "threshold": "0.5"}}),
     "invalid_type", "session.audio.input.turn_detection.threshold"),
    ("silence as float", audio(input={"turn_detection": {"type": "server_vad", "silence_duration_ms": 0.5}}),
     "invalid_type", "session.audio.input.turn_detection.silence_duration_ms"),
    ("idle too short", audio(input={"turn_detection": {"type": "server_vad", "idle_timeout_ms": 100}}),
     "invalid_value", "session.audio.input.turn_detection.idle_timeout_ms"),
    ("semantic with threshold", audio(input={"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}),
     "unknown_parameter", "session.audio.input.turn_detection.threshold"),
    ("vad without type", audio(input={"turn_detection": {"threshold": 0.5}}), "missing_required_parameter",
     "session.audio.input.turn_detection.type"),
    ("transcription without model", audio(input={"transcription": {}}), "missing_required_parameter",
     "session.audio.input.transcription.model"),
    ("tokens", update(type="realtime", max_output_tokens=5000), "invalid_value", "session.max_output_tokens"),
    ("tool without name", update(type="realtime", tools=[{"type": "function"}]), "missing_required_parameter",
     "session.tools[0].name"),
    ("tool with function", update(type="realtime", tools=[{"type": "function", "name": "a", "function": {}}]),
     "unknown_parameter", "session.tools[0].function"),
    ("tool choice", update(type="realtime", tool_choice="always"), "invalid_value", "session.tool_choice"),
    ("retention", update(type="realtime", truncation={"type": "retention_ratio", "retention_ratio": 2}),
     "invalid_value", "session.truncation.retention_ratio"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "code", "param"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_wrong_update_changes_nothing(event: dict[str, Any], code: str, param: str) -> None:
    peer = Peer()
    before = peer.session.configuration.wire()
    error = peer.error(event)
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
    assert error["type"] == "invalid_request_error"
    assert peer.session.configuration.wire() == before


def test_defaults_are_those_of_the_service() -> None:
    peer = Peer(created=False)
    session = peer.take()[0]["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["expires_at"] == 1_800_003_600
    assert (session["object"], session["type"]) == ("realtime.session", "realtime")


def test_only_what_is_named_changes() -> None:
    peer = Peer()
    peer.telephone(instructions="one", tools=[{"type": "function", "name": "hang_up"}])
    session = peer.configure(instructions="two")
    assert session["instructions"] == "two"
    assert session["tools"] == [{"type": "function", "name": "hang_up"}]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    session = peer.configure(tools=[], audio={"input": {"turn_detection": None, "transcription": None}})
    assert session["tools"] == []
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"] is None


def test_semantic_vad_has_its_own_members() -> None:
    session = Peer().telephone({"type": "semantic_vad", "eagerness": "low"})
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }


def test_a_plain_model_refuses_what_only_reasoning_models_take() -> None:
    wanted = update(type="realtime", instructions="x", reasoning={"effort": "low"})
    assert Peer(model="gpt-realtime").error(wanted)["param"] == "session.reasoning"
    Peer().configure(reasoning={"effort": "low"}, parallel_tool_calls=True)


def test_the_voice_is_locked_by_the_first_audio() -> None:
    peer = Peer("answer: {items: [{audio_ms: 100}]}")
    peer.configure(audio={"output": {"voice": "cedar"}})
    peer.respond()
    peer.configure(audio={"output": {"voice": "cedar"}})
    error = peer.error(audio(output={"voice": "alloy"}))
    assert error["code"] == "cannot_update_voice"
    assert peer.configure(instructions="same")["audio"]["output"]["voice"] == "cedar"


def test_the_echo_may_lie() -> None:
    peer = Peer("{}", echo_format=AudioFormat.PCM)
    session = peer.telephone()
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert peer.session.configuration.input_format.value == "audio/pcmu"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "audio", "input", "output", "format", "turn_detection", "tools", "voice", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_session_is_taken_or_refused_whole(session: Any) -> None:
    configuration = Configuration("sess_1", "gpt-realtime-2.1", 1)
    before = configuration.wire()
    try:
        configuration.update(session)
    except Refusal:
        assert configuration.wire() == before
