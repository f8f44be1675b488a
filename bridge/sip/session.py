"""What both sides of a call share: the dialog, its end, and the parts that talk inside it (RFC 3261 12 to 15)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from .acceptance import Acceptance
from .acks import Acks
from .capabilities import Capabilities
from .core import Core, with_sdp
from .delivery import Delivery
from .dialog import Dialog
from .layer import Exchange, Path, is_direct
from .message import Request, Response
from .offers import Offers, OnResult
from .refresh import SessionRefresh
from .sdp import SessionDescription
from .transfer import Referred, Transfer

if TYPE_CHECKING:
    from .digest import Authenticator
    from .replaces import Replaces
    from .uri import Uri

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

    `on_ended` gets a reason: "bye", "hung_up", "bye_timeout", "transport_error", "unreachable", "dialog_lost",
    "session_expired", "closed", for an incoming call also "cancelled", "rejected", "ring_timeout", "ack_timeout"
    and "prack_timeout".
    `on_offer` gets the offer of a re-INVITE or UPDATE, None when the peer asks for ours; it returns the SDP to
    answer with, or a status to refuse with. Without it ours never changes, and theirs may not.
    `on_answer` gets the answer to an offer made that way.
    `on_info` gets type and body of an INFO and returns the status to answer with.
    `on_refer` gets what the peer wants us to call; true when it will be tried.
    """

    State: ClassVar = SessionState

    def __init__(self, core: Core, call_id: str, tag: str, *, is_ours: bool) -> None:
        self.id = call_id
        self.state = SessionState.EARLY
        self.on_ended: Callable[[str], None] = lambda reason: None
        self.on_offer: Callable[[SessionDescription | None], bytes | int] | None = None
        self.on_answer: Callable[[SessionDescription], None] = lambda answer: None
        self.on_info: Callable[[str, bytes], int] = lambda kind, body: 415
        self.on_refer: Callable[[Referred], bool] = lambda referred: False
        self.core = core
        self.tag = tag
        self.is_ours = is_ours
        """Whether we began the call, and own its Call-ID."""
        self.peer = Capabilities()
        """What the other side has said that it can do."""
        self.authenticator: Authenticator | None = None
        self.advertise: str | None = None
        """Our address in this call, or "auto"; None for the usual one."""
        self.offers = Offers(self)
        self.refresh = SessionRefresh(self)
        self.transfer: Transfer | None = None
        """The latest REFER of ours."""
        self.path: Path | None = None
        self.is_direct = False
        """Whether the far end of `path` is the other user agent itself, and answers nowhere else (RFC 5626)."""
        self.known_dialog: Dialog | None = None
        self._acceptance: Acceptance | None = None
        self.acks = Acks(self)
        core.sessions[call_id, tag] = self
        core.stats.calls += 1

    # What the owner of the call may ask for.

    @property
    def local_sdp(self) -> bytes:
        """The last description we sent; empty before the first."""
        return self.offers.local_sdp

    @property
    def bind_host(self) -> str:
        """The host our side of the signalling is bound to: an address, or 0.0.0.0 or :: for any."""
        assert self.path is not None
        return self.path.transport.local[0]

    @property
    def local_address(self) -> str:
        """Our address as the peer reaches it, for SDP."""
        assert self.path is not None
        return self.core.address_on(self.path, self.advertise)

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call; returns at once. Nothing happens when it has ended already."""
        if self.state is SessionState.CONFIRMED:
            self.move(SessionState.ENDING)
            self.bye(self.dialog, headers, self.end)

    def reinvite(self, sdp: bytes, on_result: OnResult) -> None:
        """Offer new media inside the call; `on_result` gets the final status and the answer, if any.

        When both sides offer at once (491) it is tried again after the time of RFC 3261 section 14.1.
        """
        self.offers.offer("INVITE", sdp, on_result)

    def update(self, sdp: bytes, on_result: OnResult) -> None:
        """The same by UPDATE (RFC 3311); with no SDP it only refreshes the session."""
        self.offers.offer("UPDATE", sdp, on_result)

    def info(self, kind: str, body: bytes, on_result: Callable[[int], None] = lambda status: None) -> None:
        """Send an INFO (RFC 6086) with a body of type `kind`; `on_result` gets the final status."""
        if self.state is not SessionState.CONFIRMED:
            self.core.after(0, lambda: on_result(481))
            return
        self.send("INFO", [("Content-Type", kind)], body, on_status=on_result)

    def refer(
        self, target: Uri, on_progress: Callable[[int, bool], None], replaces: Replaces | None = None
    ) -> Transfer:
        """Ask the peer to call `target`, in place of the call `replaces` if given (RFC 3515, RFC 3891).

        `on_progress` gets the status of that call as the peer tells it, and whether it is the last word. A
        refused REFER is the last word too; 491 when an earlier one is still under way. When this call ends first,
        `on_ended` is the last word. Who does not want to wait so long stops what is returned.
        """
        transfer = Transfer(self, target, on_progress, replaces)
        if self.transfer is not None and not self.transfer.is_over:
            self.core.after(0, lambda: transfer.fail(491))
        else:
            self.transfer = transfer
            transfer.begin()
        return transfer

    # What the user agent gives to the call.

    def matches(self, request: Request) -> bool:
        """Whether a request with our tag is really of this dialog."""
        return self.known_dialog is not None and (request.from_.tag or "") == self.known_dialog.remote_tag

    def is_meant_by(self, replaces: Replaces) -> bool:
        """Whether a Replaces names this call (RFC 3891 section 3)."""
        dialog = self.known_dialog
        return dialog is not None and replaces.matches(self.id, self.tag, dialog.remote_tag)

    def in_order(self, request: Request) -> bool:
        """Whether the CSeq of a request is not behind the last one."""
        return self.known_dialog is not None and self.known_dialog.accepts(request.cseq.number)

    def peer_hung_up(self) -> None:
        """BYE has come."""
        self.end("bye")

    def acknowledged_provisionally(self, exchange: Exchange, request: Request) -> bool:
        """PRACK has come (RFC 3262); False when nothing waits for it."""
        return False

    def close(self) -> None:
        """The user agent goes away: say goodbye, do not wait."""
        if self.state is SessionState.CONFIRMED:
            self.bye(self.dialog)
        self.end("closed")

    # Shared by the parts of a call.

    @property
    def dialog(self) -> Dialog:
        """The dialog; only after it stands."""
        assert self.known_dialog is not None
        return self.known_dialog

    @property
    def is_over(self) -> bool:
        """Whether one side has hung up."""
        return self.state in (SessionState.ENDING, SessionState.ENDED)

    @property
    def awaits_ack(self) -> bool:
        """Whether a 2xx of ours to an INVITE has no ACK yet."""
        return self._acceptance is not None and self._acceptance.pending

    def move(self, state: SessionState) -> None:
        assert state in MOVES[self.state], f"{self.state} to {state}"
        self.state = state
        if self.is_over:
            self.refresh.stop()

    def follow(self, exchange: Exchange, target: Uri) -> None:
        """The peer has named its target anew: it is there now, and at the far end of the way this request came."""
        self.dialog.target = target
        self.path = exchange.path
        self.is_direct = is_direct(exchange.machine.request, exchange.path)

    def end(self, reason: str, tell: Callable[[], None] | None = None) -> None:
        """Let go of everything; `tell` is called instead of `on_ended` when given."""
        if self.state is SessionState.ENDED:
            return
        self.move(SessionState.ENDED)
        self.core.sessions.pop((self.id, self.tag), None)
        self.core.stats.calls -= 1
        if self._acceptance is not None:
            self._acceptance.stop()
        if self.transfer is not None:
            self.transfer.stop()
        self.core.after(0, tell or (lambda: self.on_ended(reason)))

    def give_up(self, reason: str, text: str) -> None:
        """End a call whose other side has lost it: BYE with a Reason, without waiting for the answer."""
        if self.state in (SessionState.ANSWERED, SessionState.CONFIRMED):
            self.bye(self.dialog, [("Reason", f'SIP;cause=408;text="{text}"')])
        self.end(reason)

    def send(
        self,
        method: str,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        *,
        dialog: Dialog | None = None,
        with_contact: bool = False,
        on_response: Callable[[Response], None] | None = None,
        on_status: Callable[[int], None] = lambda status: None,
    ) -> Delivery:
        """Send a request inside the dialog.

        `on_response` gets every answer; else `on_status` the final status only, 408 or 503 when there is none.
        """
        core, within = self.core, dialog or self.dialog

        def make(path: Path) -> Request:
            contact = [("Contact", self.contact_on(path))] if with_contact else []
            lines = [*contact, *headers, *core.client_headers()]
            return within.request(method, self.via_on(path), within.next_cseq(), lines, body)

        def responded(response: Response) -> None:
            if on_response is not None:
                on_response(response)
            elif response.status >= 200:
                on_status(response.status)

        return core.deliver(
            within.hop,
            make,
            on_response=responded,
            on_failure=lambda reason: on_status(408 if reason == "timeout" else 503),
            authenticator=self.authenticator,
            prefer=self.path,
            flow=self.flow(within),
        )

    def accept(
        self, exchange: Exchange, on_ack: Callable[[Request], None], headers: Sequence[Header], sdp: bytes
    ) -> None:
        """Answer an INVITE of this dialog with 200 and `sdp`, if any."""
        lines = [
            ("Contact", self.contact_on(exchange.path)),
            *self.core.capabilities(),
            *headers,
            *self.core.server_headers(),
        ]
        request = exchange.machine.request
        response = request.response(200, tag=self.tag, headers=with_sdp(lines, sdp), body=sdp)
        self._acceptance = Acceptance(self.core, exchange, response, on_ack, self._unacknowledged)
        self._acceptance.begin()

    def bye(
        self,
        dialog: Dialog,
        headers: Sequence[Header] = (),
        done: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Send BYE; `done` gets the reason that its outcome gives."""
        outcomes = {408: "bye_timeout", 503: "transport_error"}
        self.send("BYE", headers, dialog=dialog, on_status=lambda status: done(outcomes.get(status, "hung_up")))

    def contact_on(self, path: Path) -> str:
        """Our Contact in this call; sips where the caller asked for it."""
        return self.core.contact(path, secure=self.is_secure, own=self.advertise)

    def via_on(self, path: Path) -> str:
        """A Via for a new transaction of this call."""
        return self.core.via(path, self.advertise)

    @property
    def is_secure(self) -> bool:
        """Whether the call was placed to a sips URI."""
        return False

    def flow(self, dialog: Dialog) -> Path | None:
        """The way the call came, where that is the only one: a connection, or a hole in the peer's NAT."""
        path = self.path
        if path is None or not self.is_direct or dialog.routes:
            return None
        return path if path.connected or not path.transport.reliable else None

    def _unacknowledged(self) -> None:
        if not self.is_over:
            self.give_up("ack_timeout", "ack_timeout")
