"""Server transactions (RFC 3261 section 17.2, RFC 6026 section 7.1)."""

from __future__ import annotations

from .message import Request, Response
from .transaction import Action, Deliver, Failed, Moves, Send, State, Timers, Transaction, event_of

_T, _P, _A = State.TRYING, State.PROCEEDING, State.ACCEPTED
_D, _F, _X = State.COMPLETED, State.CONFIRMED, State.TERMINATED

INVITE_SERVER: Moves = {
    (_P, "INVITE"): _P,
    (_P, "1xx"): _P,
    (_P, "2xx"): _A,
    (_P, "final"): _D,
    (_P, "error"): _X,
    (_A, "INVITE"): _A,
    (_A, "2xx"): _A,
    (_A, "ACK"): _A,
    (_A, "L"): _X,
    (_A, "error"): _A,
    (_D, "INVITE"): _D,
    (_D, "G"): _D,
    (_D, "ACK"): _F,
    (_D, "H"): _X,
    (_D, "error"): _X,
    (_F, "INVITE"): _F,
    (_F, "ACK"): _F,
    (_F, "I"): _X,
}

SERVER: Moves = {
    (_T, "request"): _T,
    (_T, "1xx"): _P,
    (_T, "2xx"): _D,
    (_T, "final"): _D,
    (_T, "error"): _X,
    (_P, "request"): _P,
    (_P, "1xx"): _P,
    (_P, "2xx"): _D,
    (_P, "final"): _D,
    (_P, "error"): _X,
    (_D, "request"): _D,
    (_D, "J"): _X,
    (_D, "error"): _X,
}


class InviteServer(Transaction):
    """INVITE server transaction (RFC 3261 17.2.1 with the Accepted state of RFC 6026 7.1)."""

    moves = INVITE_SERVER
    start = State.PROCEEDING

    def __init__(self, request: Request, now: float, timers: Timers, reliable: bool) -> None:
        super().__init__(request, now, timers, reliable)
        self._last = b""

    def respond(self, response: Response, now: float) -> list[Action]:
        """Send an answer. A 2xx may be sent again: its repeats are the user's task until the ACK."""
        event = event_of(response.status)
        again = self.state is State.ACCEPTED
        self._demand(event)
        self._last = bytes(response)
        if event == "2xx" and not again:
            self._deadlines["L"] = now + self.timers.life
        elif event == "final":
            self._interval = self.timers.t1
            self._deadlines["H"] = now + self.timers.life
            if not self.reliable:
                self._deadlines["G"] = now + self._interval
        return [Send(self._last, again)]

    def receive(self, request: Request, now: float) -> list[Action]:
        """The INVITE once more, or the ACK."""
        before = self.state
        if not self._move(request.method):
            return []
        if request.method == "INVITE":
            # RFC 6026 only absorbs it in Accepted; sending the 200 again costs nothing and helps.
            repeats = self._last and before is not State.CONFIRMED
            return [Send(self._last, repeat=True)] if repeats else []
        if before is State.COMPLETED:
            self._linger("I", now, self.timers.t4)
        return [Deliver(request)] if before is State.ACCEPTED else []

    def _fire(self, name: str, now: float) -> list[Action]:
        self._move(name)
        if name == "G":
            self._again("G", now, self.timers.t2)
            return [Send(self._last, repeat=True)]
        return [Failed("timeout")] if name == "H" else []


class Server(Transaction):
    """Non-INVITE server transaction (RFC 3261 17.2.2)."""

    moves = SERVER
    start = State.TRYING

    def __init__(self, request: Request, now: float, timers: Timers, reliable: bool) -> None:
        super().__init__(request, now, timers, reliable)
        self._last = b""

    def respond(self, response: Response, now: float) -> list[Action]:
        """Send an answer; one final answer only."""
        event = event_of(response.status)
        self._demand(event)
        self._last = bytes(response)
        if event != "1xx":
            self._linger("J", now, self.timers.life)
        return [Send(self._last)]

    def receive(self, request: Request, now: float) -> list[Action]:
        """The request once more: it gets the last answer once more."""
        if self._move("request") and self._last:
            return [Send(self._last, repeat=True)]
        return []

    def _fire(self, name: str, now: float) -> list[Action]:
        self._move(name)
        return []
