"""Our words to the model of a Gemini Live session: sent when they interrupt nothing, and asked again when unheeded.

`clientContent` in the middle of an answer cuts it off. Gemini 3 takes words only as `realtimeInput.text`, answers each,
and leaves some of them without an answer (reference section 3: about 5 % of 600 calls).
"""

from __future__ import annotations

from collections import deque

from bridge.realtime import events as ev
from bridge.realtime.gemini.messages import as_text, client_content, realtime_text
from bridge.realtime.gemini.turns import Turns
from bridge.realtime.options import Json
from bridge.realtime.protocol import Alarm

AFTERWORD_S = 2.0
"""How long a model may take to begin a sentence after the result of a tool that asked for none."""
ANSWER_S = 10.0
"""Without any sign of an answer for so long it is asked for once more, and then given up."""
_WAITING = 64
_ALARM = "answer"


class Asking:
    """What one session was asked."""

    def __init__(self, turns: Turns, *, by_realtime_input: bool) -> None:
        self._turns = turns
        self._by_realtime_input = by_realtime_input
        self._waiting: deque[tuple[list[Json], bool]] = deque(maxlen=_WAITING)
        self._asked = 0  # how often
        self._again: Json | None = None  # what asks for the same answer once more
        self._alarms: list[Alarm] = []

    def say(self, turns: list[Json], *, complete: bool) -> None:
        """Words for the model, at the next `release`; `complete` asks for an answer."""
        self._waiting.append((turns, complete))

    def release(self) -> Json | None:
        """The message with all the words that wait; None: there are none, or not yet."""
        if not self._waiting or self._turns.busy:
            return None
        complete = any(asks for _, asks in self._waiting)
        if self._by_realtime_input and not complete:
            return None  # what shall not be answered goes with the next that shall
        turns = [turn for several, _ in self._waiting for turn in several]
        self._waiting.clear()
        message = client_content(turns, complete=complete)
        again = client_content([], complete=True)
        if self._by_realtime_input:
            message = again = realtime_text("\n".join(map(as_text, turns)))
        if complete:
            self.asked(again)
        return message

    def asked(self, again: Json | None = None, within_s: float = ANSWER_S) -> None:
        """An answer is due from now on; `again` asks for it once more."""
        self._asked += 1
        self._turns.asked, self._again = True, again
        self._alarms = [Alarm(_ALARM, str(self._asked), within_s)]

    def alarms(self) -> list[Alarm]:
        """The alarms to be set, each once."""
        new, self._alarms = self._alarms, []
        return new

    def rang(self, alarm: Alarm) -> tuple[Json | None, list[ev.Event]]:
        """Time is up for an answer: what asks for it again, or the end of the wait."""
        if (alarm.name, alarm.about) != (_ALARM, str(self._asked)) or not self._turns.asked:
            return None, []
        again = self._again
        if again is None:
            return None, self._turns.given_up()
        self.asked()
        return again, []
