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
    """The frames of one session, which become events in the order in which they make sense."""

    def __init__(self, protocol: GeminiProtocol) -> None:
        self._protocol = protocol
        self._usage = TurnUsage()
        self._turn_is_over = False
        # In the order of their events; the content of the server comes before tool calls, its ends behind them.
        self._steps: tuple[tuple[str, Callable[[Json], list[ev.Event]]], ...] = (
            ("sessionResumptionUpdate", self._on_resumption_update),
            ("voiceActivity", self._on_voice_activity),
            ("serverContent", self._on_content),
            ("toolCall", self._on_tool_call),
            ("toolCallCancellation", protocol.calls.cancelled),
            ("serverContent", self._on_ends),
            ("usageMetadata", self._on_usage),
            ("goAway", self._on_go_away),
        )
        self._known_keys = {name for name, _ in self._steps} | {"setupComplete"} | _QUIET_KEYS
        self._contents: tuple[tuple[str, Callable[[Json], list[ev.Event]]], ...] = (
            ("inputTranscription", self._on_caller_words),
            ("outputTranscription", self._on_agent_words),
            ("modelTurn", self._on_model_turn),
        )
        self._known_content = {name for name, _ in self._contents} | _QUIET_CONTENT
        self._known_content |= {"generationComplete", "interrupted", "turnComplete"}

    def read(self, frame: bytes) -> Sequence[ev.Event]:
        """The events of one frame; what makes no sense is counted."""
        try:
            message = orjson.loads(frame)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._protocol.malformed += 1
            return ()
        self._protocol.unknown += len(message.keys() - self._known_keys)
        events = self._guarded(self._on_setup_complete, message, "setupComplete")
        for name, react in self._steps:
            events += self._guarded(react, message, name)
        if self._turn_is_over:  # behind the usage in the same frame
            self._turn_is_over = False
            self._usage.turn_over()
        return events

    def _guarded(self, react: Callable[[Json], list[ev.Event]], message: Json, name: str) -> list[ev.Event]:
        """One member, if it is there: what makes no sense costs itself and not its neighbours."""
        if name not in message:
            return []
        try:
            if not (self._protocol.is_ready or name == "setupComplete"):
                raise Malformed("before the session is set up")
            return react(member(message, name))
        except ValueError:  # not Base64, or Malformed
            self._protocol.malformed += 1
            return []

    # Session

    def _on_setup_complete(self, event: Json) -> list[ev.Event]:
        return self._protocol.set_up(str(event.get("sessionId") or "")[:_LONGEST_ID])

    def _on_resumption_update(self, event: Json) -> list[ev.Event]:
        handle = event.get("newHandle")
        if event.get("resumable") is True and handle:
            if not isinstance(handle, str) or len(handle) > _LONGEST_HANDLE:
                raise Malformed("newHandle is no handle")
            self._protocol.resumption = handle
        return []

    def _on_go_away(self, event: Json) -> list[ev.Event]:
        try:
            left = seconds(event.get("timeLeft"))
        except Malformed:  # that it ends is what counts
            left = SOON_S
        return [ev.GoingAway(left)]

    def _on_usage(self, event: Json) -> list[ev.Event]:
        tokens = self._usage.growth(event)
        return [ev.Usage(self._protocol.options.model or MODEL, tokens)] if tokens else []

    # Content

    def _on_content(self, event: Json) -> list[ev.Event]:
        self._protocol.unknown += len(event.keys() - self._known_content)
        events: list[ev.Event] = []
        for name, react in self._contents:
            events += self._guarded(react, event, name)
        return events

    def _on_caller_words(self, event: Json) -> list[ev.Event]:
        words = text(event, "text") if "text" in event else ""
        finished = event.get("finished") is True
        return self._protocol.turns.caller_words(words, finished=finished) if words or finished else []

    def _on_agent_words(self, event: Json) -> list[ev.Event]:
        words = text(event, "text") if "text" in event else ""
        return self._protocol.turns.agent_words(words) if words else []

    def _on_model_turn(self, event: Json) -> list[ev.Event]:
        parts = event.get("parts", [])
        if not isinstance(parts, list) or len(parts) > MOST_PARTS:
            raise Malformed("parts is no list, or one without end")
        events: list[ev.Event] = []
        for part in parts:
            try:
                events += self._on_part(part)
            except ValueError:
                self._protocol.malformed += 1
        return events

    def _on_part(self, part: Any) -> list[ev.Event]:
        """Only audio is spoken; text is a thought, or words that nobody asked for."""
        if not isinstance(part, dict):
            raise Malformed("a part is not an object")
        if part.get("thought") or "inlineData" not in part:
            return self._protocol.turns.thought()
        data = member(part, "inlineData")
        rate = audio_rate(data.get("mimeType", "audio/pcm"))
        if rate is None:
            self._protocol.unknown += 1
            return []
        audio = decoded(text(data, "data"))
        if rate != AUDIO_OUT.rate:
            words = f"the service speaks PCM of {rate} Hz, {AUDIO_OUT.rate} was agreed on"
            return [ev.SessionError("format_changed", words, fatal=True)]
        return self._protocol.turns.audio(audio) if audio else []

    def _on_ends(self, event: Json) -> list[ev.Event]:
        events: list[ev.Event] = []
        if event.get("generationComplete") is True:
            events += self._protocol.turns.generation_complete()
        if event.get("interrupted") is True:
            events += self._protocol.turns.interrupted()
        if event.get("turnComplete") is True:
            reason = event.get("turnCompleteReason") or ""
            failure = "" if not isinstance(reason, str) or reason in _NO_FAILURE else reason[:_LONGEST_ID]
            events += self._protocol.turns.turn_complete(failure)
            self._turn_is_over = True
        return events

    def _on_voice_activity(self, event: Json) -> list[ev.Event]:
        kind = event.get("voiceActivityType")
        if kind not in ("ACTIVITY_START", "ACTIVITY_END"):
            raise Malformed("voiceActivityType is neither start nor end")
        if not self._protocol.is_interruptible:
            return []
        turns = self._protocol.turns
        at_ms = int(seconds(event["audioOffset"]) * 1000) if "audioOffset" in event else turns.now_ms
        return turns.activity(start=kind == "ACTIVITY_START", at_ms=at_ms)

    # Tools

    def _on_tool_call(self, event: Json) -> list[ev.Event]:
        calls, refusals, malformed = self._protocol.calls.received(event)
        self._protocol.malformed += malformed
        for refusal in refusals:
            self._protocol.send(refusal)
        return self._protocol.turns.tools(calls) if calls else []
