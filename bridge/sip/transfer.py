"""Transfer inside a call: REFER and the NOTIFYs about it, ours and the peer's (RFC 3515, RFC 3891, RFC 3892)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .address import Address
from .alarms import Alarm
from .errors import SipError, malformed
from .layer import Exchange
from .message import Request, Response
from .referral import Referral, SubscriptionState, event, event_id, fragment, refer_headers, status_in
from .replaces import Replaces
from .uri import Uri

if TYPE_CHECKING:
    from .session import Session

PATIENCE_S = 60.0
"""How long the peer may stay without a word about a transfer, in seconds; it counts as failed (408) then."""
EXPIRES_S = 180
"""How long we tell about a transfer that the peer asked for, in seconds."""


class Transfer:
    """One REFER of ours. `on_progress(status, final)` ends with a final word, also when nobody says it."""

    def __init__(
        self,
        session: Session,
        target: Uri,
        on_progress: Callable[[int, bool], None],
        replaces: Replaces | None = None,
    ) -> None:
        self._session = session
        self._target = target
        self._replaces = replaces
        self._on_progress = on_progress
        self._patience: Alarm | None = None
        self._over = False

    def begin(self) -> None:
        """Send the REFER."""
        session = self._session
        if session.state is not session.State.CONFIRMED:
            session.core.after(0, lambda: self._tell(481, True))
            return
        headers = refer_headers(self._target, referred_by=_self(session), replaces=self._replaces)
        session.send("REFER", headers, with_contact=True, on_response=self._responded, on_status=self._failed)

    def notified(self, request: Request) -> None:
        """A NOTIFY about it; SipError is the refusal it gets."""
        if self._over:
            raise SipError(481)
        status = status_in(request.body)
        state = SubscriptionState.parse(request.required("Subscription-State"))
        if status is None and not state.terminated:
            raise malformed("Malformed message/sipfrag")
        status = status or 408
        final = status >= 200 or state.terminated
        # A subscription that ends without a final word: nobody knows more than the last one.
        self._tell(408 if final and status < 200 else status, final)

    def _responded(self, response: Response) -> None:
        if response.status >= 300:
            self._tell(response.status, True)
        elif response.status >= 200:
            self._tell(100, False)

    def _failed(self, status: int) -> None:
        self._tell(status, True)

    def _tell(self, status: int, final: bool) -> None:
        if self._over:
            return
        self._over = final
        if self._patience is not None:
            self._patience.cancel()
        if not final:
            self._patience = self._session.core.after(PATIENCE_S, lambda: self._tell(408, True))
        self._on_progress(status, final)


class Referred:
    """One REFER of the peer: whom it wants called, and the NOTIFYs that tell it how that goes."""

    def __init__(self, session: Session, request: Request, referral: Referral) -> None:
        self.referral = referral
        self._session = session
        self._event = event(request.cseq.number)
        self._over = False

    def progress(self, status: int, phrase: str | None = None) -> None:
        """Tell the peer the status of the new call; a final one ends the subscription."""
        session = self._session
        if self._over or session.state is not session.State.CONFIRMED:
            return
        self._over = status >= 200
        if not self.referral.notify:
            return
        kind, body = fragment(status, phrase)
        state = SubscriptionState("terminated", reason="noresource")
        if not self._over:
            state = SubscriptionState("active", EXPIRES_S)
        headers = [self._event, ("Subscription-State", str(state)), ("Content-Type", kind)]
        session.send("NOTIFY", headers, body, with_contact=True)


def referred(session: Session, exchange: Exchange, request: Request) -> None:
    """Serve a REFER; SipError is the refusal it gets."""
    if session.state is not session.State.CONFIRMED:
        raise SipError(481)
    referral = Referral.of(request)
    task = Referred(session, request, referral)
    if not session.on_refer(task):
        raise SipError(603, "Decline", reason="transfer_not_allowed")
    lines = [("Contact", session.contact_on(exchange.path)), *session.core.server_headers()]
    if not referral.notify:
        lines.insert(0, ("Refer-Sub", "false"))
    exchange.respond(request.response(202, "Accepted", headers=lines))
    task.progress(100)


def notified(session: Session, exchange: Exchange, request: Request) -> None:
    """Serve a NOTIFY: about our latest REFER, or of no use."""
    event_id(request)
    if session.transfer is None:
        raise SipError(481)
    session.transfer.notified(request)
    exchange.respond(request.response(200, headers=session.core.server_headers()))


def _self(session: Session) -> Uri:
    """Who refers: our side of the dialog."""
    return Address.parse(session.dialog.local, "From").uri
