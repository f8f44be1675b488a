"""One incoming call: the answering side of INVITE (RFC 3261 section 13.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .address import Address
from .core import Core, capabilities
from .dialog import Dialog
from .layer import Exchange
from .message import Request
from .sdp import SessionDescription
from .session import Header, Session, SessionState, description_in

RING_LIMIT_S = 180.0
"""How long a call may ring, in seconds: proxies give up then (timer C), a lost caller never says so."""


class Invitation(Session):
    """An INVITE that waits for `answer` or `reject`, then the call it became.

    `offer` is None when the caller wants the offer from us (then `answer` carries it and `on_confirmed`
    gets the answer). Set the callbacks before `on_invite` returns.
    """

    def __init__(
        self,
        core: Core,
        exchange: Exchange,
        dialog: Dialog,
        offer: SessionDescription | None,
        source: tuple[str, int],
    ) -> None:
        super().__init__(core, dialog.call_id, dialog.local_tag)
        self.request: Request = exchange.machine.request
        self.caller: Address = self.request.from_
        self.callee: Address = self.request.to
        self.source = source
        self.offer = offer
        self.on_confirmed: Callable[[SessionDescription | None], None] = lambda answer: None
        self._exchange = exchange
        self._dialog = dialog
        self._path = exchange.path
        self._ringing_until = core.alarms.at(core.clock() + RING_LIMIT_S, self._ring_out)
        self._farewell: Sequence[Header] = ()
        exchange.tag = dialog.local_tag
        exchange.on_cancel = self._cancelled
        exchange.on_failure = self._failed

    def ring(self) -> None:
        """Tell the caller that it rings (180)."""
        if self.state is SessionState.EARLY:
            contact = ("Contact", self._core.contact(self._exchange.path))
            headers = [contact, *self._core.server_headers()]
            self._exchange.respond(self.request.response(180, tag=self._tag, headers=headers))

    def answer(self, sdp: bytes) -> None:
        """Take the call: 200 with `sdp`, repeated until the ACK. No effect when the call has ended."""
        if self.state is SessionState.EARLY:
            self._move(SessionState.ANSWERED)
            self._ringing_until.cancel()
            self.local_sdp = sdp
            self._accept(self._exchange, self._confirmed)

    def reject(self, status: int, phrase: str | None = None, headers: Sequence[Header] = ()) -> None:
        """Refuse the call with a status of 300 to 699. No effect once it is answered or has ended."""
        self._refuse(status, phrase, headers, "rejected")

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call: 603 while it rings, BYE after that (not before the ACK, section 15)."""
        if self.state is SessionState.EARLY:
            self._refuse(603, None, headers, "hung_up")
        elif self.state is SessionState.ANSWERED:
            self._move(SessionState.ENDING)
            self._farewell = headers
        else:
            super().hang_up(headers)

    def bye(self) -> None:
        """The caller has hung up, perhaps before the call was answered."""
        if self.state is SessionState.EARLY:
            self._refuse(487, None, (), "bye")
        super().bye()

    def close(self) -> None:
        if self.state is SessionState.EARLY:
            self._refuse(503, None, (), "closed")
        elif self.state is SessionState.ANSWERED:
            self._bye(self.dialog)
        super().close()

    def _refuse(self, status: int, phrase: str | None, headers: Sequence[Header], reason: str) -> None:
        if not 300 <= status < 700:
            raise ValueError(f"not a refusal: {status}")
        if self.state is not SessionState.EARLY:
            return
        allow = capabilities()[:1] if status == 405 else []
        extra = [*headers, *allow, *self._core.server_headers()]
        self._exchange.respond(self.request.response(status, phrase, tag=self._tag, headers=extra))
        self._end(reason)

    def _end(self, reason: str, tell: Callable[[], None] | None = None) -> None:
        self._ringing_until.cancel()
        super()._end(reason, tell)

    def _cancelled(self) -> None:
        self._refuse(487, None, (), "cancelled")

    def _ring_out(self) -> None:
        self._refuse(480, None, (), "ring_timeout")

    def _failed(self, reason: str) -> None:
        if self.state is SessionState.EARLY:
            self._end(reason)

    def _confirmed(self, ack: Request) -> None:
        if self.state is SessionState.ANSWERED:
            self._move(SessionState.CONFIRMED)
            self.on_confirmed(description_in(ack))
        elif self.state is SessionState.ENDING:
            self._bye(self.dialog, self._farewell, self._end)
