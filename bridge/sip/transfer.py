"""Transfer inside a call: REFER and the NOTIFYs about it, ours and the peer's (RFC 3515, RFC 3891, RFC 3892)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .address import Address
from .alarms import Alarm
from .core import retry_after
from .delivery import Delivery
from .errors import SipError, malformed
from .layer import Exchange
from .message import Request, Response
from .part import Part
from .referral import Referral, SubscriptionState, event, event_id, fragment, refer_headers, status_in
from .replaces import Replaces
from .uri import Uri

if TYPE_CHECKING:
    from .session import Session

PATIENCE_S = 60.0
"""How long the peer may stay without a word about a transfer, in seconds; it counts as failed (408) then."""
RETRY_AFTER_S = 2
EXPIRES_S = 180
"""How long we tell about a transfer that the peer asked for, in seconds."""


def _nothing(status: int, final: bool) -> None:
    """The last word has been told."""


class Transfer(Part):
    """One REFER of ours. `on_progress(status, final)` ends with a final word, also when nobody says it.

    Only when the call ends before, nothing more is told.
    """

    def __init__(
        self,
        session: Session,
        target: Uri,
        on_progress: Callable[[int, bool], None],
        replaces: Replaces | None = None,
    ) -> None:
        super().__init__(session)
        self._target = target
        self._replaces = replaces
        self._on_progress = on_progress
        self.is_over = False
        """Whether the final word has been told."""
        self._patience: Alarm | None = None
        self._delivery: Delivery | None = None
        self._told = False

    def begin(self) -> None:
        """Send the REFER."""
        session = self._session
        if session.state is not session.State.CONFIRMED:
            session.core.after(0, lambda: self.fail(481))
            return
        headers = refer_headers(self._target, referred_by=_self(session), replaces=self._replaces)
        self._delivery = session.send(
            "REFER", headers, with_contact=True, on_response=self._responded, on_status=self.fail
        )

    def fail(self, status: int) -> None:
        """A last word of our own."""
        self._tell(status, True)

    def stop(self) -> None:
        """Tell nothing more: the call is over, or its owner does not want to wait any longer."""
        self.is_over = True
        self._on_progress = _nothing
        if self._patience is not None:
            self._patience.cancel()

    def notified(self, request: Request) -> None:
        """A NOTIFY about it; SipError is the refusal it gets."""
        if self.is_over or not self._is_meant(event_id(request)):
            raise SipError(481)
        status = status_in(request.body)
        state = SubscriptionState.parse(request.required("Subscription-State"))
        if status is None and not state.terminated:
            raise malformed("Malformed message/sipfrag")
        status = status or 408
        final = status >= 200 or state.terminated
        # A subscription that ends without a final word: nobody knows more than the last one.
        self._tell(408 if final and status < 200 else status, final)

    def _is_meant(self, identity: str | None) -> bool:
        """Whether an event id is that of this REFER: its CSeq number, or none (RFC 3515 section 2.4.6)."""
        sent = self._delivery.request if self._delivery is not None else None
        return identity is None or (sent is not None and identity == str(sent.cseq.number))

    def _responded(self, response: Response) -> None:
        if response.status >= 300:
            self._tell(response.status, True)
        elif response.status >= 200 and not self._told:  # a NOTIFY may overtake the 202
            self._tell(100, False)

    def _tell(self, status: int, final: bool) -> None:
        if self.is_over:
            return
        self.is_over, self._told = final, True
        if self._patience is not None:
            self._patience.cancel()
        if not final:
            self._patience = self._session.core.after(PATIENCE_S, lambda: self._tell(408, True))
        on_progress = self._on_progress
        if final:
            self._on_progress = _nothing
        on_progress(status, final)


class Referred:
    """One REFER of the peer: whom it wants called, and the NOTIFYs that tell it how that goes."""

    def __init__(self, session: Session, request: Request, referral: Referral) -> None:
        self.referral = referral
        self._session = session
        self._event = event(request.cseq.number)
        self._told = False
        self._over = False

    def progress(self, status: int, phrase: str | None = None) -> None:
        """Tell the peer the status of the new call; a final one ends the subscription."""
        session = self._session
        if self._over or session.state is not session.State.CONFIRMED:
            return
        self._told, self._over = True, status >= 200
        if not self.referral.notify:
            return
        kind, body = fragment(status, phrase)
        state = SubscriptionState("terminated", reason="noresource")
        if not self._over:
            state = SubscriptionState("active", EXPIRES_S)
        headers = [self._event, ("Subscription-State", str(state)), ("Content-Type", kind)]
        session.send("NOTIFY", headers, body, with_contact=True, on_status=self._notified)

    def accepted(self) -> None:
        """The 202 is out: the first report follows at once, unless there was one already (section 2.4.4)."""
        if not self._told:
            self.progress(100)

    def _notified(self, status: int) -> None:
        """Whoever refuses a report wants no others (RFC 6665 section 4.2.2)."""
        self._over = self._over or status in (404, 405, 408, 410, 481, 489, 501)


def referred(session: Session, exchange: Exchange, request: Request) -> None:
    """Serve a REFER; SipError is the refusal it gets."""
    if session.is_over:
        raise SipError(481)
    if session.state is not session.State.CONFIRMED:  # before the ACK, or overtaking it
        raise retry_after(500, None, RETRY_AFTER_S)
    referral = Referral.of(request)
    task = Referred(session, request, referral)
    if not session.on_refer(task):
        raise SipError(603, "Decline", reason="transfer_not_allowed")
    lines = [("Contact", session.contact_on(exchange.path)), *session.core.server_headers()]
    if not referral.notify:
        lines.insert(0, ("Refer-Sub", "false"))
    exchange.respond(request.response(202, "Accepted", headers=lines))
    task.accepted()


def notified(session: Session, exchange: Exchange, request: Request) -> None:
    """Serve a NOTIFY: about our latest REFER, or of no use."""
    event_id(request)  # 489 comes first
    if session.transfer is None:
        raise SipError(481)
    session.transfer.notified(request)
    exchange.respond(request.response(200, headers=session.core.server_headers()))


def _self(session: Session) -> Uri:
    """Who refers: our side of the dialog."""
    return Address.parse(session.dialog.local, "From").uri
