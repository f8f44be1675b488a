"""Google Gemini Live (BidiGenerateContent), without I/O: frames in, events out, messages to send.

Facts: provider reference, section 3. A frame holds one thing as a rule, and may hold several: they become events in
the order in which they make sense. The service knows no items, no truncate and no cancel: see `gemini_turns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex

import orjson

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.gemini import messages
from bridge.realtime.gemini.asking import AFTERWORD_S, ANSWER_S, Asking
from bridge.realtime.gemini.calls import ToolCalls
from bridge.realtime.gemini.frames import AUDIO_OUT, Frames
from bridge.realtime.gemini.setup import MODEL, setup, speaks_by_realtime_input, unmapped
from bridge.realtime.gemini.turns import Turns
from bridge.realtime.history import NOTHING, History, Note, Remembered
from bridge.realtime.options import Json, SessionOptions
from bridge.realtime.protocol import GO_ON, Abilities, Alarm

AUDIO_IN = Linear(16000)
FINAL_CLOSE_CODES: Mapping[int, tuple[str, ...]] = {
    1007: ("api key", "api_key", "unsupported language", "not supported"),
    1008: ("api key", "api_key", "permission", "denied", "billing", "quota", "not found for api version", "bidi"),
    1011: ("quota", "billing", "prepayment"),
}
"""Close code → what its reason says, in small letters, when another session would end the same way.

