"""What both sides of a call share once its dialog stands: BYE and re-INVITE (RFC 3261 14 and 15)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import ClassVar

from .acceptance import Acceptance
from .core import SDP, Core, capabilities, retry_after, with_sdp
from .dialog import Dialog, target_of
from .errors import SipError, malformed
from .layer import Exchange, Path
from .message import Message, Request, Response
from .offer_answer import continued
from .sdp import SessionDescription

Header = tuple[str, str]


class SessionState(Enum):
    """Where a call is."""

    EARLY = "early"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    ENDING = "ending"
    ENDED = "ended"


_E, _A, _C, _G, _X = SessionState

MOVES: dict[SessionState, frozenset[SessionState]] = {
    _E: frozenset((_A, _C, _G, _X)),
    _A: frozenset((_C, _G, _X)),
    _C: frozenset((_G, _X)),
    _G: frozenset((_X,)),
    _X: frozenset(),
}
"""EARLY to CONFIRMED is the calling side, which needs no ACK; ENDING waits for the answer to BYE."""


class Session:
    """One call. The callbacks are called from the loop, `on_ended` last and once.

    `on_ended` gets a reason: "bye", "hung_up", "bye_timeout", "transport_error", "dialog_lost", "closed",
    for an incoming call also "cancelled", "rejected", "ring_timeout" and "ack_timeout".
    `on_offer` gets the offer of a re-INVITE, None when the peer asks for ours; it returns the SDP to
    answer with, or a status to refuse with. `on_answer` gets the answer to an offer made that way.
    """

    State: ClassVar = SessionState

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        self.id = call_id
        self.state = SessionState.EARLY
        self.local_sdp = b""
        """The last description we sent; empty before the first."""
        self.on_ended: Callable[[str], None] = lambda reason: None
        self.on_offer: Callable[[SessionDescription | None], bytes | int] = self._same_offer
        self.on_answer: Callable[[SessionDescription], None] = lambda answer: None
        self._core = core
        self._tag = tag
        self._dialog: Dialog | None = None
        self._path: Path | None = None
        self._offering = False
        self._acceptance: Acceptance | None = None
        core.sessions[call_id, tag] = self
        core.stats.calls += 1

    # What the owner of the call may ask for.

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call; returns at once. Nothing happens when it has ended already."""
        if self.state is SessionState.CONFIRMED:
            self._move(SessionState.ENDING)
            self._bye(self.dialog, headers, self._end)

    def reinvite(self, sdp: bytes, on_result: Callable[[int, SessionDescription | None], None]) -> None:
        """Offer new media inside the call; `on_result` gets the final status and the answer, if any.

        491 comes back when the peer offers at the same time; the owner may try again later.
        """
        if self.state is not SessionState.CONFIRMED or self._offering:
            self._core.after(0, lambda: on_result(491, None))
            return
        self._offering = True
        previous, self.local_sdp = self.local_sdp, self._continue(sdp)
        _Reinvite(self._core, self, on_result, previous).begin()

    # What the user agent gives to the call.

    def matches(self, request: Request) -> bool:
        """Whether a request with our tag is really of this dialog."""
        return self._dialog is not None and (request.from_.tag or "") == self._dialog.remote_tag

    def in_order(self, request: Request) -> bool:
        """Whether the CSeq of a request is not behind the last one."""
        return self._dialog is not None and self._dialog.accepts(request.cseq.number)

    def bye(self) -> None:
        """The peer has hung up."""
        self._end("bye")

    def reinvited(self, exchange: Exchange, request: Request, offer: SessionDescription | None) -> None:
        """Answer a re-INVITE; SipError is the refusal it gets."""
        if self.state is SessionState.EARLY:
            raise retry_after(500, None, 2)
        if self._offering or self.state is SessionState.ANSWERED:
            raise SipError(491)
        if self.state is not SessionState.CONFIRMED or self._dialog is None:
            raise SipError(481)
        target = target_of(request)
        reply = self.on_offer(offer)
        if isinstance(reply, int):
            raise SipError(reply, headers=self._warning(exchange.path, reply))
        self._dialog.target = target
        self.local_sdp = self._continue(reply)
        self._offering = offer is None
        self._accept(exchange, self._reconfirmed)

    def close(self) -> None:
        """The user agent goes away: say goodbye, do not wait."""
        if self.state is SessionState.CONFIRMED:
            self._bye(self.dialog)
        self._end("closed")

    # Shared by both sides.

    @property
    def dialog(self) -> Dialog:
        """The dialog; only after it stands."""
        assert self._dialog is not None
        return self._dialog

    def _move(self, state: SessionState) -> None:
        assert state in MOVES[self.state], f"{self.state} to {state}"
        self.state = state

    def _end(self, reason: str, tell: Callable[[], None] | None = None) -> None:
        """Let go of everything; `tell` is called instead of `on_ended` when given."""
        if self.state is SessionState.ENDED:
            return
        self._move(SessionState.ENDED)
        self._core.sessions.pop((self.id, self._tag), None)
        self._core.stats.calls -= 1
        if self._acceptance is not None:
            self._acceptance.stop()
        self._core.after(0, tell or (lambda: self.on_ended(reason)))

    def _accept(self, exchange: Exchange, on_ack: Callable[[Request], None]) -> None:
        """Answer an INVITE of this dialog with 200 and `local_sdp`."""
        headers = [
            ("Contact", self._core.contact(exchange.path)),
            *capabilities(),
            *self._core.server_headers(),
        ]
        request = exchange.machine.request
        response = request.response(200, tag=self._tag, headers=with_sdp(headers, self.local_sdp), body=self.local_sdp)
        self._acceptance = Acceptance(self._core, exchange, response, on_ack, self._unacknowledged)
        self._acceptance.begin()

    def _reconfirmed(self, ack: Request) -> None:
        awaited, self._offering = self._offering, False
        answer = description_in(ack)
        if awaited and answer is not None and self.state is SessionState.CONFIRMED:
            self.on_answer(answer)

    def _unacknowledged(self) -> None:
        if self.state is not SessionState.ENDED:
            self._bye(self.dialog, [("Reason", 'SIP;cause=408;text="ack_timeout"')])
            self._end("ack_timeout")

    def _same_offer(self, offer: SessionDescription | None) -> bytes | int:
        return 488 if offer is not None else self.local_sdp

    def _continue(self, sdp: bytes) -> bytes:
        return continued(self.local_sdp, sdp) if self.local_sdp else sdp

    def _warning(self, path: Path, status: int) -> list[Header]:
        if status != 488:
            return []
        agent = self._core.local_address_for(path.peer[0])
        return [("Warning", f'305 {agent} "Incompatible media format"')]

    def _bye(
        self,
        dialog: Dialog,
        headers: Sequence[Header] = (),
        done: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Send BYE; `done` gets the reason that its outcome gives."""
        core, path = self._core, self._path
        assert path is not None
        cseq = dialog.next_cseq()

        def found(way: Path) -> None:
            all_headers = [*headers, *core.client_headers()]
            request = dialog.request("BYE", core.via(way), cseq, all_headers)
            core.layer.request(request, way, answered, failed)

        def answered(response: Response) -> None:
            if response.status >= 200:
                done("hung_up")

        def failed(reason: str) -> None:
            done("bye_timeout" if reason == "timeout" else reason)

        core.locate(path.transport, dialog.hop, found, lambda: done("transport_error"))


class _Reinvite:
    """One INVITE of ours inside a dialog."""

    def __init__(
        self,
        core: Core,
        session: Session,
        on_result: Callable[[int, SessionDescription | None], None],
        previous: bytes,
    ) -> None:
        self._core = core
        self._session = session
        self._on_result = on_result
        self._previous = previous
        self._cseq = session.dialog.next_cseq()
        self._answered = False

    def begin(self) -> None:
        session = self._session
        path = session._path
        assert path is not None
        self._core.locate(path.transport, session.dialog.hop, self._found, lambda: self._finish(503, None))

    def _found(self, path: Path) -> None:
        core, sdp = self._core, self._session.local_sdp
        headers = [("Contact", core.contact(path)), *capabilities(), *core.client_headers()]
        request = self._session.dialog.request("INVITE", core.via(path), self._cseq, with_sdp(headers, sdp), sdp)
        core.layer.request(request, path, self._responded, self._failed)

    def _responded(self, response: Response) -> None:
        if 200 <= response.status < 300:
            if not self._answered:
                self._session.dialog.refresh(response)
            acknowledge(self._core, self._session.dialog, self._session._path, self._cseq)
        if response.status >= 200 and not self._answered:
            self._answered = True
            self._finish(response.status, description_in(response))

    def _failed(self, reason: str) -> None:
        self._finish(408 if reason == "timeout" else 503, None)

    def _finish(self, status: int, answer: SessionDescription | None) -> None:
        session = self._session
        session._offering = False
        if status >= 300:
            session.local_sdp = self._previous
        if session.state is not SessionState.CONFIRMED:
            return
        self._on_result(status, answer)
        if status in (408, 481):
            # The peer has lost the dialog (RFC 3261 section 12.2.1.2).
            session._bye(session.dialog)
            session._end("dialog_lost")


def acknowledge(core: Core, dialog: Dialog, path: Path | None, cseq: int) -> None:
    """Send the ACK of a 2xx, again for each repeat of it (RFC 3261 section 13.2.2.4)."""
    assert path is not None

    def found(way: Path) -> None:
        core.send(dialog.request("ACK", core.via(way), cseq, core.client_headers()), way)

    core.locate(path.transport, dialog.hop, found, lambda: None)


def description_in(message: Message) -> SessionDescription | None:
    """The SDP that a message carries; None when there is none or it cannot be read."""
    try:
        return offered(message)
    except SipError:
        return None


def offered(message: Message) -> SessionDescription | None:
    """The SDP that a request carries; None without a body. SipError 400 or 415 otherwise."""
    if not message.body:
        return None
    kind = message.header("Content-Type")
    if kind is None:
        raise malformed("Missing Content-Type")
    encoding = (message.header("Content-Encoding") or "identity").lower()
    if encoding != "identity":
        raise SipError(415, headers=(("Accept-Encoding", "identity"),))
    if kind.partition(";")[0].strip().lower() != SDP:
        raise SipError(415, headers=(("Accept", SDP),))
    return SessionDescription.parse(message.body)
