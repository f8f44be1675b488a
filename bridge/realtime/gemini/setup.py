"""What an agent's configuration asks of a Gemini Live session: the `setup` message, and what it has no place for.

Facts: provider reference, section 3.
"""

from __future__ import annotations

from bridge.realtime.history import History
from bridge.realtime.options import Json, SessionOptions

URL = (
    "wss://generativelanguage.googleapis.com/ws/"
    "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
)
KEY_HEADER = "x-goog-api-key"
MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
TEXT_INPUT = "textInput"
"""A key of `SessionOptions.extra` that is not sent: `clientContent` or `realtimeInput`, the way of our words to the
model. Default: `realtimeInput` for models from Gemini 3 on, which take `clientContent` only as initial history."""
_EAGERNESS = {"low": "END_SENSITIVITY_LOW", "high": "END_SENSITIVITY_HIGH"}


def setup(options: SessionOptions, history: History) -> Json:
    """The content of the `setup` message."""
    made: Json = {
        "model": _model_name(options.model or MODEL),
        "generationConfig": _generation(options),
        "realtimeInputConfig": _realtime_input(options.turn_detection),
        "inputAudioTranscription": _transcription(options),
        "outputAudioTranscription": {},
        "sessionResumption": {"handle": history.resumption} if history.resumption else {},
    }
    if options.truncation != "disabled":
        made["contextWindowCompression"] = {"slidingWindow": {}}
    if options.instructions:
        made["systemInstruction"] = {"parts": [{"text": options.instructions}]}
    if declared := declarations(options):
        made["tools"] = [{"functionDeclarations": declared}]
    if history.turns and not history.resumption and speaks_by_realtime_input(options):
        made["historyConfig"] = {"initialHistoryInClientContent": True}
    return _merged(made, {name: value for name, value in options.extra.items() if name != TEXT_INPUT})


def speaks_by_realtime_input(options: SessionOptions) -> bool:
    """Whether words go to the model as `realtimeInput.text` instead of `clientContent`."""
    by_model = (options.model or MODEL).rpartition("/")[2].startswith("gemini-3")
    return bool(options.extra.get(TEXT_INPUT, "realtimeInput" if by_model else "") == "realtimeInput")


def declarations(options: SessionOptions) -> list[Json]:
    """The function tools, each as a FunctionDeclaration."""
    return [_declaration(tool) for tool in options.tools if tool.get("type") == "function"]


def unmapped(options: SessionOptions) -> list[str]:
    """What is configured and has no place in a Gemini session, in words."""
    detection = options.turn_detection or {}
    asked = {
        "speed": options.speed,
        "noise_reduction": options.noise_reduction,
        "tool_choice": options.tool_choice not in (None, "auto"),
        "parallel_tool_calls": options.parallel_tool_calls is False,
        "truncation": options.truncation not in (None, "auto", "disabled"),
        "reasoning_effort": options.reasoning_effort and not _thinking(options),
        "turn_detection.idle_timeout_ms": detection.get("idle_timeout_ms"),
        "turn_detection.create_response": detection.get("create_response") is False,
    }
    types = {str(tool.get("type")) for tool in options.tools} - {"function"}
    return [name for name, value in asked.items() if value] + [f"tools of type {name}" for name in sorted(types)]


def _model_name(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _generation(options: SessionOptions) -> Json:
    made: Json = {"responseModalities": ["AUDIO"]}
    speech: Json = {}
    if options.voice:
        speech["voiceConfig"] = {"prebuiltVoiceConfig": {"voiceName": options.voice}}
    if options.language:
        speech["languageCode"] = options.language
    if speech:
        made["speechConfig"] = speech
    if isinstance(options.max_output_tokens, int):
        made["maxOutputTokens"] = options.max_output_tokens
    if thinking := _thinking(options):
        made["thinkingConfig"] = thinking
    return made


def _thinking(options: SessionOptions) -> Json | None:
    """Gemini 3 has levels, Gemini 2.5 a budget, of which only none at all is sure to be what is meant."""
    effort = options.reasoning_effort
    if effort and "gemini-3" in (options.model or MODEL):
        return {"thinkingLevel": effort.upper()}
    return {"thinkingBudget": 0} if effort == "minimal" else None


def _realtime_input(detection: Json | None) -> Json:
    """Without turn detection the bridge says when the caller's turn begins and ends."""
    if detection is None:
        return {"automaticActivityDetection": {"disabled": True}}
    made: Json = {}
    if detection.get("type") == "semantic_vad":
        if sensitivity := _EAGERNESS.get(str(detection.get("eagerness"))):
            made["endOfSpeechSensitivity"] = sensitivity
    else:
        if isinstance(padding := detection.get("prefix_padding_ms"), int):
            made["prefixPaddingMs"] = padding
        if isinstance(silence := detection.get("silence_duration_ms"), int):
            made["silenceDurationMs"] = silence
    made = {"automaticActivityDetection": made}
    # Both off means that the bridge decides (barge-in on trial), which this service leaves to nobody.
    if detection.get("interrupt_response") is False and detection.get("create_response") is not False:
        made["activityHandling"] = "NO_INTERRUPTION"
    return made


def _transcription(options: SessionOptions) -> Json:
    language = (options.transcription or {}).get("language")
    return {"languageCodes": [language]} if language else {}


def _declaration(tool: Json) -> Json:
    declared: Json = {"name": tool.get("name"), "description": tool.get("description") or ""}
    parameters = tool.get("parameters")
    if isinstance(parameters, dict) and parameters.get("properties"):
        declared["parametersJsonSchema"] = parameters
    if "behavior" in tool:
        declared["behavior"] = tool["behavior"]
    return declared


def _merged(base: Json, more: Json) -> Json:
    """`more` over `base`, object by object; null takes a member out."""
    merged = dict(base)
    for name, value in more.items():
        known = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(known, dict) and isinstance(value, dict):
            merged[name] = _merged(known, value)
        else:
            merged[name] = value
    return merged
