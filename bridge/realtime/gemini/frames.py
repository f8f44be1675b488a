"""What the server of a Gemini Live session says, read without trusting it. Provider reference, section 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.faults import Malformed, member, text
from bridge.realtime.gemini.messages import audio_rate, decoded, seconds
from bridge.realtime.gemini.setup import MODEL
from bridge.realtime.gemini.usage import TurnUsage
from bridge.realtime.options import Json

if TYPE_CHECKING:
    from bridge.realtime.gemini.protocol import GeminiProtocol

_Reaction = Callable[["Frames", "GeminiProtocol", Json], list[ev.Event]]

AUDIO_OUT = Linear(24000)
SOON_S = 10.0
"""Until the end of a session that does not say when it will be."""
_LONGEST_HANDLE = 8192
_LONGEST_ID = 256
_QUIET_KEYS = frozenset({"voiceActivityDetectionSignal"})
_QUIET_CONTENT = frozenset(
    {
        "groundingMetadata",
        "interactionStatus",
        "interimInputTranscription",
        "turnCompleteReason",
        "urlContextMetadata",
        "waitingForInput",
    }
)
_NO_FAILURE = frozenset({"", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})

MOST_PARTS = 256
"""In one frame; a service sends a few."""


class Frames:
    """The frames of one session, which become events in the order in which they make sense.

    They do not keep the protocol object that they belong to, and so not each other.
    """

    def __init__(self) -> None:
        self._usage = TurnUsage()
        self._turn_is_over = False

    def read(self, protocol: GeminiProtocol, frame: bytes) -> Sequence[ev.Event]:
        """The events of one frame; what makes no sense is counted."""
        try:
            message = orjson.loads(frame)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            protocol.malformed += 1
            return ()
        protocol.unknown += len(message.keys() - _KNOWN_KEYS)
        events = self._guarded(protocol, Frames._on_setup_complete, message, "setupComplete")
        for name, react in _STEPS:
            events += self._guarded(protocol, react, message, name)
        if self._turn_is_over:  # behind the usage in the same frame
            self._turn_is_over = False
            self._usage.turn_over()
        return events

    def _guarded(self, protocol: GeminiProtocol, react: _Reaction, message: Json, name: str) -> list[ev.Event]:
        """One member, if it is there: what makes no sense costs itself and not its neighbours."""
        if name not in message:
            return []
        try:
            if not (protocol.is_ready or name == "setupComplete"):
                raise Malformed("before the session is set up")
            return react(self, protocol, member(message, name))
        except ValueError:  # not Base64, or Malformed
            protocol.malformed += 1
            return []

    # Session

    def _on_setup_complete(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        return protocol.set_up(str(event.get("sessionId") or "")[:_LONGEST_ID])

    def _on_resumption_update(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        handle = event.get("newHandle")
        if event.get("resumable") is True and handle:
            if not isinstance(handle, str) or len(handle) > _LONGEST_HANDLE:
                raise Malformed("newHandle is no handle")
            protocol.resumption = handle
        return []

    def _on_go_away(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        try:
            left = seconds(event.get("timeLeft"))
        except Malformed:  # that it ends is what counts
            left = SOON_S
        return [ev.GoingAway(left)]

    def _on_usage(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        tokens = self._usage.growth(event)
        return [ev.Usage(protocol.options.model or MODEL, tokens)] if tokens else []

    # Content

    def _on_content(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        protocol.unknown += len(event.keys() - _KNOWN_CONTENT)
        events: list[ev.Event] = []
        for name, react in _CONTENTS:
            events += self._guarded(protocol, react, event, name)
        return events

    def _on_caller_words(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        words = text(event, "text") if "text" in event else ""
        finished = event.get("finished") is True
        return protocol.turns.caller_words(words, finished=finished) if words or finished else []

    def _on_agent_words(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        words = text(event, "text") if "text" in event else ""
        return protocol.turns.agent_words(words) if words else []

    def _on_model_turn(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        parts = event.get("parts", [])
        if not isinstance(parts, list) or len(parts) > MOST_PARTS:
            raise Malformed("parts is no list, or one without end")
        events: list[ev.Event] = []
        for part in parts:
            try:
                events += self._on_part(protocol, part)
            except ValueError:
                protocol.malformed += 1
        return events

    def _on_part(self, protocol: GeminiProtocol, part: Any) -> list[ev.Event]:
        """Only audio is spoken; text is a thought, or words that nobody asked for."""
        if not isinstance(part, dict):
            raise Malformed("a part is not an object")
        if part.get("thought") or "inlineData" not in part:
            return protocol.turns.thought()
        data = member(part, "inlineData")
        rate = audio_rate(data.get("mimeType", "audio/pcm"))
        if rate is None:
            protocol.unknown += 1
            return []
        audio = decoded(text(data, "data"))
        if rate != AUDIO_OUT.rate:
            words = f"the service speaks PCM of {rate} Hz, {AUDIO_OUT.rate} was agreed on"
            return [ev.SessionError("format_changed", words, fatal=True)]
        return protocol.turns.audio(audio) if audio else []

    def _on_ends(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        events: list[ev.Event] = []
        if event.get("generationComplete") is True:
            events += protocol.turns.generation_complete()
        if event.get("interrupted") is True:
            events += protocol.turns.interrupted()
        if event.get("turnComplete") is True:
            reason = event.get("turnCompleteReason") or ""
            failure = "" if not isinstance(reason, str) or reason in _NO_FAILURE else reason[:_LONGEST_ID]
            events += protocol.turns.turn_complete(failure)
            self._turn_is_over = True
        return events

    def _on_voice_activity(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        kind = event.get("voiceActivityType")
        if kind not in ("ACTIVITY_START", "ACTIVITY_END"):
            raise Malformed("voiceActivityType is neither start nor end")
        if not protocol.is_interruptible:
            return []
        turns = protocol.turns
        at_ms = int(seconds(event["audioOffset"]) * 1000) if "audioOffset" in event else turns.now_ms
        return turns.activity(start=kind == "ACTIVITY_START", at_ms=at_ms)

    # Tools

    def _on_tool_call(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        calls, refusals, malformed = protocol.calls.received(event)
        protocol.malformed += malformed
        for refusal in refusals:
            protocol.send(refusal)
        return protocol.turns.tools(calls) if calls else []

    def _on_tool_call_cancellation(self, protocol: GeminiProtocol, event: Json) -> list[ev.Event]:
        return protocol.calls.cancelled(event)


# In the order of their events; the content of the server comes before tool calls, its ends behind them.
_STEPS: tuple[tuple[str, _Reaction], ...] = (
    ("sessionResumptionUpdate", Frames._on_resumption_update),
    ("voiceActivity", Frames._on_voice_activity),
    ("serverContent", Frames._on_content),
    ("toolCall", Frames._on_tool_call),
    ("toolCallCancellation", Frames._on_tool_call_cancellation),
    ("serverContent", Frames._on_ends),
    ("usageMetadata", Frames._on_usage),
    ("goAway", Frames._on_go_away),
)
_KNOWN_KEYS = {name for name, _ in _STEPS} | {"setupComplete"} | _QUIET_KEYS
_CONTENTS: tuple[tuple[str, _Reaction], ...] = (
    ("inputTranscription", Frames._on_caller_words),
    ("outputTranscription", Frames._on_agent_words),
    ("modelTurn", Frames._on_model_turn),
)
_KNOWN_CONTENT = (
    {name for name, _ in _CONTENTS} | _QUIET_CONTENT | {"generationComplete", "interrupted", "turnComplete"}
)
