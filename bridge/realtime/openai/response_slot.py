"""The one response that a session makes at a time, and those that wait for it (quirks B2, B10, F2).

All `response.create` go through here. A plain one, which asks for an answer to whatever there is, is never
wanted twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from bridge.realtime.faults import FATAL_CODES, RATE_LIMIT_CODES
from bridge.realtime.options import Json

WANTED = 32
"""Responses that may wait; the oldest make room."""
RATE_LIMIT_RETRIES = 4
LONGEST_WAIT_S = 20.0
_WAIT = re.compile(r"try again in ([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(ms|s)", re.IGNORECASE)
AS_AUDIO: Json = {"output_modalities": ["audio"]}


class ResponseSlot:
    """Who has the floor to be answered, and when. `send` sends an event and gives its id."""

    def __init__(self, send: Callable[[Json], str]) -> None:
        self.active: str | None = None
        """The response that the server is making; None between responses."""
        self.caller_speaking = False
        self.covers_caller = False
        """Whether a response was asked for after the caller's last words."""
        self.retry_after_s: float | None = None
        """Seconds after which `retry` should be called; None: nothing waits for that."""
        self._send = send
        self._wanted: deque[Json] = deque(maxlen=WANTED)
        self._asked: str | None = None  # id of a response.create without an answer yet
        self._body: Json = {}  # what the active response, or the one asked for, was asked with
        self._requeued = False
        self._retried = False
        self._limited = 0
        self._later: Json | None = None
        self._stale = False  # what is asked for was interrupted before it began
        self._overtaken: str | None = None  # id of the response.create that was
        self._server_answers = False  # the caller has finished, and the server answers him by itself

    @property
    def busy(self) -> bool:
        """Whether a response is being made, or has been asked for."""
        return self.active is not None or self._asked is not None or bool(self._wanted)

    @property
    def waiting(self) -> bool:
        """Whether a response is wanted that was not asked for yet."""
        return bool(self._wanted)

    def ask(self, response: Json) -> None:
        """Ask for a response as soon as there may be one."""
        if response or {} not in self._wanted:
            self._wanted.append(response)
        self.release()

    def answer(self) -> None:
        """Ask for an answer to what the caller said, unless one that is asked for is that answer."""
        if not self._wanted and not self.covers_caller:
            self.ask({})

    def release(self) -> None:
        """Send the next `response.create` if there may be one now."""
        if self._wanted and not self._asked and self.active is None and not self.caller_speaking:
            self._body = self._wanted.popleft()
            self._asked = self._send({"type": "response.create"} | ({"response": self._body} if self._body else {}))
            self.covers_caller = True

    def caller_starts(self) -> None:
        """The caller speaks: nothing is asked for meanwhile."""
        self.caller_speaking, self.covers_caller, self._server_answers = True, False, False

    def caller_stops(self, *, server_answers: bool) -> None:
        """The caller has finished. Where the server answers by itself, the slot is free after that."""
        self.caller_speaking, self._server_answers = False, server_answers
        self._stale = False  # what begins from here is the answer to him
        if not server_answers:
            self.release()

    def created(self, response_id: str) -> bool:
        """The server began a response. False: it was interrupted before, and must be cancelled."""
        if self._asked is None:
            self._body = {}
            if self._server_answers and {} in self._wanted:  # what came while he spoke is answered with him
                self._wanted.remove({})
        else:
            self._requeued = False
        self.active, self._later, self.retry_after_s = response_id, None, None
        wanted = not (self._stale and self._asked is not None)
        self._asked, self._stale, self._server_answers = None, False, False
        return wanted

    def interrupted(self) -> None:
        """What is being said, or about to be, is not wanted any more."""
        if self.active is not None:
            self.covers_caller = False
        self._stale = self._asked is not None
        self._overtaken = self._asked or self._overtaken
        self._later = self.retry_after_s = None

    def done(self, response_id: str, status: str, code: str = "", message: str = "") -> None:
        """The server ended a response, also one whose beginning was never told (quirk B3)."""
        if self.active in (response_id, None):
            self.active = None
        if status != "failed":
            self._retried, self._limited = False, 0
        elif code in RATE_LIMIT_CODES:
            self._wait(message)
        elif not self._retried and code not in FATAL_CODES:
            self._retried = True
            self._wanted.appendleft(self._body)
        self.release()

    def again_as_audio(self) -> bool:
        """The active response has only been written: want it spoken (quirk C8). False: that was tried already."""
        if self._body.get("output_modalities") == AS_AUDIO["output_modalities"]:
            return False
        self._wanted.appendleft(self._body | AS_AUDIO)
        return True

    def refused(self, message: Json, code: str) -> None:
        """A `response.create` was refused; one that came while another response ran is asked for once more."""
        body = message.get("response", {})
        wanted = message["event_id"] != self._overtaken
        if message["event_id"] == self._asked:
            self._asked, self._stale = None, False
        self._body = {}  # what runs was not asked for
        if code == "conversation_already_has_active_response" and not self._requeued and wanted:
            self._requeued = True
            self._wanted.appendleft(body)

    def retry(self) -> None:
        """The time that the service asked to be left alone is over (quirk B12)."""
        later, self._later, self.retry_after_s = self._later, None, None
        if later is not None:
            self._wanted.appendleft(later)
            self.release()

    def _wait(self, message: str) -> None:
        if self._limited >= RATE_LIMIT_RETRIES:
            return
        found = _WAIT.search(message)
        seconds = float(found[1]) / (1000 if found[2].lower() == "ms" else 1) if found else 2.0**self._limited
        self._limited += 1
        self._later, self.retry_after_s = self._body, min(LONGEST_WAIT_S, seconds)
