"""The messages of the ElevenLabs agents socket, and the server events without effect here (reference section 4)."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.realtime.history import AgentWords, CallerWords, History, Remembered, ToolUse
from bridge.realtime.options import Json, SessionOptions

FORMATS: Mapping[str, Format] = {
    "ulaw_8000": Law.PCMU,
    "pcm_8000": Linear(8000),
    "pcm_16000": Linear(16000),
    "pcm_24000": Linear(24000),
    "pcm_48000": Linear(48000),
}
"""The formats of an agent that can be used. `pcm_22050` and `pcm_44100` have no whole samples in a millisecond."""

WITHOUT_EFFECT = frozenset(
    {
        "agent_chat_response_part",
        "agent_response_metadata",
        "agent_tool_request",
        "agent_tool_response",
        "agent_tool_response_full_payload",
        "agent_typing",
        "asr_initiation_metadata",
        "context_usage",
        "dtmf_request",
        "external_agent_connected",
        "external_agent_disconnected",
        "guardrail_triggered",
        "internal_tentative_agent_response",
        "internal_turn_probability",
        "mcp_connection_status",
        "queue_status",
        "tentative_user_transcript",
        "vad_score",
    }
)
"""Events that are well known and change nothing here."""

NUDGE = "(The caller says nothing. Follow the note that you were just given.)"
"""The only thing that makes an agent speak is a user's turn; this is one without words of the caller."""
ANSWER = "(The caller waits for your answer to what he said last.)"
"""The same after a loss, when his words are only in a note."""
_CHUNK_HEAD = b'{"user_audio_chunk":"'
_CHUNK_TAIL = b'"}'
_NOT_ABOUT_THE_CALL = "purpose"
"""The pair of `SessionOptions.metadata` that marks OpenAI's greeting response."""


def audio_chunk(audio: bytes) -> bytes:
    """The caller's audio, the one message without a `type`."""
    return _CHUNK_HEAD + b2a_base64(audio, newline=False) + _CHUNK_TAIL


def initiation(options: SessionOptions, history: History) -> Json:
    """`conversation_initiation_client_data`, the first message: only what is really configured is overridden.

    An override that the agent's settings do not allow closes the socket with 1008.
    """
    data: Json = {}
    if overrides := _overrides(options):
        data["conversation_config_override"] = overrides
    if variables := {name: value for name, value in options.metadata.items() if name != _NOT_ABOUT_THE_CALL}:
        data["dynamic_variables"] = variables
    data = _merged(data, options.extra)
    if history and first_message(data) is not None:
        data["conversation_config_override"]["agent"]["first_message"] = ""  # he was greeted in the session before
    return data | {"type": "conversation_initiation_client_data"}


def first_message(data: Json) -> str | None:
    """What the agent is told to say first; empty: the caller speaks first; None: as its settings say."""
    value: object = data
    for name in ("conversation_config_override", "agent", "first_message"):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _overrides(options: SessionOptions) -> Json:
    agent: Json = {}
    if options.instructions is not None:
        agent["prompt"] = {"prompt": options.instructions}
    if options.language is not None:
        agent["language"] = options.language.partition("-")[0].lower()
    if options.greeting is not None:
        agent["first_message"] = ""  # the greeting is asked for, not read out
    voice = {"voice_id": options.voice, "speed": options.speed}
    tts = {name: value for name, value in voice.items() if value is not None}
    return {name: value for name, value in (("agent", agent), ("tts", tts)) if value}


def _merged(base: Mapping[str, object], more: Mapping[str, object]) -> Json:
    """`more` over `base`; objects are merged member by member, and none of theirs is in the result."""
    merged = dict(base)
    for name, value in more.items():
        known = merged.get(name)
        merged[name] = _merged(known if isinstance(known, dict) else {}, value) if isinstance(value, dict) else value
    return merged


def user_message(words: str) -> Json:
    """A turn of the caller in writing. The agent answers it."""
    return {"type": "user_message", "text": words}


def note(words: str) -> Json:
    """Something for the agent to know, said by nobody. It does not answer."""
    return {"type": "contextual_update", "text": words}


def tool_result(call_id: str, result: str, *, is_error: bool) -> Json:
    """The result of a client tool, as text."""
    return {"type": "client_tool_result", "tool_call_id": call_id, "result": result, "is_error": is_error}


def approval(call_id: str, *, approved: bool) -> Json:
    """Whether an MCP tool may be used."""
    return {"type": "mcp_tool_approval_result", "tool_call_id": call_id, "is_approved": approved}


def approves(tools: Sequence[Json], call: Json) -> bool:
    """Whether the configuration allows an MCP tool without asking, in the words of OpenAI's `mcp` tools.

    `require_approval: never`, a `server_label` that is the service's id, and the name in `allowed_tools`, if set.
    """
    return any(
        tool.get("type") == "mcp"
        and tool.get("require_approval") == "never"
        and tool.get("server_label") == call.get("service_id")
        and _allows(tool.get("allowed_tools"), call.get("tool_name"))
        for tool in tools
    )


def _allows(allowed: object, name: object) -> bool:
    return allowed is None or (isinstance(allowed, list | tuple) and name in allowed)


def recounted(turns: Iterable[Remembered]) -> str:
    """What was said and done before, as one note; empty when there is nothing to tell."""
    lines = [line for turn in turns if (line := _line(turn))]
    return "\n".join(("What was said and done so far in this call, oldest first:", *lines)) if lines else ""


def _line(turn: Remembered) -> str:
    if isinstance(turn, CallerWords):
        return f"Caller: {turn.text or '(not understood)'}"
    if isinstance(turn, AgentWords):
        return f"You: {turn.text}{' (cut off here)' if turn.cut else ''}" if turn.text else ""
    if isinstance(turn, ToolUse):
        return f"You used the tool {turn.name} with {turn.arguments}; its result: {turn.output}"
    return f"Note: {turn.text}"
