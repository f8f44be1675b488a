"""Many outgoing calls from one UDP port (RFC 3261): placed, answered, ended, and what became of each."""

from __future__ import annotations

import contextlib
import heapq
import secrets
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.bench.sip_text import Address, Dialog, Message, answer, call_number
from tests.bench.sockets import kernel_ns

T1_S = 0.5
T2_S = 4.0
GIVE_UP_S = 64 * T1_S
RING_S = 64.0
"""So long a call may ring, and an INVITE be worked on."""
_AT_ONCE = 64
"""Messages that are read in one turn: the RTP between them must not wait."""


class State(Enum):
    INVITED = auto()
    UP = auto()
    LEAVING = auto()
    """We have said BYE, or CANCEL; it is not answered yet."""


@dataclass(slots=True)
class Call:
    """One call, from INVITE until nothing of it is owed."""

    number: int
    dialog: Dialog
    sdp: str
    state: State = State.INVITED
    invited_ns: int = 0
    """CLOCK_REALTIME, just before the INVITE was sent."""
    heard: bool = False
    """Whether anything has been answered: from then on the INVITE is not repeated."""
    ringing: bool = False
    cancelled: bool = False
    media: Address | None = None
    """Where its audio goes; None before it is answered."""
    up_ns: int = 0
    """CLOCK_REALTIME, when it was answered."""
    repeated: bytes = b""
    """The request that is repeated until it is answered; empty when none is owed."""
    interval_s: float = T1_S
    give_up_at: float = 0.0
    due_at: float = 0.0
    """When the call is to be looked at again; an alarm for another time is an old one."""


@dataclass(slots=True)
class Tally:
    """What became of all calls so far. Refused are those with a final status of 300 and more."""

    placed: int = 0
    answered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    """INVITEs without a final answer, and answers without a usable description."""
    cancelled: int = 0
    ended: int = 0
    """Calls that the service ended."""
    unended: int = 0
    """BYEs without an answer."""
    repeats: int = 0
    """Requests that we had to repeat."""
    repeated_answers: int = 0
    """200s that came again: our ACK was late or lost."""
    ringing_ms: array[float] = field(default_factory=lambda: array("d"))
    answer_ms: array[float] = field(default_factory=lambda: array("d"))

    @property
    def refused(self) -> int:
        return self.statuses.total()


