"""The session of OpenAI Live as it is asked for: `session.start` (reference section 2).

The object is strict: a field the service does not know is an error, so only what it documents is ever put in.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.realtime.events import Ready
from bridge.realtime.faults import inner, words
from bridge.realtime.history import AgentWords, CallerWords, Remembered
from bridge.realtime.live.messages import NOT_UNDERSTOOD, words_of
from bridge.realtime.live.texts import shortened, tokens
from bridge.realtime.options import Json, SessionOptions

MODEL = "gpt-live-1"
BACKEND_MODEL = "gpt-5.6-luna"
"""Answers what the voice delegates, unless `delegation.responses.model` in `SessionOptions.extra` names another."""
HISTORY_MESSAGES = 128
HISTORY_TOKENS = 8192
MESSAGE_TOKENS = 8
"""Reckoned for what surrounds the text of a message of the history."""
LONGEST_MESSAGE_TOKENS = 2000
"""Of one message of the history, so that one long result does not push out the conversation."""
LEFT_OUT = "The conversation began earlier; what was said before this is not repeated here."
_PCM = Linear(24000)
_RATES = (16000, 24000)
_KNOWN: tuple[Format, ...] = (Law.PCMU, Law.PCMA, Linear(16000), Linear(24000))
_FUNCTION_FIELDS = ("type", "name", "description", "parameters", "strict")
_DELEGATE = "You do none of this yourself. Delegate it, and it will be done:"


def session_start(options: SessionOptions, turns: Sequence[Remembered]) -> Json:
    """The `session` member of `session.start`; `SessionOptions.extra` is merged in, objects field by field."""
    audio: Json = {"format": wire_format(options.audio)}
    if options.voice is not None:
        audio["output"] = {"voice": options.voice}
    session: Json = {"model": options.model or MODEL, "audio": audio}
    if instructions := _instructions(options):
        session["instructions"] = instructions
    if options.tools or _names_responses(options.extra.get("delegation")):
        session["delegation"] = _delegation(options)
    if history := history_input(turns):
        session["input"] = history
    return _merged(session, options.extra)


def wire_format(audio: Format) -> Json:
    """What to ask for: this format, or PCM at 24 kHz where the service does not speak it."""
    if isinstance(audio, Law):
        return {"type": "audio/pcmu" if audio is Law.PCMU else "audio/pcma", "rate": audio.rate}
    return {"type": "audio/pcm", "rate": audio.rate if audio.rate in _RATES else _PCM.rate}


def ready(session: Json, asked: Format) -> Ready | None:
    """What `session.started` says is in force; None for a format that is not known here, or not told."""
    told = inner(session, "audio").get("format")
    audio = next((known for known in _KNOWN if told == wire_format(known)), None)
    if audio is None:
        return None
    expires = session.get("expires_at")
    return Ready(
        words(session, "id"),
        words(session, "model"),
        audio,
        audio,
        fell_back="" if audio == asked else f"asked for {asked.name}, the service speaks {audio.name}",
        expires_at=float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
    )


def history_input(turns: Sequence[Remembered]) -> list[Json]:
    """What was said and done before, within the service's limits: the newest of it, and a note if there was more."""
    messages = [message for turn in turns if (message := _message(turn)) is not None]
    kept: list[Json] = []
    left = HISTORY_TOKENS - _cost(note := _text_message("developer", LEFT_OUT))
    for message in reversed(messages):
        left -= _cost(message)
        if left < 0 or (len(kept) == HISTORY_MESSAGES - 1 and len(messages) > HISTORY_MESSAGES):
            return [note, *reversed(kept)]
        kept.append(message)
    return messages


def _message(turn: Remembered) -> Json | None:
    match turn:
        case CallerWords(_, text):
            return _text_message("user", text) if text else _text_message("developer", NOT_UNDERSTOOD)
        case AgentWords(_, text):
            return _text_message("assistant", text) if text else None
        case _:
            return _text_message("developer", words_of(turn))


def _text_message(role: str, text: str) -> Json:
    part = {"type": "output_text" if role == "assistant" else "input_text", "text": _short(text)}
    return {"type": "message", "role": role, "content": [part]}


def _short(text: str) -> str:
    return shortened(text, LONGEST_MESSAGE_TOKENS)


def _cost(message: Json) -> int:
    return tokens(message["content"][0]["text"]) + MESSAGE_TOKENS


def _instructions(options: SessionOptions) -> str:
    """The persona, and what can be delegated: the voice itself is told of no tool, so it would never ask for one."""
    parts = [options.instructions or ""]
    if options.language:
        parts.append(f"The language of the conversation, by its ISO 639-1 code: {options.language}.")
    described = [tool for tool in options.tools if tool.get("type") == "function"]
    if described:
        tools = (f"- {tool.get('name', '')}: {tool.get('description', '')}" for tool in described)
        parts.append("\n".join((_DELEGATE, *tools)))
    return "\n\n".join(part for part in parts if part)


def _names_responses(delegation: object) -> bool:
    return isinstance(delegation, dict) and (delegation.get("type") == "responses" or "responses" in delegation)


def _delegation(options: SessionOptions) -> Json:
    """Delegation to a text model of the service, with the tools; or what the configuration names instead."""
    asked = options.extra.get("delegation")
    kind = asked.get("type", "responses") if isinstance(asked, dict) else "responses"
    if kind != "responses":
        return {"type": kind}
    backend: Json = {
        "model": BACKEND_MODEL,
        "tools": [_tool(tool) for tool in options.tools],
        "parallel_tool_calls": bool(options.parallel_tool_calls),
    }
    if options.instructions:
        backend["instructions"] = options.instructions
    if options.tool_choice is not None:
        backend["tool_choice"] = options.tool_choice
    if isinstance(options.max_output_tokens, int):
        backend["max_output_tokens"] = options.max_output_tokens
    if options.reasoning_effort is not None:
        backend["reasoning"] = {"effort": options.reasoning_effort}
    return {"type": "responses", "responses": backend}


def _tool(tool: Json) -> Json:
    if tool.get("type") != "function":
        return dict(tool)
    return {name: tool[name] for name in _FUNCTION_FIELDS if name in tool}


def _merged(base: Json, more: Json) -> Json:
    merged = dict(base)
    for name, value in more.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
