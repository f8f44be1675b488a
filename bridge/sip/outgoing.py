"""One outgoing call: the calling side of INVITE (RFC 3261 section 13.2, RFC 3262, RFC 3960)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .address import Address
from .bodies import description_in
from .core import Core, with_sdp
from .delivery import Delivery
from .dialog import MAX_FORWARDS, Dialog, new_tag
from .errors import SipError, phrase_for
from .forks import Forks
from .headers import Headers
from .layer import Exchange, Path
from .message import Request, Response
from .reasons import reasons_in, word_for
from .redirect import Redirects
from .reliable import OPTION, ReliableReceiver
from .sdp import SessionDescription
from .session import Header, Session, SessionState
from .transaction import State
from .uri import Uri

if TYPE_CHECKING:
    from .digest import Authenticator
    from .replaces import Replaces

RING_LIMIT_S = 180.0
"""How long the far end may ring, in seconds, before we cancel."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call of ours was not answered: status and phrase as they came, and one word for it (`reasons.WORDS`).

    487 and "cancelled" after `cancel`, 487 and "no_answer" when it rang too long, whatever the far end says to
    that; 408 when nobody answered at all, 503 when the target cannot be reached.
    """

    status: int
    phrase: str
    word: str


class OutgoingCall(Session):
    """A call of ours.

    `on_ringing` and `on_early_media` as often as that happens, then `on_answered` and in the end `on_ended`; or
    `on_failed` in place of the two.
    """

    def __init__(
        self,
        core: Core,
        target: Uri,
        *,
        sdp: bytes,
        caller: Address,
        headers: Sequence[Header] = (),
        routes: Sequence[str] = (),
        authenticator: Authenticator | None = None,
        ring_limit_s: float = RING_LIMIT_S,
        redirects: Callable[[Uri], bool] = lambda uri: False,
        flow: Path | None = None,
        advertise: str | None = None,
    ) -> None:
        """`routes` are Route values to start with, `redirects` says which targets of a 3xx may be tried.

        `flow` is the way that a phone registered by: it leads where its Contact may not.
        """
        tag = new_tag()
        # Made before anything else, so that a malformed one is the owner's ValueError and leaves nothing.
        sender = Address(caller.display, caller.uri, (("tag", tag),))
        parties = Headers.make((("From", str(sender)), ("To", f"<{target}>")))
        extra = Headers.make(headers)
        way = Headers.make(("Route", route) for route in routes)
        super().__init__(core, f"{new_tag()}{new_tag()}", tag, is_ours=True)
        self.target = target
        self.offers.describe(sdp)
        self.authenticator = authenticator
        self.advertise = advertise
        self.path = flow
        self.on_ringing: Callable[[int], None] = lambda status: None
        self.on_early_media: Callable[[SessionDescription], None] = lambda answer: None
        self.on_answered: Callable[[SessionDescription | None], None] = lambda answer: None
        self.on_failed: Callable[[Failure], None] = lambda failure: None
        self._own = (*parties, *extra)
        self._way = way
        self._hop = Address.parse(routes[0], "Route").uri if routes else None
        self._redirects = Redirects(target, redirects)
        self._delivery: Delivery | None = None
        self._entry = flow
        self._cseq = 0
        self._cancelled = ""  # "cancelled" or "no_answer"
        self._cancel_sent = False
        self._rang = False
        self._forks = Forks()
        self._reliable = ReliableReceiver()
        self._ringing_until = core.after(ring_limit_s, lambda: self.cancel("no_answer"))
        # The owner sets the callbacks after the constructor; nothing may happen before that.
        core.after(0, self._begin)

    def cancel(self, word: str = "cancelled") -> None:
        """Give the call up while it rings; `on_failed` with 487 follows. Later: nothing."""
        if self.state is not SessionState.EARLY or self._cancelled:
            return
        self._cancelled = word
        if self._delivery is None or not self._delivery.is_waiting:
            self._fail(487)
        else:
            self._delivery.settle()
            self._send_cancel()

    def hang_up(self, headers: Sequence[Header] = ()) -> None:
        """End the call: CANCEL while it rings, BYE after that."""
        if self.state is SessionState.EARLY:
            self.cancel()
        else:
            super().hang_up(headers)

    def peer_hung_up(self) -> None:
        """The far end has hung up, perhaps before it answered: others that the INVITE reached may ring on."""
        if self.state is not SessionState.EARLY:
            super().peer_hung_up()
            return
        self._forks.hung_up(self.dialog.remote_tag)
        if not self._forks:
            self._send_cancel()
            self._fail(480)

    def close(self) -> None:
        """The user agent goes away: say goodbye, do not wait."""
        if self.state is SessionState.EARLY:
            self._send_cancel()
            self._fail(503)
        else:
            super().close()

    def end(self, reason: str, tell: Callable[[], None] | None = None) -> None:
        self._ringing_until.cancel()
        if self._delivery is not None:
            self._delivery.settle()
        super().end(reason, tell)

    def matches(self, request: Request) -> bool:
        """Early dialogs too: each far end may hang up or update while it rings."""
        if self.state is SessionState.EARLY:
            self._turn_to(request.from_.tag or "")
        return super().matches(request)

    def is_meant_by(self, replaces: Replaces) -> bool:
        if self.state is SessionState.EARLY:
            self._turn_to(replaces.from_tag)
        return super().is_meant_by(replaces)

    def _turn_to(self, tag: str) -> None:
        """Talk inside one of the early dialogs."""
        branch = self._forks.find(tag)
        self.known_dialog = branch.dialog if branch is not None else None
        self.offers.pending = branch is None or not branch.answered

    @property
    def is_secure(self) -> bool:
        return self.target.scheme == "sips"

    # INVITE

    def _begin(self) -> None:
        if self.state is SessionState.EARLY:
            self._delivery = self.core.deliver(
                self._hop or self.target,
                self._invite,
                on_response=self._responded,
                on_failure=self._broken,
                authenticator=self.authenticator,
                prefer=self.path,
                flow=self._entry,
            )

    def _invite(self, path: Path) -> Request:
        core, sdp = self.core, self.local_sdp
        self.path, self.is_direct = path, path == self._entry
        self._forks.clear()
        self._cseq += 1
        pairs = [
            ("Via", self.via_on(path)),
            MAX_FORWARDS,
            ("Call-ID", self.id),
            ("CSeq", f"{self._cseq} INVITE"),
            ("Contact", self.contact_on(path)),
            *core.capabilities(),
            *([("Require", OPTION)] if core.policy.reliable == "required" else []),
            *self.refresh.request_headers(),
            *core.client_headers(),
        ]
        return Request(
            Headers((*Headers.make(with_sdp(pairs, sdp)), *self._way, *self._own)), sdp, "INVITE", self.target
        )

    def _responded(self, response: Response) -> None:
        if response.status < 200:
            self._progress(response)
        elif response.status < 300:
            self._accepted(response)
        elif self.state is SessionState.EARLY and not self._cancelled and self._tried_again(response):
            return
        else:
            self._fail(response.status, response)

    def _tried_again(self, response: Response) -> bool:
        """Another INVITE for an answer that asks for one: elsewhere (3xx), or with a longer interval (422)."""
        if response.status == 422 and self.refresh.too_short(response):
            self._begin()
            return True
        return self._went_on(self._redirects.after(response))

    def _went_on(self, target: Uri | None) -> bool:
        if target is None:
            return False
        self.target, self._hop, self._way, self._entry = target, None, Headers(), None
        self._begin()
        return True

    # While it rings

    def _progress(self, response: Response) -> None:
        if self.state is not SessionState.EARLY or self._cancelled:
            self._send_cancel()
            return
        receipt = self._reliable.accept(response)
        if not receipt.process or response.status == 100:
            return
        assert self._delivery is not None and self._delivery.request is not None
        self.peer.learn(response)
        branch = self._forks.progress(self._delivery.request, response)
        description = description_in(response)
        if branch.dialog is not None and receipt.rack is not None:
            self.send("PRACK", [("RAck", str(receipt.rack))], dialog=branch.dialog)
            branch.answered = branch.answered or description is not None
        branch.description = description or branch.description
        self._rang = True
        self.on_ringing(response.status)
        if description is not None and self.state is SessionState.EARLY:
            self.on_early_media(description)

    # The answer

    def _accepted(self, response: Response) -> None:
        assert self._delivery is not None and self._delivery.request is not None
        request = self._delivery.request
        try:
            dialog, first = self._forks.accept(request, response)
        except SipError as error:
            self.core.stats.drop("malformed_response")
            self._fail(error.status, phrase=error.phrase)
            return
        self.acks.send(dialog, request, response)
        if not first:
            return
        if self.state is SessionState.EARLY and not self._cancelled:
            self._confirm(dialog, response)
        else:
            # A second branch of a fork, or an answer that crossed our CANCEL.
            self.bye(dialog)
            self._fail(487)

    def _confirm(self, dialog: Dialog, response: Response) -> None:
        branch = self._forks.find(dialog.remote_tag) or self._forks.find("")
        described = branch.description if branch is not None else None
        self.known_dialog = dialog
        self.offers.pending = False
        self._ringing_until.cancel()
        self.move(SessionState.CONFIRMED)
        self.peer.learn(response)
        self.refresh.agreed(response)
        self.on_answered(description_in(response) or described)

    # CANCEL

    def _send_cancel(self) -> None:
        delivery = self._delivery
        if delivery is None or delivery.exchange is None:
            return
        exchange = delivery.exchange
        if exchange.state is not State.PROCEEDING or self._cancel_sent:
            return  # Not before a provisional answer (RFC 3261 section 9.1): `_progress` comes back here.
        self._cancel_sent = True
        request = cancel_for(exchange.machine.request, self._cancelled)
        self.core.layer.request(request, exchange.path, lambda response: None, lambda reason: None)
        # RFC 3261 section 9.1: an old far end may never answer the INVITE after a CANCEL.
        self.core.after(self.core.timers.life, lambda: self._abandon(exchange))

    def _abandon(self, exchange: Exchange) -> None:
        if exchange.state is State.PROCEEDING:
            exchange.terminate()
            self._fail(487)

    def _broken(self, reason: str) -> None:
        if self.state is not SessionState.EARLY or (not self._cancelled and self._went_on(self._redirects.next())):
            return
        if reason == "timeout":
            self._fail(408)
        else:
            self._fail(503, word="unreachable")

    def _fail(self, status: int, response: Response | None = None, *, word: str = "", phrase: str = "") -> None:
        if self.state is not SessionState.EARLY:
            return
        if self._cancelled:
            status, response, phrase = 487, None, ""
        phrase = phrase or (response.phrase if response is not None else phrase_for(status))
        reasons = reasons_in(response) if response is not None else ()
        word = self._cancelled or word or word_for(status, reasons, rang=self._rang)
        self.end("failed", lambda: self.on_failed(Failure(status, phrase, word)))


def cancel_for(invite: Request, word: str = "") -> Request:
    """The CANCEL of an INVITE of ours (RFC 3261 section 9.1)."""
    kept = [line for line in invite.lines if line.key in ("from", "to", "call-id", "route")]
    via = invite.lines.lines("Via")[0]
    own = [MAX_FORWARDS, ("CSeq", f"{invite.cseq.number} CANCEL")]
    if word:
        own.append(("Reason", f'SIP;cause=487;text="{word}"'))
    return Request(Headers((via, *kept, *Headers.make(own))), b"", "CANCEL", invite.uri)
