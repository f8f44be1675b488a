"""From `session.created` to audio: what is asked for, what the service makes of it, what is asked for instead.

Reference sections 2, 5, 6 and 13. Formats are only ever those that the service names: bytes and bursts tell nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.faults import inner, member, words
from bridge.realtime.openai.dialect import FLAT_FORMATS, PATHS, Dialect
from bridge.realtime.options import PCM, Json, SessionOptions, wire_format

ATTEMPTS = 12
"""Updates that may be refused before the session is given up."""
_OPTIONAL = (
    "reasoning",
    "parallel_tool_calls",
    "tool_choice",
    "max_output_tokens",
    "truncation",
    "audio.input.noise_reduction",
    "audio.input.transcription",
    "audio.output.voice",
    "audio.output.speed",
)
"""What a session can do without, where a model or server refuses it (quirk I7)."""
_PARTLY = {"audio.input.turn_detection": "type", "audio.input.transcription": "model"}
"""Objects that can do without any member but this one."""
_NAMED = re.compile(r"session(?:\.[a-z0-9_]+)+")
_WIRE_NAMES = {"audio/pcmu": Law.PCMU, "audio/pcma": Law.PCMA, "g711_ulaw": Law.PCMU, "g711_alaw": Law.PCMA}
_PCM_NAMES = ("audio/pcm", FLAT_FORMATS["audio/pcm"])
_NOT_SAID = ("", "not specified")


class Stage(Enum):
    """Where the handshake stands; audio may flow only in READY."""

    CONNECTING = "connecting"  # waiting for session.created
    CONFIGURING = "configuring"  # session.update sent, waiting for its echo
    READY = "ready"
    FAILED = "failed"


class Handshake:
    """One session's configuration. `send` takes each `session.update`."""

    def __init__(self, options: SessionOptions, dialect: Dialect, send: Callable[[Json], object]) -> None:
        self.stage = Stage.CONNECTING
        self.model = options.model
        """As the service names it, once it does."""
        self.audio_out: Format = dialect.audio(options.audio)
        """In force, once ready."""
        self._options = options
        self._dialect = dialect
        self._send = send
        self._asked: Format = self.audio_out
        self._in_force: tuple[Format, Format] = (self.audio_out, self.audio_out)
        self._without: list[str] = list(dialect.leave_out)
        self._attempts = 0
        self._fell_back = ""
        self._session_id = ""

    def created(self, event: Json) -> None:
        """The service is there: tell it what is wanted. A second time changes nothing."""
        self._note(member(event, "session"))
        if self.stage is Stage.CONNECTING:
            self.stage = Stage.CONFIGURING
            self._update()

    def updated(self, event: Json) -> tuple[ev.Event, ...]:
        """The service says what is in force: Ready, another try, or the end."""
        session = member(event, "session")
        told = [spoken(session, side) for side in ("input", "output")]
        if self.stage is Stage.READY:
            return self._still_ready(told)
        if self.stage is not Stage.CONFIGURING:
            return ()
        self._note(session)
        agreed = [self._agreed(said) for said in told]
        incoming, outgoing = agreed
        if incoming is None or outgoing is None:
            return self._other_format(f"the service says {_words(told)}")
        if (incoming, outgoing) != (self._asked, self._asked):
            self._fell_back = self._fell_back or self._mismatch(told)
        return (self._ready(incoming, outgoing, session),)

    def refused(self, error: Json) -> tuple[ev.Event, ...] | None:
        """An error that may be about the update. None: nothing can be asked for instead, the session cannot be had."""
        code, message = words(error, "code", "type"), words(error, "message")
        if self.stage is not Stage.CONFIGURING or self._attempts >= ATTEMPTS:
            return None
        path = self._named(code, words(error, "param"), message)
        if _is_format(path) and self._asked != PCM:
            return self._other_format(f"the service refuses it: {message}")
        left_out = self._optional(path)
        if left_out is None or left_out in self._without:
            return None
        self._without.append(left_out)
        self._update()
        return (ev.SessionError(code, f"{message} ({left_out} is left out)"),)

    def _update(self) -> None:
        self._attempts += 1
        session = self._dialect.session(self._options, self._asked, self._without)
        self._send({"type": "session.update", "session": session})

    def _note(self, session: Json) -> None:
        self._session_id = words(session, "id") or self._session_id
        self.model = words(session, "model") or self.model

    # Formats

    def _agreed(self, said: tuple[Format | None, str]) -> Format | None:
        """What one direction speaks; None: something that must be asked for anew."""
        audio, name = said
        if audio is None:
            silent = name in _NOT_SAID and self._asked == PCM  # PCM of 24 kHz is what they speak when nobody says
            return self._asked if silent else None
        known = audio == self._asked or isinstance(audio, Linear) or self._asked == PCM
        return audio if known else None

    def _other_format(self, why: str) -> tuple[ev.Event, ...]:
        """PCM of 24 kHz instead of what was wished for; the end when that was it."""
        wanted = wire_format(self._asked)["type"]
        words_of_it = f"asked for {wanted} both ways, {why}"
        if self._asked == PCM:
            self.stage = Stage.FAILED
            return (ev.SessionError("format_mismatch", words_of_it, fatal=True),)
        self._fell_back, self._asked = words_of_it, PCM
        self._update()
        return ()

    def _mismatch(self, told: list[tuple[Format | None, str]]) -> str:
        return f"asked for {wire_format(self._asked)['type']} both ways, the service says {_words(told)}"

    def _ready(self, incoming: Format, outgoing: Format, session: Json) -> ev.Ready:
        self.stage = Stage.READY
        self._in_force, self.audio_out = (incoming, outgoing), outgoing
        expires = session.get("expires_at")
        at = float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None
        return ev.Ready(self._session_id, self.model, incoming, outgoing, self._fell_back, at)

    def _still_ready(self, told: list[tuple[Format | None, str]]) -> tuple[ev.Event, ...]:
        """Later updates must leave the formats alone; one that does not tell them does."""
        for (audio, name), in_force in zip(told, self._in_force, strict=True):
            if audio != in_force and name not in _NOT_SAID:
                self.stage = Stage.FAILED
                return (ev.SessionError("format_changed", f"the service says {_words(told)} now", fatal=True),)
        return ()

    # What is left out

    def _named(self, code: str, param: str, message: str) -> str:
        """The member of the session that an error is about, as GA's path; empty when it does not say."""
        if not param:
            found = _NAMED.search(message)
            param = found[0] if found else ""
        if not param and code == "cannot_update_voice":
            return "audio.output.voice"
        return self._dialect.ga_path(param)

    def _optional(self, path: str) -> str | None:
        """What to leave out so that the update is taken; None where the session cannot do without.

        Nor can it without what the configuration names itself (`options.extra`): whoever wrote that must know.
        """
        if path.partition(".")[0] in self._options.extra:
            return None
        for parent, needed in _PARTLY.items():
            member_name = path.removeprefix(f"{parent}.").partition(".")[0]
            if path.startswith(f"{parent}.") and member_name != needed:
                return f"{parent}.{member_name}"
        return next((each for each in _OPTIONAL if path == each or path.startswith(f"{each}.")), None)


def spoken(session: Json, side: str) -> tuple[Format | None, str]:
    """The format of a direction (`input` or `output`) and its name; None for one that is not known or not told."""
    value: Any = inner(inner(session, "audio"), side).get("format")
    rate: Any = None
    if value is None:
        value = session.get(PATHS["beta"][f"audio.{side}.format"])
        rate = session.get(f"{side}_audio_sampling_rate")
    elif isinstance(value, dict):
        value, rate = value.get("type"), value.get("rate")
    name = value[:64] if isinstance(value, str) else ""
    if name in _WIRE_NAMES:
        return _WIRE_NAMES[name], name
    if name not in _PCM_NAMES:
        return None, name
    rate = PCM.rate if rate is None else rate
    usable = isinstance(rate, int) and 8000 <= rate <= 48000 and rate % 1000 == 0
    return (Linear(rate), name) if usable else (None, f"{name} at another rate")


def _is_format(path: str) -> bool:
    return path.startswith(("audio.input.format", "audio.output.format")) or path == "audio"


def _words(told: list[tuple[Format | None, str]]) -> str:
    return " in, ".join(audio.name if audio else name or "nothing" for audio, name in told) + " out"
