"""One outgoing call: the calling side of INVITE (RFC 3261 section 13.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .address import Address
from .core import Core, capabilities, with_sdp
from .dialog import MAX_FORWARDS, Dialog, new_tag
from .errors import SipError, phrase_for
from .headers import Headers
from .layer import Exchange, Path, Transport
from .message import Request, Response
from .sdp import SessionDescription
from .session import Header, Session, SessionState, acknowledge, description_in
from .transaction import State
from .uri import Uri

RING_LIMIT_S = 180.0
"""How long the far end may ring, in seconds, before we cancel."""


class OutgoingCall(Session):
    """A call of ours: `on_ringing`* then `on_answered` and in the end `on_ended`, or else `on_failed`.

    `on_failed` gets the status and phrase that refused the call; 487 after `cancel`, 408 when nobody
    answered at all, 503 when the target cannot be reached.
    """

    def __init__(
        self,
        core: Core,
        transport: Transport,
        target: Uri,
        *,
        hop: tuple[str, int],
        sdp: bytes,
        caller: Address,
        headers: Sequence[Header] = (),
    ) -> None:
        tag = new_tag()
        # Made before anything else, so that a malformed one is the owner's ValueError and leaves nothing.
        sender = Address(caller.display, caller.uri, (("tag", tag),))
        parties = Headers.make((("From", str(sender)), ("To", f"<{target}>")))
        extra = Headers.make(headers)
        super().__init__(core, f"{new_tag()}{new_tag()}", tag)
        self.target = target
        self.local_sdp = sdp
        self.on_ringing: Callable[[int], None] = lambda status: None
        self.on_answered: Callable[[SessionDescription | None], None] = lambda answer: None
        self.on_failed: Callable[[int, str], None] = lambda status, phrase: None
        self._own = (*parties, *extra)
        self._transport = transport
        self._hop = hop
        self._exchange: Exchange | None = None
        self._request: Request | None = None
        self._cancelled = False
        self._known: set[str] = set()
        self._ringing_until = core.alarms.at(core.clock() + RING_LIMIT_S, self.cancel)
        # The owner sets the callbacks after the constructor; nothing may happen before that.
        core.after(0, self._begin)

    def cancel(self) -> None:
        """Give the call up while it rings; `on_failed(487, ...)` follows. Later: nothing."""
        if self.state is not SessionState.EARLY or self._cancelled:
            return
        self._cancelled = True
        if self._exchange is None:
            self._fail(487)
        else:
            self._send_cancel()

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call: CANCEL while it rings, BYE after that."""
        if self.state is SessionState.EARLY:
            self.cancel()
        else:
            super().hang_up(headers)

    def close(self) -> None:
        """The user agent goes away: say goodbye, do not wait."""
        if self.state is SessionState.EARLY:
            if self._exchange is not None and not self._cancelled:
                self._send_cancel()
            self._fail(503)
        else:
            super().close()

    def _begin(self) -> None:
        if self.state is SessionState.EARLY:
            self._core.locate(self._transport, self._hop, self._found, lambda: self._fail(503))

    def _found(self, path: Path) -> None:
        if self.state is not SessionState.EARLY:
            return
        core = self._core
        pairs = [
            ("Via", core.via(path)),
            MAX_FORWARDS,
            ("Call-ID", self.id),
            ("CSeq", "1 INVITE"),
            ("Contact", core.contact(path)),
            *capabilities(),
            *core.client_headers(),
        ]
        lines = Headers((*Headers.make(with_sdp(pairs, self.local_sdp)), *self._own))
        self._path = path
        self._request = Request(lines, self.local_sdp, "INVITE", self.target)
        self._exchange = core.layer.request(self._request, path, self._responded, self._broken)

    def _responded(self, response: Response) -> None:
        if response.status < 200:
            self._progress(response.status)
        elif response.status < 300:
            self._accepted(response)
        else:
            self._fail(response.status, response.phrase)

    def _progress(self, status: int) -> None:
        if self.state is not SessionState.EARLY:
            return
        if self._cancelled:
            self._send_cancel()
        elif status > 100:
            self.on_ringing(status)

    def _accepted(self, response: Response) -> None:
        assert self._request is not None
        try:
            dialog = Dialog.uac(self._request, response)
        except SipError as error:
            self._core.stats.drop("malformed_response")
            self._fail(error.status, error.phrase)
            return
        if dialog.remote_tag in self._known:
            self._acknowledge(dialog)
            return
        self._known.add(dialog.remote_tag)
        self._acknowledge(dialog)
        if self.state is SessionState.EARLY and not self._cancelled:
            self._confirm(dialog, response)
        else:
            # A second branch of a fork, or an answer that crossed our CANCEL.
            self._bye(dialog)
            self._fail(487)

    def _confirm(self, dialog: Dialog, response: Response) -> None:
        self._dialog = dialog
        self._ringing_until.cancel()
        self._move(SessionState.CONFIRMED)
        self.on_answered(description_in(response))

    def _acknowledge(self, dialog: Dialog) -> None:
        assert self._request is not None
        acknowledge(self._core, dialog, self._path, self._request.cseq.number)

    def _send_cancel(self) -> None:
        assert self._request is not None and self._exchange is not None
        exchange = self._exchange
        if exchange.state is not State.PROCEEDING:
            return  # Not before a provisional answer (RFC 3261 section 9.1): `_progress` comes back here.
        request = cancel_for(self._request)
        self._core.layer.request(request, exchange.path, lambda response: None, lambda reason: None)
        # RFC 3261 section 9.1: an old far end may never answer the INVITE after a CANCEL.
        self._core.after(self._core.timers.life, self._abandon)

    def _abandon(self) -> None:
        if self.state is SessionState.EARLY and self._exchange is not None:
            self._exchange.terminate()
            self._fail(487)

    def _broken(self, reason: str) -> None:
        if reason == "timeout":
            self._fail(487 if self._cancelled else 408)
        else:
            self._fail(503)

    def _fail(self, status: int, phrase: str | None = None) -> None:
        if self.state is not SessionState.EARLY:
            return
        self._ringing_until.cancel()
        self._end("failed", lambda: self.on_failed(status, phrase or phrase_for(status)))


def cancel_for(invite: Request) -> Request:
    """The CANCEL of an INVITE of ours (RFC 3261 section 9.1)."""
    kept = [line for line in invite.lines if line.key in ("from", "to", "call-id", "route")]
    via = next(invite.lines.lines("Via"))
    own = Headers.make((MAX_FORWARDS, ("CSeq", f"{invite.cseq.number} CANCEL")))
    return Request(Headers((via, *kept, *own)), b"", "CANCEL", invite.uri)
