"""Client transactions (RFC 3261 section 17.1, RFC 6026 section 7.2)."""

from __future__ import annotations

from .headers import Headers
from .message import Request, Response
from .transaction import Action, Deliver, Failed, Moves, Send, State, Timers, Transaction, event_of

_C, _T, _P, _A = State.CALLING, State.TRYING, State.PROCEEDING, State.ACCEPTED
_D, _X = State.COMPLETED, State.TERMINATED

INVITE_CLIENT: Moves = {
    (_C, "A"): _C,
    (_C, "B"): _X,
    (_C, "1xx"): _P,
    (_C, "2xx"): _A,
    (_C, "final"): _D,
    (_C, "error"): _X,
    (_P, "1xx"): _P,
    (_P, "2xx"): _A,
    (_P, "final"): _D,
    (_A, "2xx"): _A,
    (_A, "M"): _X,
    (_D, "final"): _D,
    (_D, "D"): _X,
    (_D, "error"): _X,
}

CLIENT: Moves = {
    (_T, "E"): _T,
    (_T, "F"): _X,
    (_T, "1xx"): _P,
    (_T, "2xx"): _D,
    (_T, "final"): _D,
    (_T, "error"): _X,
    (_P, "E"): _P,
    (_P, "F"): _X,
    (_P, "1xx"): _P,
    (_P, "2xx"): _D,
    (_P, "final"): _D,
    (_P, "error"): _X,
    (_D, "2xx"): _D,
    (_D, "final"): _D,
    (_D, "K"): _X,
}


class InviteClient(Transaction):
    """INVITE client transaction (RFC 3261 17.1.1 with the Accepted state of RFC 6026 7.2)."""

    moves = INVITE_CLIENT
    start = State.CALLING

    def __init__(self, request: Request, now: float, timers: Timers, reliable: bool) -> None:
        super().__init__(request, now, timers, reliable)
        self._deadlines["B"] = now + timers.life
        if not reliable:
            self._deadlines["A"] = now + timers.t1
        self._ack = b""

    def begin(self) -> list[Action]:
        return [Send(bytes(self.request))]

    def receive(self, response: Response, now: float) -> list[Action]:
        """An answer: a refusal is acknowledged here, a 2xx by the user (RFC 3261 13.2.2.4)."""
        before, event = self.state, event_of(response.status)
        if not self._move(event):
            return []
        if event == "2xx" and before is not State.ACCEPTED:
            self._deadlines["M"] = now + self.timers.life
        if event != "final":
            return [Deliver(response)]
        if before is State.COMPLETED:
            return [Send(self._ack, repeat=True)]
        self._ack = bytes(refusal_ack(self.request, response))
        self._linger("D", now, self.timers.life)
        return [Send(self._ack), Deliver(response)]

    def _fire(self, name: str, now: float) -> list[Action]:
        self._move(name)
        if name == "A":
            self._again("A", now, self.timers.life)
            return [Send(bytes(self.request), repeat=True)]
        return [Failed("timeout")] if name == "B" else []


class Client(Transaction):
    """Non-INVITE client transaction (RFC 3261 17.1.2)."""

    moves = CLIENT
    start = State.TRYING

    def __init__(self, request: Request, now: float, timers: Timers, reliable: bool) -> None:
        super().__init__(request, now, timers, reliable)
        self._until = now + timers.life
        self._deadlines["F"] = self._until
        if not reliable:
            self._deadlines["E"] = now + timers.t1

    def begin(self) -> list[Action]:
        return [Send(bytes(self.request))]

    def receive(self, response: Response, now: float) -> list[Action]:
        """An answer; only the first final one is passed on."""
        before, event = self.state, event_of(response.status)
        running = dict(self._deadlines)
        if not self._move(event) or before is State.COMPLETED:
            return []
        if event == "1xx":
            self._deadlines = running
        else:
            self._linger("K", now, self.timers.t4)
        return [Deliver(response)]

    def _fire(self, name: str, now: float) -> list[Action]:
        self._move(name)
        if name == "F":
            return [Failed("timeout")]
        if name == "E":
            if self.state is State.PROCEEDING:
                self._interval = self.timers.t2
            self._again("E", now, self.timers.t2)
            return [Send(bytes(self.request), repeat=True)]
        return []


def refusal_ack(invite: Request, response: Response) -> Request:
    """The ACK for a 300-699 answer: same branch, the To of the answer (RFC 3261 17.1.1.3)."""
    kept = [line for line in invite.lines if line.key in ("from", "call-id", "route")]
    via = invite.lines.lines("Via")[0]
    to = response.lines.lines("To")[0]
    own = Headers.make((("CSeq", f"{invite.cseq.number} ACK"), ("Max-Forwards", "70")))
    return Request(Headers((via, *kept, to, *own)), b"", "ACK", invite.uri)
