"""One incoming call: the answering side of INVITE (RFC 3261 section 13.3, RFC 3262)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .address import Address
from .alarms import Alarm
from .bodies import description_in
from .core import Core, allow, with_sdp
from .dialog import Dialog
from .gate import Admitted
from .layer import Exchange, is_direct
from .message import Request
from .options import requires, supports
from .reliable import OPTION, RAck, ReliableSender
from .sdp import SessionDescription
from .session import Header, Session, SessionState
from .transaction import Failed

RING_LIMIT_S = 180.0
"""How long a call may ring, in seconds: proxies give up then (timer C), a lost caller never says so."""


class Invitation(Session):
    """An INVITE that waits for `answer` or `reject`, then the call it became.

    `offer` is None when the caller wants the offer from us (then `answer` carries it and `on_confirmed`
    gets the answer). Set the callbacks before `on_invite` returns. `replaces` is the call whose place this one
    takes (RFC 3891), None for most.
    """

    def __init__(
        self,
        core: Core,
        exchange: Exchange,
        dialog: Dialog,
        offer: SessionDescription | None,
        source: tuple[str, int],
        admitted: Admitted,
        replaces: Session | None = None,
    ) -> None:
        super().__init__(core, dialog.call_id, dialog.local_tag, is_ours=False)
        self.request: Request = exchange.machine.request
        """The INVITE."""
        self.caller: Address = self.request.from_
        self.callee: Address = self.request.to
        self.source = source
        self.transport = exchange.path.transport.name
        self.admitted = admitted
        self.offer = offer
        self.replaces = replaces
        self.on_confirmed: Callable[[SessionDescription | None], None] = lambda answer: None
        self.known_dialog = dialog
        self.path = exchange.path
        self.is_direct = is_direct(self.request, exchange.path)
        self.offers.unanswered = offer is not None
        self.peer.learn(self.request)
        self._exchange = exchange
        self._ringing_until = core.after(RING_LIMIT_S, self._ring_out)
        self._farewell: Sequence[Header] | None = None  # of the BYE that waits for the ACK
        self._reliable = ReliableSender(self.request.cseq, core.timers)
        self._repeat: Alarm | None = None
        self._timer_headers: Sequence[Header] = ()
        self._answer: SessionDescription | None = None  # to an offer of ours, when a PRACK brought it
        self._waits = False  # answered, but the caller has not acknowledged our description yet
        self._told = False  # the caller has acknowledged our description: the 200 goes without
        exchange.tag = dialog.local_tag
        exchange.on_cancel = self._cancelled
        exchange.on_failure = self._failed

    @property
    def is_secure(self) -> bool:
        return self.request.uri.scheme == "sips"

    def ring(self, offer: bytes = b"") -> None:
        """Tell the caller that it rings (180).

        `offer` is ours, for a caller who wants it from us and insists on reliable answers: the first of those
        must carry it (RFC 3262 section 5).
        """
        if self.state is not SessionState.EARLY:
            return
        sdp = offer if self.offer is None and not self.local_sdp and self._is_reliable else b""
        if sdp:
            self.offers.describe(sdp)
            self.offers.pending = True
        self._provisional(180, sdp)

    def progress(self, sdp: bytes) -> None:
        """Early media: 183 with our description. Nothing happens when the caller wants the offer from us."""
        if self.state is SessionState.EARLY and self.offer is not None:
            if not self.local_sdp:  # there is one answer to an offer, however often it is told
                self.offers.describe(sdp)
            self._provisional(183, self.local_sdp)
            # Only one that cannot be lost is an answer (RFC 3261 section 13.2.1).
            self.offers.unanswered = not self._is_reliable

    def answer(self, sdp: bytes) -> None:
        """Take the call: 200 with `sdp`, repeated until the ACK. No effect when the call has ended."""
        if self.state is not SessionState.EARLY or self._waits:
            return
        self._timer_headers = self.refresh.answer(self.request)
        if not self.local_sdp:
            self.offers.describe(sdp)
            self.offers.pending = self.offer is None
        self.offers.unanswered = False
        self._ringing_until.cancel()
        if self._reliable.description_pending:
            self._waits = True  # RFC 3262 section 3: not before the PRACK
        else:
            self._take()

    def reject(self, status: int, phrase: str | None = None, headers: Sequence[Header] = ()) -> None:
        """Refuse the call with a status of 300 to 699. No effect once it is answered or has ended."""
        self._refuse(status, phrase, headers, "rejected")

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call: 603 while it rings, BYE after that (not before the ACK, section 15)."""
        if self.state is SessionState.EARLY:
            self._refuse(603, None, headers, "hung_up")
        elif self.state is SessionState.ANSWERED:
            self.move(SessionState.ENDING)
            self._farewell = headers
        else:
            super().hang_up(headers)

    def peer_hung_up(self) -> None:
        """The caller has hung up, perhaps before the call was answered."""
        if self.state is SessionState.EARLY:
            self._refuse(487, None, (), "bye")
        else:
            super().peer_hung_up()

    def close(self) -> None:
        if self.state is SessionState.EARLY:
            self._refuse(503, None, (), "closed")
        elif self.state is SessionState.ANSWERED or self._farewell is not None:
            self.bye(self.dialog, self._farewell or ())
        super().close()

    def end(self, reason: str, tell: Callable[[], None] | None = None) -> None:
        self._ringing_until.cancel()
        self._stop_repeating()
        super().end(reason, tell)

    # Provisional answers

    def _provisional(self, status: int, sdp: bytes = b"") -> None:
        if self.state is not SessionState.EARLY:
            return
        headers = [
            ("Contact", self.contact_on(self._exchange.path)),
            allow(),
            *self.core.server_headers(),
        ]
        response = self.request.response(status, tag=self.tag, headers=with_sdp(headers, sdp), body=sdp)
        if not self._is_reliable:
            self._exchange.respond(response)
            return
        for item in self._reliable.send(response, self.core.clock()):
            self._exchange.respond(item)
        self._rearm()

    @property
    def _is_reliable(self) -> bool:
        """Whether provisional answers need a PRACK.

        Without an offer of the caller the first reliable one would have to carry ours (RFC 3262 section 5): then
        they stay plain, unless the caller insists.
        """
        if self.core.policy.reliable == "off" or not supports(self.request, OPTION):
            return False
        return self.offer is not None or requires(self.request, OPTION)

    def acknowledged_provisionally(self, exchange: Exchange, request: Request) -> bool:
        rack = RAck.parse(request.required("RAck"))
        carried = self._reliable.outstanding is not None and self._reliable.outstanding.body != b""
        more = self._reliable.acknowledge(rack, self.core.clock())
        try:
            self._hear_description(exchange, request, carried)
        finally:
            for item in more:
                self._exchange.respond(item)
            self._rearm()
            if self._waits and self.state is SessionState.EARLY and not self._reliable.description_pending:
                self._waits = False
                self._take()
        return True

    def _hear_description(self, exchange: Exchange, prack: Request, carried: bool) -> None:
        """A PRACK for an answer with our description: the caller knows it now, and may answer it or offer anew."""
        self._told = self._told or carried
        answer = description_in(prack) if self._told and self.offers.pending else None
        if answer is None:
            self.offers.pracked(exchange, prack)
            return
        self._answer, self.offers.pending = answer, False
        exchange.respond(prack.response(200, headers=self.core.server_headers()))

    def _rearm(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
        when = self._reliable.next_deadline
        self._repeat = None if when is None else self.core.alarms.at(when, self._again)

    def _again(self) -> None:
        for item in self._reliable.tick(self.core.clock()):
            if isinstance(item, Failed):
                self._refuse(504, None, (), "prack_timeout")
                return
            self._exchange.respond(item)
            self.core.stats.retransmissions_sent += 1
        self._rearm()

    def _stop_repeating(self) -> None:
        self._reliable.stop()
        if self._repeat is not None:
            self._repeat.cancel()

    # Final answers

    def _take(self) -> None:
        self._stop_repeating()
        self.move(SessionState.ANSWERED)
        self.accept(self._exchange, self._confirmed, self._timer_headers, b"" if self._told else self.local_sdp)

    def _refuse(self, status: int, phrase: str | None, headers: Sequence[Header], reason: str) -> None:
        if not 300 <= status < 700:
            raise ValueError(f"not a refusal: {status}")
        if self.state is not SessionState.EARLY:
            return
        extra = [*headers, *([allow()] if status == 405 else []), *self.core.server_headers()]
        self._exchange.respond(self.request.response(status, phrase, tag=self.tag, headers=extra))
        self.end(reason)

    def _cancelled(self) -> None:
        self._refuse(487, None, (), "cancelled")

    def _ring_out(self) -> None:
        self._refuse(480, None, (), "ring_timeout")

    def _failed(self, reason: str) -> None:
        if self.state is SessionState.EARLY:
            self.end(reason)

    def _unacknowledged(self) -> None:
        if not self._said_goodbye():
            super()._unacknowledged()

    def _said_goodbye(self) -> bool:
        """Send the BYE that had to wait for the ACK or its last chance (RFC 3261 section 15); False without one."""
        farewell, self._farewell = self._farewell, None
        if farewell is None or self.state is not SessionState.ENDING:
            return False
        self.bye(self.dialog, farewell, self.end)
        return True

    def _confirmed(self, ack: Request) -> None:
        self.offers.pending = False
        if self.state is SessionState.ANSWERED:
            self.move(SessionState.CONFIRMED)
            self.on_confirmed(description_in(ack) or self._answer)
        else:
            self._said_goodbye()
