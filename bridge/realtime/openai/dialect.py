"""How servers that speak the Realtime protocol differ: the shape of what they are told, and what they can do.

Reference section 16 (the beta shape) and "Other providers" sections 1, 2, 6. What is read is always read in
both shapes; a dialect is about what is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.realtime.options import PCM, Json, SessionOptions

Shape = Literal["ga", "beta", "xai"]

PATHS: Mapping[Shape, Mapping[str, str]] = {
    "ga": {},
    "beta": {
        "type": "",
        "output_modalities": "modalities",
        "audio.input.format": "input_audio_format",
        "audio.input.transcription": "input_audio_transcription",
        "audio.input.noise_reduction": "input_audio_noise_reduction",
        "audio.input.turn_detection": "turn_detection",
        "audio.output.format": "output_audio_format",
        "audio.output.voice": "voice",
        "audio.output.speed": "speed",
        "max_output_tokens": "max_response_output_tokens",
    },
    "xai": {
        "type": "",
        "output_modalities": "",
        "audio.input.noise_reduction": "",
        "audio.input.turn_detection": "turn_detection",
        "audio.output.voice": "voice",
        "audio.output.speed": "",
        "max_output_tokens": "max_response_output_tokens",
    },
}
"""Where a member of the GA session stands in another shape; empty: that shape has no such member."""

EVENT_NAMES: Mapping[str, str] = {
    "conversation.item.created": "conversation.item.added",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}
"""Beta name of a server event → its GA name."""

FLAT_FORMATS: Mapping[str, str] = {"audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw", "audio/pcm": "pcm16"}
_PARTS: Mapping[str, str] = {"output_text": "text", "output_audio": "audio"}
_BETA_HEADER = (("OpenAI-Beta", "realtime=v1"),)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server. The default is OpenAI's own (GA)."""

    shape: Shape = "ga"
    g711: bool = True
    """It speaks G.711; without, PCM of 24 kHz is asked for at once."""
    truncate: Literal["yes", "replace", "note", "no"] = "yes"
    """How it is told what was heard of an item that was cut: by a truncate; by putting an item with the heard words in
    its place; by a note in the conversation; not at all."""
    cancel: bool = True
    """It knows `response.cancel`."""
    transcription: bool = True
    tools: bool = True
    metadata: bool = True
    """A response may carry metadata."""
    greeting: Literal["response", "message"] = "response"
    """Where words that ask for an answer stand: in the response, or in a system message before it."""
    voice_objects: bool = False
    """A voice is named by an object (Azure Voice Live)."""
    leave_out: tuple[str, ...] = ()
    """Members of the session that it refuses, as paths in GA's shape: `audio.input.noise_reduction`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the upgrade, besides the key's."""

    def audio(self, wanted: Format) -> Format:
        """What to ask for where `wanted` would be best."""
        return PCM if isinstance(wanted, Law) and not self.g711 else wanted

    def session(self, options: SessionOptions, audio: Format, without: Collection[str] = ()) -> Json:
        """The `session` member of `session.update`; `without` are paths in GA's shape."""
        session = options.session_update(audio)
        if not self.transcription:
            session["audio"]["input"]["transcription"] = None
        if not self.tools:
            session["tools"] = []
            session.pop("tool_choice", None)
        if self.voice_objects and options.voice is not None:
            session["audio"]["output"]["voice"] = _voice_object(options.voice)
        for path in without:
            _cut(session, path)
        return self._shaped(session) | options.extra

    def message(self, message: Json) -> Json:
        """A client event that was made in GA's shape, as this server reads it."""
        if message["type"] == "response.create" and "response" in message:
            return message | {"response": self._response(message["response"])}
        if message["type"] == "conversation.item.create" and self.shape == "beta":
            return message | {"item": _beta_item(message["item"])}
        return message

    def ga_path(self, param: str) -> str:
        """The path in GA's shape of what an error names, without `session.` before it."""
        path = param.removeprefix("session.")
        for ours, theirs in PATHS[self.shape].items():
            if theirs and (path == theirs or path.startswith(f"{theirs}.")):
                return ours + path[len(theirs) :]
        return path

    def _response(self, response: Json) -> Json:
        told = {name: value for name, value in response.items() if name != "metadata" or self.metadata}
        if self.shape == "beta" and told.pop("output_modalities", None):
            told["modalities"] = ["audio", "text"]
        return told

    def _shaped(self, session: Json) -> Json:
        if self.shape == "ga":
            return session
        told = deepcopy(session)
        moved: Json = {}
        for ours, theirs in PATHS[self.shape].items():
            value = _cut(told, ours)
            if theirs and (value is not None or ours == "audio.input.turn_detection"):
                moved[theirs] = value
        if self.shape == "beta":
            told.pop("audio", None)
            _flatten(moved)
        elif moved.get("turn_detection", {}) is None:
            moved["turn_detection"] = {"type": None}
        return told | moved


def _flatten(session: Json) -> None:
    """Values that the beta shape writes otherwise."""
    for name in ("input_audio_format", "output_audio_format"):
        if name in session:
            session[name] = FLAT_FORMATS[session[name]["type"]]
    if "modalities" in session:
        session["modalities"] = ["audio", "text"]  # both, or the answer is text alone
    detection = session.get("turn_detection")
    if detection and detection.get("idle_timeout_ms", 0) is None:
        del detection["idle_timeout_ms"]


def _beta_item(item: Json) -> Json:
    if item.get("role") != "assistant":
        return item
    return item | {"content": [part | {"type": _PARTS.get(part["type"], part["type"])} for part in item["content"]]}


def _voice_object(voice: str) -> Json:
    return {"name": voice, "type": "azure-standard" if "-" in voice else "openai"}


def _cut(session: Json, path: str) -> Any:
    """Take the member at a path out; what it was, None when there is none."""
    *parents, name = path.split(".")
    place: Any = session
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    return place.pop(name, None) if isinstance(place, dict) else None


GA = Dialect()
_BASES: Mapping[Shape, Dialect] = {
    "ga": GA,
    "beta": Dialect("beta", headers=_BETA_HEADER, leave_out=("audio.input.turn_detection.idle_timeout_ms",)),
    "xai": Dialect("xai", truncate="no"),
}
PRESETS: Mapping[str, Dialect] = {
    "openai": GA,
    "azure": GA,
    "azure-voice-live": replace(_BASES["beta"], voice_objects=True, headers=()),
    "xai": _BASES["xai"],
    "localai": Dialect(g711=False, truncate="replace"),
    "hf": Dialect(g711=False, truncate="note"),
    "speaches": replace(
        _BASES["beta"],
        g711=False,
        truncate="no",
        cancel=False,
        metadata=False,
        leave_out=(
            "audio.input.format",
            "audio.output.format",
            "audio.input.noise_reduction",
            "audio.input.turn_detection.prefix_padding_ms",
            "audio.input.turn_detection.idle_timeout_ms",
            "audio.output.speed",
        ),
    ),
}
"""By the name of the provider in the configuration; any other server is taken to speak GA."""


def dialect_of(provider: str, changes: Mapping[str, Any] | None = None) -> Dialect:
    """The provider's dialect with what the configuration says otherwise (`agents.<name>.server`)."""
    dialect, said = PRESETS.get(provider, GA), dict(changes or {})
    shape = said.pop("dialect", dialect.shape)
    if shape != dialect.shape:
        dialect = _BASES[shape]
    said["leave_out"] = _joined(dialect.leave_out, said.get("leave_out", ()))
    return replace(dialect, **said)


def _joined(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
