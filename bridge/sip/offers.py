"""Offers inside a call: re-INVITE and UPDATE from either side (RFC 3261 section 14, RFC 3311, RFC 3264)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from .alarms import Alarm
from .bodies import description_in, offered
from .core import retry_after, with_sdp
from .delivery import Delivery
from .dialog import target_of
from .errors import SipError
from .layer import Exchange
from .message import Request, Response
from .offer_answer import continued
from .part import Part
from .sdp import SessionDescription

if TYPE_CHECKING:
    from .session import Session

OnResult = Callable[[int, SessionDescription | None], None]

GLARE_TRIES = 4
"""How often an offer of ours is made again when both sides offered at once."""
PATIENCE_S = 180.0
"""How long a peer may think about an INVITE of ours that it has not answered finally, in seconds."""
RETRY_AFTER_S = 2


class Offers(Part):
    """The descriptions of one call, and whose turn it is to offer."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.local_sdp = b""
        self.pending = False
        """Whether an offer of ours waits for its answer: the peer may not offer then."""
        self.changing = False
        """Whether a change of ours is under way, perhaps waiting for its next try: we may not begin another then."""
        self.unanswered = False
        """Whether an offer of the peer waits for ours: while a call rings without a description of ours."""

    def describe(self, sdp: bytes) -> None:
        """Make `sdp` our description, as the next version of the last one."""
        self.local_sdp = continued(self.local_sdp, sdp) if self.local_sdp else sdp

    # Ours

    def offer(self, method: str, sdp: bytes, on_result: OnResult) -> None:
        """Offer `sdp` by INVITE or UPDATE; 491 when an earlier offer is still out, 481 when the call is over."""
        session = self._session
        if session.state is session.State.CONFIRMED and not (self.pending or self.changing):
            Change(session, method, sdp, on_result).begin()
            return
        status = 481 if session.is_over else 491
        session.core.after(0, lambda: on_result(status, None))

    def refresh(self, on_result: OnResult) -> None:
        """Refresh the session: by UPDATE where the peer takes it, else by the same offer again (RFC 4028, 7.4)."""
        peer = self._session.peer

        def updated(status: int, answer: SessionDescription | None) -> None:
            if status in (405, 501):  # it took UPDATE elsewhere, or said so in vain
                peer.forget("UPDATE")
                self.refresh(on_result)
            else:
                on_result(status, answer)

        if peer.allows("UPDATE"):
            self.offer("UPDATE", b"", updated)
        else:
            self.offer("INVITE", self.local_sdp, on_result)

    # The peer's

    def reinvited(self, exchange: Exchange, request: Request) -> None:
        """Answer a re-INVITE; SipError is the refusal it gets."""
        session = self._session
        if session.state is session.State.EARLY:
            raise retry_after(500, None, RETRY_AFTER_S)
        if session.is_over:
            raise SipError(481)
        # Also while a 2xx of ours waits for its ACK (RFC 5407 section 3.1.4): one exchange at a time.
        if self.pending or session.awaits_ack:
            raise SipError(491)
        offer, target = offered(request), target_of(request)
        timer = session.refresh.asked(request)
        self._take(exchange, offer)
        session.follow(exchange, target)
        self.pending = offer is None
        session.accept(exchange, self._acknowledged, session.refresh.grant(timer, request), self.local_sdp)

    def updated(self, exchange: Exchange, request: Request) -> None:
        """Answer an UPDATE; SipError is the refusal it gets (RFC 3311 section 5.2)."""
        session = self._session
        if session.is_over:
            raise SipError(481)
        offer = self._offered_now(request)
        target = target_of(request) if request.contact is not None else None
        # While it rings no timer runs: the INVITE's own answer starts it (RFC 4028 section 9).
        early = session.state is session.State.EARLY
        timer = None if early else session.refresh.asked(request)
        if offer is not None:
            self._take(exchange, offer)
        if target is not None:
            session.follow(exchange, target)
        timer_headers = [] if early else session.refresh.grant(timer, request)
        self._agree(exchange, offer, [*session.core.capabilities(), *timer_headers])

    def pracked(self, exchange: Exchange, request: Request) -> None:
        """Answer a PRACK, which may carry an offer of its own (RFC 3262 section 5); SipError is its refusal."""
        offer = self._offered_now(request)
        if offer is not None:
            self._take(exchange, offer)
        self._agree(exchange, offer, [])

    def _offered_now(self, request: Request) -> SessionDescription | None:
        """The offer of a request; SipError when it is not the peer's turn (RFC 3311 section 5.2)."""
        offer = offered(request)
        if offer is not None and self.pending:
            raise SipError(491)
        if offer is not None and self.unanswered:
            raise retry_after(500, None, RETRY_AFTER_S)
        return offer

    def _agree(self, exchange: Exchange, offer: SessionDescription | None, headers: list[tuple[str, str]]) -> None:
        session, request = self._session, exchange.machine.request
        sdp = b"" if offer is None else self.local_sdp
        lines = [("Contact", session.contact_on(exchange.path)), *headers, *session.core.server_headers()]
        exchange.respond(request.response(200, headers=with_sdp(lines, sdp), body=sdp))

    def _take(self, exchange: Exchange, offer: SessionDescription | None) -> None:
        """Ask the owner of the call what to say to an offer, and say it from now on."""
        on_offer = self._session.on_offer
        reply = on_offer(offer) if on_offer is not None else 488 if offer is not None else self.local_sdp
        if isinstance(reply, int):
            raise SipError(reply, headers=self._warning(exchange, reply))
        self.describe(reply)

    def _warning(self, exchange: Exchange, status: int) -> list[tuple[str, str]]:
        if status != 488:
            return []
        agent = self._session.core.address_on(exchange.path, self._session.advertise)
        return [("Warning", f'305 {agent} "Incompatible media format"')]

    def _acknowledged(self, ack: Request) -> None:
        session = self._session
        awaited, self.pending = self.pending, False
        answer = description_in(ack)
        if awaited and answer is not None and session.state is session.State.CONFIRMED:
            session.on_answer(answer)


