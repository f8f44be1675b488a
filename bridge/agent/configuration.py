"""What `session.update` may say and what a session is set to (GA shape)."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from bridge.agent import checks
from bridge.agent.formats import AudioFormat
from bridge.agent.refusal import Refusal, missing, unknown_parameter, wrong_value

INSTRUCTIONS = "You answer the phone. Be friendly, brief and honest about what you can do."
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")

# Models that take neither `reasoning` nor `parallel_tool_calls`: they refuse the whole update.
_PLAIN_MODELS = ("gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-mini", "gpt-realtime-2025-08-28")

_SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


def audio_format(value: Any, path: str) -> AudioFormat:
    """`{"type": "audio/pcm", "rate": 24000}`, `{"type": "audio/pcmu"}` or `{"type": "audio/pcma"}`."""
    given = checks.mapping(value, path)
    if "type" not in given:
        raise missing(f"{path}.type")
    kind = AudioFormat(checks.one_of(*(each.value for each in AudioFormat))(given["type"], f"{path}.type"))
    for key in given:
        if key not in ("type", "rate") or (key == "rate" and kind is not AudioFormat.PCM):
            raise unknown_parameter(f"{path}.{key}")
    if kind is AudioFormat.PCM:
        if "rate" not in given:
            raise missing(f"{path}.rate")
        checks.integer(1, 1_000_000)(given["rate"], f"{path}.rate")
        if given["rate"] != 24000:
            raise wrong_value(f"{path}.rate", "24000")
    return kind


def modalities(value: Any, path: str) -> list[str]:
    chosen: list[str] = checks.list_of(checks.one_of("audio", "text"))(value, path)
    if len(chosen) != 1:
        raise wrong_value(path, "either ['audio'] or ['text']")
    return chosen


def voice(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return checks.record({"id": checks.text}, ("id",))(value, path)
    return checks.one_of(*VOICES)(value, path)


def max_output_tokens(value: Any, path: str) -> Any:
    return value if value == "inf" else checks.integer(1, 4096)(value, path)


def tool_choice(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return checks.one_of("auto", "none", "required")(value, path)
    function = checks.record({"type": checks.text, "name": checks.text}, ("type", "name"))
    mcp = checks.record(
        {"type": checks.text, "server_label": checks.text, "name": checks.nullable(checks.text)},
        ("type", "server_label"),
    )
    return checks.by_type({"function": function, "mcp": mcp})(value, path)


def _transcription(value: Any, path: str) -> dict[str, Any]:
    given: dict[str, Any] = checks.record(
        {
            "model": checks.text,
            "language": checks.nullable(checks.text),
            "languages": checks.list_of(checks.text),
            "keywords": checks.list_of(checks.text),
            "prompt": checks.nullable(checks.text),
            "delay": checks.one_of("minimal", "low", "medium", "high", "xhigh"),
        },
        ("model",),
    )(value, path)
    return {"model": given["model"], "language": None, "prompt": None} | given


def _truncation(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return checks.one_of("auto", "disabled")(value, path)
    limits = checks.record({"post_instructions": checks.integer(0, 1_000_000)})
    fields = {"type": checks.text, "retention_ratio": checks.number(0, 1), "token_limits": limits}
    return checks.by_type({"retention_ratio": checks.record(fields, ("type", "retention_ratio"))})(value, path)


def _tracing(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return checks.one_of("auto")(value, path)
    return checks.record({"workflow_name": checks.text, "group_id": checks.text, "metadata": checks.mapping})(
        value, path
    )


_FUNCTION_TOOL = checks.record(
    {
        "type": checks.text,
        "name": checks.text_up_to(64),
        "description": checks.text,
        "parameters": checks.mapping,
    },
    ("type", "name"),
)
_MCP_TOOL = checks.record(
    {
        "type": checks.text,
        "server_label": checks.text,
        "server_url": checks.text,
        "connector_id": checks.text,
        "tunnel_id": checks.text,
        "authorization": checks.text,
        "headers": checks.nullable(checks.mapping),
        "allowed_tools": checks.anything,
        "require_approval": checks.anything,
        "server_description": checks.text,
        "defer_loading": checks.boolean,
        "allowed_callers": checks.list_of(checks.text),
    },
    ("type", "server_label"),
)
tools = checks.list_of(checks.by_type({"function": _FUNCTION_TOOL, "mcp": _MCP_TOOL}))

_TURN_DETECTION = checks.by_type(
    {
        "server_vad": checks.record(
            {
                "type": checks.text,
                "threshold": checks.number(0, 1),
                "prefix_padding_ms": checks.integer(0, 60_000),
                "silence_duration_ms": checks.integer(0, 60_000),
                "idle_timeout_ms": checks.nullable(checks.integer(5000, 30_000)),
                "create_response": checks.boolean,
                "interrupt_response": checks.boolean,
            }
        ),
        "semantic_vad": checks.record(
            {
                "type": checks.text,
                "eagerness": checks.one_of("low", "medium", "high", "auto"),
                "create_response": checks.boolean,
                "interrupt_response": checks.boolean,
            }
        ),
    }
)
_NOISE_REDUCTION = checks.record(
    {"type": checks.one_of("near_field", "far_field"), "strength": checks.number(0, 1)}, ("type",)
)
_AUDIO = checks.record(
    {
        "input": checks.record(
            {
                "format": audio_format,
                "noise_reduction": checks.nullable(_NOISE_REDUCTION),
                "transcription": checks.nullable(_transcription),
                "turn_detection": checks.nullable(_TURN_DETECTION),
            }
        ),
        "output": checks.record({"format": audio_format, "voice": voice, "speed": checks.number(0.25, 1.5)}),
    }
)
reasoning = checks.record({"effort": checks.one_of("minimal", "low", "medium", "high", "xhigh")})
prompt = checks.record(
    {"id": checks.text, "version": checks.nullable(checks.text), "variables": checks.nullable(checks.mapping)},
    ("id",),
)

_SESSION = checks.record(
    {
        "type": checks.one_of("realtime"),
        "model": checks.text,
        "output_modalities": modalities,
        "instructions": checks.text,
        "audio": _AUDIO,
        "tools": tools,
        "tool_choice": tool_choice,
        "parallel_tool_calls": checks.boolean,
        "reasoning": checks.nullable(reasoning),
        "max_output_tokens": max_output_tokens,
        "truncation": _truncation,
        "tracing": checks.nullable(_tracing),
        "prompt": checks.nullable(prompt),
        "include": checks.nullable(checks.list_of(checks.one_of("item.input_audio_transcription.logprobs"))),
    },
    ("type",),
)


class Configuration:
    """The effective session object. `update` applies a whole `session.update` or nothing of it."""

    def __init__(self, session_id: str, model: str, expires_at: int) -> None:
        self.session_id = session_id
        self.model = model
        self.expires_at = expires_at
        self.input_format = AudioFormat.PCM
        self.output_format = AudioFormat.PCM
        self.voice: Any = "marin"
        self.speed = 1.0
        self.transcription: dict[str, Any] | None = None
        self.noise_reduction: dict[str, Any] | None = None
        self.turn_detection: dict[str, Any] | None = dict(_SERVER_VAD)
        # Set when the first audio of the assistant has left: from then on the voice is fixed.
        self.voice_locked = False
        self._plain: dict[str, Any] = {
            "output_modalities": ["audio"],
            "instructions": INSTRUCTIONS,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
        }

    @property
    def output_modalities(self) -> list[str]:
        return list(self._plain["output_modalities"])

    @property
    def instructions(self) -> str:
        return str(self._plain["instructions"])

    @property
    def tools(self) -> list[dict[str, Any]]:
        return list(self._plain["tools"])

    @property
    def tool_choice(self) -> Any:
        return self._plain["tool_choice"]

    @property
    def max_output_tokens(self) -> int | str:
        limit: int | str = self._plain["max_output_tokens"]
        return limit

    def update(self, session: Any) -> None:
        """Apply the `session` member of a `session.update`. Raises Refusal; nothing is changed then."""
        given = _SESSION(session, "session")
        self._refuse_fixed(given)
        audio = given.pop("audio", {})
        given.pop("type")
        given.pop("model", None)
        self._plain.update(given)
        self._update_input(audio.get("input", {}))
        output = audio.get("output", {})
        self.output_format = output.get("format", self.output_format)
        self.voice = output.get("voice", self.voice)
        self.speed = output.get("speed", self.speed)

    def _refuse_fixed(self, given: Mapping[str, Any]) -> None:
        for name in ("reasoning", "parallel_tool_calls"):
            if name in given and self.model in _PLAIN_MODELS:
                raise unknown_parameter(f"session.{name}")
        if given.get("model", self.model) != self.model:
            raise wrong_value("session.model", "the model of the connection")
        chosen = given.get("audio", {}).get("output", {}).get("voice", self.voice)
        if self.voice_locked and chosen != self.voice:
            raise Refusal(
                "cannot_update_voice",
                "The voice cannot change once the assistant has been heard.",
                "session.audio.output.voice",
            )

    def _update_input(self, given: Mapping[str, Any]) -> None:
        self.input_format = given.get("format", self.input_format)
        if "transcription" in given:
            self.transcription = given["transcription"]
        if "noise_reduction" in given:
            self.noise_reduction = given["noise_reduction"]
        if "turn_detection" in given:
            self.turn_detection = self._turn_detection(given["turn_detection"])

    def _turn_detection(self, given: dict[str, Any] | None) -> dict[str, Any] | None:
        if given is None:
            return None
        current = self.turn_detection
        if current is None or current["type"] != given["type"]:
            current = _SERVER_VAD if given["type"] == "server_vad" else _SEMANTIC_VAD
        return current | given

    def wire(self, echo_format: AudioFormat | None = None) -> dict[str, Any]:
        """The session object of `session.created` and `session.updated`. `echo_format` lies about the formats."""
        plain = deepcopy(self._plain)
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.session_id,
            "model": self.model,
            **plain,
            "expires_at": self.expires_at,
            "audio": {
                "input": {
                    "format": (echo_format or self.input_format).wire(),
                    "transcription": self.transcription,
                    "noise_reduction": self.noise_reduction,
                    "turn_detection": self.turn_detection,
                },
                "output": {
                    "format": (echo_format or self.output_format).wire(),
                    "voice": self.voice,
                    "speed": self.speed,
                },
            },
        }