class SipCalls:
    """The calls of one socket. `on_up`: a call was answered; `on_gone`: it is no more, or will never be.

    `turn` does all that is due; `now` is `time.monotonic()`.
    """

    def __init__(
        self,
        own: socket.socket,
        target: Address,
        *,
        to: str,
        on_up: Callable[[Call], None],
        on_gone: Callable[[Call], None],
    ) -> None:
        self.tally = Tally()
        self.calls: dict[int, Call] = {}
        """Those of which something is still owed."""
        self.invited = 0
        """Calls whose INVITE has no final answer yet."""
        self._socket = own
        self._own: Address = own.getsockname()
        self._target = target
        self._uri = f"sip:{to}@{target[0]}:{target[1]}"
        self._run = secrets.token_hex(6)
        self._on_up = on_up
        self._on_gone = on_gone
        self._due: list[tuple[float, int]] = []
        self._now = 0.0

    def up(self) -> Iterator[Call]:
        return (call for call in self.calls.values() if call.state is State.UP)

    def place(self, number: int, sdp: str, now: float) -> None:
        """Send the INVITE of a new call."""
        dialog = Dialog(f"{self._run}-{number}", f"caller{number}", self._uri, self._own)
        call = self.calls[number] = Call(number, dialog, sdp, invited_ns=time.time_ns())
        self.tally.placed += 1
        self.invited += 1
        self._insist(call, dialog.invite(sdp), now)

    def leave(self, call: Call, now: float) -> None:
        """Hang up, or give up what has not been answered."""
        if call.state is State.UP:
            call.state = State.LEAVING
            self._on_gone(call)
            self._insist(call, call.dialog.bye(), now)
        elif call.state is State.INVITED and not call.cancelled:
            call.cancelled, call.repeated, call.give_up_at = True, b"", now + 4 * T1_S
            self._send(call.dialog.cancel())
            self._remind(call, call.give_up_at)

    def turn(self, now: float) -> None:
        """Read what has come, repeat what is due."""
        self._now = now
        for _ in range(_AT_ONCE):
            try:
                datagram, ancillary, _, source = self._socket.recvmsg(4096, 64)
            except BlockingIOError:
                break
            with contextlib.suppress(ValueError):  # no SIP: a keep-alive
                self._receive(Message.parse(datagram, kernel_ns(ancillary)), source)
        while self._due and self._due[0][0] <= now:
            at, number = heapq.heappop(self._due)
            call = self.calls.get(number)
            if call is not None and call.due_at == at:
                self._repeat(call, now)

    def _send(self, datagram: bytes, to: Address | None = None) -> None:
        with contextlib.suppress(BlockingIOError):  # like a loss on the way: it is repeated
            self._socket.sendto(datagram, to or self._target)

    # What is owed to a request without an answer (RFC 3261 section 17.1).

    def _insist(self, call: Call, request: bytes, now: float) -> None:
        call.repeated, call.interval_s, call.give_up_at = request, T1_S, now + GIVE_UP_S
        self._send(request)
        self._remind(call, now + T1_S)

    def _remind(self, call: Call, at: float) -> None:
        call.due_at = at
        heapq.heappush(self._due, (at, call.number))

    def _repeat(self, call: Call, now: float) -> None:
        if now >= call.give_up_at:
            self._give_up(call)
        elif call.repeated:
            self.tally.repeats += 1
            self._send(call.repeated)
            call.interval_s = min(2 * call.interval_s, T2_S if call.state is State.LEAVING else GIVE_UP_S)
            self._remind(call, min(now + call.interval_s, call.give_up_at))
        else:
            self._remind(call, call.give_up_at)

    def _give_up(self, call: Call) -> None:
        if call.state is State.LEAVING:
            self.tally.unended += 1
        else:
            self.invited -= 1
            self.tally.cancelled += call.cancelled
            self.tally.unanswered += not call.cancelled
            self._on_gone(call)
        del self.calls[call.number]

    # What comes.

    def _receive(self, message: Message, source: Address) -> None:
        number = call_number(message.header(b"call-id"), self._run)
        call = self.calls.get(number) if number is not None else None
        if not message.status:
            self._serve(message, call, source)
        elif call is None:
            return
        elif message.method == b"INVITE":
            self._on_invite_answer(call, message)
        elif message.method == b"BYE" and message.status >= 200 and call.state is State.LEAVING:
            del self.calls[call.number]

    def _serve(self, request: Message, call: Call | None, source: Address) -> None:
        if request.method == b"ACK":
            return
        contact = f"<sip:bench@{self._own[0]}:{self._own[1]}>"
        wants_sdp = request.method == b"INVITE" or (request.method == b"UPDATE" and request.body)
        self._send(answer(request, contact, self._run, call.sdp if call and wants_sdp else ""), source)
        if request.method == b"BYE" and call is not None and call.state is State.UP:
            self.tally.ended += 1
            self._on_gone(call)
            del self.calls[call.number]

    def _on_invite_answer(self, call: Call, message: Message) -> None:
        if call.state is not State.INVITED:
            if message.status >= 200:
                self.tally.repeated_answers += 1
                self._send(call.dialog.ack(message))
            return
        if not call.heard:  # RFC 3261 section 17.1.1.2: any answer ends the repeating
            call.heard, call.repeated = True, b""
            call.give_up_at += RING_S - GIVE_UP_S
        elapsed_ms = (message.t_ns - call.invited_ns) / 1e6
        if message.status in (180, 183) and not call.ringing:
            call.ringing = True
            self.tally.ringing_ms.append(elapsed_ms)
        elif 200 <= message.status < 300:
            self._answered(call, message, elapsed_ms)
        elif message.status >= 300:
            self._refused(call, message)

    def _answered(self, call: Call, message: Message, elapsed_ms: float) -> None:
        self.invited -= 1
        call.dialog.learn(message)
        self._send(call.dialog.ack(message))
        call.due_at = 0.0
        call.state, call.media, call.up_ns = State.UP, message.media, message.t_ns
        self.tally.answered += 1
        self.tally.answer_ms.append(elapsed_ms)
        if call.media is None:
            self.tally.unanswered += 1
        if call.media is None or call.cancelled:
            self.leave(call, self._now)
        else:
            self._on_up(call)

    def _refused(self, call: Call, message: Message) -> None:
        self.invited -= 1
        self._send(call.dialog.ack(message))
        if call.cancelled:
            self.tally.cancelled += 1
        else:
            self.tally.statuses[str(message.status)] += 1
            self.tally.reasons[message.why] += 1
        self._on_gone(call)
        del self.calls[call.number]