No code is final by itself: 1007 also refuses a resumption, 1008 also ends good sessions at random (`not implemented`,
`was aborted`, `entity was not found`), 1011 is any fault, the end of a connection's time, and a resumption while the
former connection still stands. 1000 may be the end of a connection's time too.
"""
ANSWER = "Answer what the caller has said last."


class GeminiProtocol:
    """One session's protocol state."""

    def __init__(self, options: SessionOptions, history: History = NOTHING) -> None:
        self.options = options
        self.abilities = Abilities(hears_turns=False, decides_turns=True, told_what_was_heard=False)
        self.malformed = 0
        """Frames and parts of frames that made no sense; each is dropped."""
        self.unknown = 0
        """Members of a frame that this version has no use for."""
        self.events_in = 0
        self.resumption = ""
        """The newest handle from which the session can be resumed; empty: there is none."""
        self._history = history
        self.setup = setup(options, history)
        mark = token_hex(4)
        self.turns = Turns(mark)
        self.calls = ToolCalls(mark, options.tools)
        self.is_ready = False
        self._out: list[bytes] = []
        self._by_realtime_input = speaks_by_realtime_input(options)
        self._asking = Asking(self.turns, by_realtime_input=self._by_realtime_input)
        self._heard_bytes = 0
        realtime_input = self.setup.get("realtimeInputConfig", {})
        self._manual = bool(realtime_input.get("automaticActivityDetection", {}).get("disabled"))
        self.is_interruptible = realtime_input.get("activityHandling") != "NO_INTERRUPTION"
        self._activity_open = False
        self._greeting_due = options.greeting is not None and not history
        self._frames = Frames()

    @property
    def unwanted_results(self) -> int:
        """Results of tool calls that were cancelled, or never made."""
        return self.calls.unwanted

    @property
    def late_deltas(self) -> int:
        """Pieces of audio of interrupted turns that came after the interruption."""
        return self.turns.late_deltas

    @property
    def response_active(self) -> bool:
        """Whether an answer is being made, or has been asked for. While the model waits for a tool there is none."""
        return self.turns.active

    @property
    def caller_speaking(self) -> bool:
        """Whether the service hears the caller speak; known after an interruption, and where it signals activity."""
        return self.turns.caller_speaking

    # In

    def begin(self) -> None:
        """The socket is open: the client speaks first."""
        self.send({"setup": self.setup})

    def receive(self, frame: bytes) -> Sequence[ev.Event]:
        """One frame of the server, text or binary. Never raises for what a server sends."""
        self.events_in += 1
        events = self._frames.read(self, frame)
        self._release()
        self._reopen()
        return events

    def audio_message(self, audio: bytes) -> bytes:
        """`realtimeInput` with PCM of 16000 Hz."""
        self._heard_bytes += len(audio)
        self.turns.now_ms = self._heard_bytes // AUDIO_IN.bytes_per_ms
        return messages.audio_message(audio)

    def data_to_send(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        out, self._out = self._out, []
        return out

    # Out

    def greet(self) -> None:
        """Open the conversation as configured; without a greeting the caller speaks first."""
        self._greeting_due = False
        if self.options.greeting is not None:
            self.instruct(self.options.greeting)

    def instruct(self, words: str) -> None:
        """Ask for an answer for which these words are instructions besides the session's own."""
        self._say([messages.said(messages.instruction(words))], complete=True)

    def go_on(self) -> None:
        """Ask for the rest of an answer that the loss of the session before has cut off."""
        self.instruct(GO_ON)

    def respond(self) -> None:
        """Ask for an answer to what was put back. The caller's own words are answered without being asked."""
        if self.turns.active or self.turns.busy:
            return
        if self._by_realtime_input:
            self.instruct(ANSWER)
        else:
            self._say([], complete=True)

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Put words into the conversation as the caller's, and ask for an answer."""
        self._say([messages.said(words)], complete=respond)

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        """Put what was said or done elsewhere at the end of the conversation; `respond` asks for an answer to it."""
        told = messages.contents(turns)
        if told or respond:
            self._say(told, complete=respond)

    def correct(self, item_id: str, heard: str) -> None:
        """Of a remembered item only so much was heard: nothing can be taken back, so it is said."""
        words = f"of your last words before, the caller heard only: {heard}" if heard else "they were not heard"
        self.remember([Note(f"About your words before the line changed: {words}")])

    def forget(self, item_id: str) -> None:
        """Nothing: what the service has heard cannot be taken back."""

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call, unless it was cancelled. A model that waits for the result speaks in any case."""
        answer, goes_on = self.calls.result(call_id, output, respond=respond)
        if answer is not None:
            self.send(answer)
            if goes_on:
                self._asking.asked(within_s=ANSWER_S if respond else AFTERWORD_S)

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed. The service cannot be told what was heard, and cannot be stopped by a command.

        So what it still makes of an answer that the bridge cut is dropped here.
        """
        delay = self.options.far_end_delay_ms
        if not by_server:
            self.turns.cut()
            if self._manual and self.is_ready and not self._activity_open:
                self._open_activity()
        return [ev.Truncated(item.item_id, max(0, item.sent_ms - delay)) for item in heard]

    def hears(self, *, speaking: bool) -> None:
        """Nothing: the service alone decides who speaks."""

    def commit(self) -> None:
        """The caller's turn is over, where the bridge decides that: `turn_detection: none`."""
        if not self._manual or not self.is_ready:
            return
        if self._activity_open:
            self._activity_open = False
            self.send(messages.activity(start=False))
            self._asking.asked()
        else:  # the turn before was not answered: nothing would ever listen again
            self.turns.asked = False
            self._reopen()

    def is_final_close(self, code: int, reason: str) -> bool:
        """Whether another session would end the same way as one that was closed like this."""
        words = reason.lower()
        return any(sign in words for sign in FINAL_CLOSE_CODES.get(code, ()))

    def finish(self) -> None:
        """Nothing: the socket is simply closed."""

    def alarms(self) -> Sequence[Alarm]:
        """The alarms to be set, each once."""
        return self._asking.alarms()

    def rang(self, alarm: Alarm) -> Sequence[ev.Event]:
        """The time of an alarm is over."""
        again, events = self._asking.rang(alarm)
        if again is not None:
            self.send(again)
        return events

    def _say(self, turns: list[Json], *, complete: bool) -> None:
        self._asking.say(turns, complete=complete)
        self._release()

    def _release(self) -> None:
        message = self._asking.release() if self.is_ready else None
        if message is not None:
            self.send(message)

    def _reopen(self) -> None:
        """Where the bridge says when the caller's turn begins: as soon as nothing is being said or asked."""
        idle = not (self._activity_open or self.turns.active or self.turns.busy or self.calls.are_open)
        if self._manual and self.is_ready and idle and not self._greeting_due:
            self._open_activity()

    def _open_activity(self) -> None:
        self._activity_open = True
        self.send(messages.activity(start=True))

    def send(self, message: Json) -> None:
        """One message, with the next `data_to_send`."""
        self._out.append(orjson.dumps(message))

    def set_up(self, session_id: str) -> list[ev.Event]:
        """The service has taken the setup: put back what was said before. A second time changes nothing."""
        if self.is_ready:
            return []
        self.is_ready = True
        self.resumption = self._history.resumption
        self._seed()
        events: list[ev.Event] = []
        if without := unmapped(self.options):
            words = f"Gemini has no place for: {', '.join(without)}"
            events.append(ev.SessionError("not_supported", words, harmless=True))
        return [*events, ev.Ready(session_id, self.options.model or MODEL, AUDIO_IN, AUDIO_OUT)]

    def _seed(self) -> None:
        """Put back what was said before; a resumed session knows it."""
        told = [] if self._history.resumption else messages.contents(self._history.turns)
        awaited = bool(self.setup.get("historyConfig", {}).get("initialHistoryInClientContent"))
        if told or awaited:
            self.send(messages.client_content(told, complete=awaited))
