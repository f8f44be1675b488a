"""What an agent's configuration becomes in a `setup`, each judged by the published types."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.audio.format import Linear
from bridge.realtime.gemini.setup import MODEL, setup, speaks_by_realtime_input, unmapped
from bridge.realtime.history import NOTHING, CallerWords, History
from bridge.realtime.options import SessionOptions
from tests.servers.gemini import problems

VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 200,
    "silence_duration_ms": 600,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
STOCK = {
    "type": "function",
    "name": "stock",
    "description": "Stock level",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"article": {"type": ["string", "null"], "pattern": "^[0-9]+$"}},
        "required": ["article"],
        "additionalProperties": False,
    },
}
TOLD = History((CallerWords("c", "hello"),))


def options(**members: Any) -> SessionOptions:
    return SessionOptions(Linear(24000), **({"turn_detection": VAD} | members))


def made(history: History = NOTHING, **members: Any) -> dict[str, Any]:
    content = setup(options(**members), history)
    assert problems({"setup": content}) == []
    return content


def test_the_least_that_is_asked_for() -> None:
    content = made()
    assert content == {
        "model": f"models/{MODEL}",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "realtimeInputConfig": {"automaticActivityDetection": {"prefixPaddingMs": 200, "silenceDurationMs": 600}},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "sessionResumption": {},
        "contextWindowCompression": {"slidingWindow": {}},
    }


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gemini-3.8-live", "models/gemini-3.8-live"),
        ("models/gemini-3.8-live", "models/gemini-3.8-live"),
        ("projects/p/locations/l/publishers/google/models/m", "projects/p/locations/l/publishers/google/models/m"),
    ],
)
def test_a_model_gets_its_prefix_where_it_has_none(model: str, sent: str) -> None:
    assert made(model=model)["model"] == sent


def test_every_option_that_has_a_place_gets_there() -> None:
    content = made(
        model="gemini-3.1-flash-live-preview",
        instructions="You are Ada.",
        voice="Aoede",
        language="de",
        transcription={"model": "x", "language": "de"},
        max_output_tokens=100,
        reasoning_effort="low",
        truncation="disabled",
        tools=(STOCK,),
    )
    assert content["systemInstruction"] == {"parts": [{"text": "You are Ada."}]}
    assert content["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {
            "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Aoede"}},
            "languageCode": "de",
        },
        "maxOutputTokens": 100,
        "thinkingConfig": {"thinkingLevel": "LOW"},
    }
    assert content["inputAudioTranscription"] == {"languageCodes": ["de"]}
    assert "contextWindowCompression" not in content


def test_a_function_keeps_its_json_schema_and_loses_what_gemini_does_not_know() -> None:
    (tool,) = made(tools=(STOCK,))["tools"]
    assert tool == {
        "functionDeclarations": [
            {"name": "stock", "description": "Stock level", "parametersJsonSchema": STOCK["parameters"]}
        ]
    }


def test_a_function_without_parameters_declares_none() -> None:
    bare = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    (tool,) = made(tools=(bare,))["tools"]
    assert tool == {"functionDeclarations": [{"name": "f", "description": ""}]}


def test_other_tools_are_left_out_and_named() -> None:
    others = ({"type": "mcp", "server_label": "x"}, {"type": "web_search"})
    assert "tools" not in made(tools=others)
    assert unmapped(options(tools=(*others, STOCK))) == ["tools of type mcp", "tools of type web_search"]


def test_what_has_no_place_is_named() -> None:
    without = options(
        speed=1.2,
        noise_reduction={"type": "far_field"},
        tool_choice="required",
        parallel_tool_calls=False,
        truncation={"type": "retention_ratio"},
        reasoning_effort="high",
        turn_detection=VAD | {"idle_timeout_ms": 6000, "create_response": False},
    )
    assert unmapped(without) == [
        "speed",
        "noise_reduction",
        "tool_choice",
        "parallel_tool_calls",
        "truncation",
        "reasoning_effort",
        "turn_detection.idle_timeout_ms",
        "turn_detection.create_response",
    ]
    assert unmapped(options(tool_choice="auto", parallel_tool_calls=True, truncation="auto")) == []


def test_no_thoughts_at_all_is_the_only_effort_that_gemini_2_5_has() -> None:
    assert made(reasoning_effort="minimal")["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}
    assert "thinkingConfig" not in made(reasoning_effort="high")["generationConfig"]


@pytest.mark.parametrize(
    ("eagerness", "detection"),
    [
        ("low", {"endOfSpeechSensitivity": "END_SENSITIVITY_LOW"}),
        ("high", {"endOfSpeechSensitivity": "END_SENSITIVITY_HIGH"}),
        ("medium", {}),
        ("auto", {}),
    ],
)
def test_eagerness_is_the_sensitivity_for_the_end_of_speech(eagerness: str, detection: dict[str, str]) -> None:
    content = made(turn_detection={"type": "semantic_vad", "eagerness": eagerness})
    assert content["realtimeInputConfig"] == {"automaticActivityDetection": detection}


def test_without_turn_detection_the_service_does_not_listen_for_turns() -> None:
    assert made(turn_detection=None)["realtimeInputConfig"] == {"automaticActivityDetection": {"disabled": True}}


@pytest.mark.parametrize(("creates", "handling"), [(True, "NO_INTERRUPTION"), (False, None)])
def test_an_agent_that_may_not_be_interrupted_is_not(creates: bool, handling: str | None) -> None:
    detection = VAD | {"interrupt_response": False, "create_response": creates}
    assert made(turn_detection=detection)["realtimeInputConfig"].get("activityHandling") == handling


def test_a_handle_resumes_and_needs_no_history() -> None:
    content = made(History(TOLD.turns, "handle-1"), model="gemini-3.8-live")
    assert content["sessionResumption"] == {"handle": "handle-1"}
    assert "historyConfig" not in content


@pytest.mark.parametrize(
    ("model", "extra", "realtime"),
    [
        ("", {}, False),
        ("gemini-2.5-flash-native-audio-preview-12-2025", {}, False),
        ("gemini-3.1-flash-live-preview", {}, True),
        ("models/gemini-3.8-live", {}, True),
        ("projects/p/locations/l/publishers/google/models/gemini-3.8-live", {}, True),
        ("gemini-3.8-live", {"textInput": "clientContent"}, False),
        ("", {"textInput": "realtimeInput"}, True),
    ],
)
def test_gemini_3_is_told_its_history_before_all_else(model: str, extra: dict[str, str], realtime: bool) -> None:
    content = made(TOLD, model=model, extra=extra)
    assert speaks_by_realtime_input(options(model=model, extra=extra)) is realtime
    assert content.get("historyConfig") == ({"initialHistoryInClientContent": True} if realtime else None)
    assert "textInput" not in content


def test_more_members_are_merged_in_and_null_takes_one_out() -> None:
    content = made(
        voice="Aoede",
        extra={
            "generationConfig": {"temperature": 0.5, "speechConfig": {"languageCode": "en"}},
            "inputAudioTranscription": None,
            "proactivity": {"proactiveAudio": True},
        },
    )
    assert content["generationConfig"]["temperature"] == 0.5
    assert content["generationConfig"]["speechConfig"]["voiceConfig"], "what was there stays"
    assert content["generationConfig"]["speechConfig"]["languageCode"] == "en"
    assert "inputAudioTranscription" not in content
    assert content["proactivity"] == {"proactiveAudio": True}