class Change:
    """One INVITE or UPDATE of ours inside a dialog, again after glare (491) or a too short interval (422)."""

    def __init__(self, session: Session, method: str, sdp: bytes, on_result: OnResult) -> None:
        self._session = session
        self._method = method
        self._sdp = sdp
        self._on_result = on_result
        self._previous = b""
        self._tries = GLARE_TRIES
        self._delivery: Delivery | None = None
        self._final = False
        self._patience: Alarm | None = None

    def begin(self) -> None:
        """Send it; from now on the session has an offer out."""
        session, offers = self._session, self._session.offers
        if session.state is not session.State.CONFIRMED:
            return
        offers.changing = True
        if offers.pending:  # the peer asked for our offer while we waited
            self._again(491)
            return
        # An UPDATE without a description is no offer: the peer may make one meanwhile.
        offers.pending = bool(self._sdp)
        self._final = False
        self._previous = offers.local_sdp
        if self._sdp:
            offers.describe(self._sdp)
        body = offers.local_sdp if self._sdp else b""
        self._patience = session.core.after(PATIENCE_S, self._tire)
        headers = with_sdp([*session.core.capabilities(), *session.refresh.request_headers()], body)
        self._delivery = session.send(
            self._method,
            headers,
            body,
            with_contact=True,
            on_response=self._responded,
            on_status=lambda status: self._finish(status, None),
        )

    def _responded(self, response: Response) -> None:
        session = self._session
        if response.status < 200:
            return
        first, self._final = not self._final, True
        self._calm()
        if first and response.status < 300:
            session.dialog.refresh(response)
            session.refresh.agreed(response)
        if response.status < 300 and self._method == "INVITE":
            self._acknowledge(response)  # at the target that the answer names, and again for each repeat of it
        if not first:
            return
        if response.status == 491:
            self._undo()
            self._again(491)
        elif response.status == 422 and session.refresh.too_short(response):
            self._undo()
            self.begin()
        else:
            self._finish(response.status, description_in(response))

    def _tire(self) -> None:
        """The INVITE was heard of, and that is all: no timer of its transaction ends it."""
        delivery = self._delivery
        if delivery is not None and delivery.exchange is not None and delivery.is_waiting:
            delivery.abandon()
            delivery.exchange.terminate()
            self._finish(408, None)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _acknowledge(self, response: Response) -> None:
        assert self._delivery is not None and self._delivery.request is not None
        self._session.acks.send(self._session.dialog, self._delivery.request, response)

    def _undo(self) -> None:
        offers = self._session.offers
        offers.pending = False
        if self._sdp:
            offers.local_sdp = self._previous

    def _again(self, status: int) -> None:
        """Wait as RFC 3261 section 14.1 says, so that the two sides do not meet again; a few times only."""
        if not self._tries:
            self._over(status, None)
            return
        self._tries -= 1
        core = self._session.core
        # In units of 10 ms: the owner of the Call-ID 2.1 to 4 s, the other side 0 to 2 s.
        units = 210 + secrets.randbelow(191) if self._session.is_ours else secrets.randbelow(201)
        core.after(units / 100, self.begin)

    def _finish(self, status: int, answer: SessionDescription | None) -> None:
        if status >= 300:
            self._undo()
        self._session.offers.pending = False
        self._over(status, answer)

    def _over(self, status: int, answer: SessionDescription | None) -> None:
        self._calm()
        session = self._session
        session.offers.changing = False
        if session.state is not session.State.CONFIRMED:
            return
        if status >= 300:
            session.refresh.refused()
        self._on_result(status, answer)
        if status in (408, 481) and session.state is session.State.CONFIRMED:
            # The peer has lost the dialog (RFC 3261 section 12.2.1.2).
            session.give_up("dialog_lost", "dialog_lost")
