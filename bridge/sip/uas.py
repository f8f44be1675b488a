"""What a request gets: the server core (RFC 3261 section 8.2)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from .core import ALLOWED, KNOWN, SDP, Core, capabilities, retry_after
from .dialog import Dialog, new_tag
from .errors import SipError
from .invitation import Invitation
from .layer import Exchange, Path
from .message import Request
from .session import Session, offered
from .transaction import State

SCHEMES = ("sip", "sips", "tel")
RETRY_AFTER_S = 5
"""What a refused caller is asked to wait, in seconds."""


class UserAgentServer:
    """Decides for each request who gets it and how it is refused."""

    def __init__(self, core: Core, on_invite: Callable[[Invitation], None], availability: Callable[[], int]) -> None:
        self._core = core
        self._on_invite = on_invite
        self._availability = availability
        self._secret = secrets.token_bytes(16)

    def receive(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        """Serve one well-formed request whose answers take `path`."""
        self.count(request)
        try:
            if self._core.layer.absorb(request):
                return
            if request.method == "ACK":
                self._acknowledge(request)
            elif request.method == "CANCEL":
                self._cancel(request, path)
            else:
                self._serve(request, path, source)
        except SipError as error:
            self.refuse(request, path, error)

    def count(self, request: Request) -> None:
        """Count a request that came, malformed ones too."""
        self._core.stats.receive(request.method if request.method in KNOWN else "other")

    def refuse(self, request: Request, path: Path, error: SipError) -> None:
        """Answer with an error without keeping anything; ACKs are never answered."""
        if request.method == "ACK":
            self._core.stats.drop(error.reason)
            return
        headers = [*error.headers, *self._core.server_headers()]
        tag = self._tag(request)
        self._core.reply(request.response(error.status, error.phrase, tag=tag, headers=headers), path)

    def _tag(self, request: Request) -> str:
        # The same for each repeat of a request, without memory (RFC 3261 section 8.2.7).
        keys = (request.header(name) or "" for name in ("Call-ID", "From", "CSeq"))
        return hashlib.blake2s("\n".join(keys).encode(), key=self._secret, digest_size=8).hexdigest()

    def _acknowledge(self, request: Request) -> None:
        key = request.call_id, request.cseq.number, request.from_.tag
        acceptance = self._core.acceptances.get(key)
        if acceptance is None:
            raise SipError(481, reason="stray_ack")
        acceptance.acknowledge(request)

    def _cancel(self, request: Request, path: Path) -> None:
        exchange = self._core.layer.find(request, "INVITE")
        if exchange is None:
            raise SipError(481)
        tag = exchange.tag or self._tag(request)
        self._core.reply(request.response(200, tag=tag, headers=self._core.server_headers()), path)
        if exchange.state is State.PROCEEDING:
            exchange.on_cancel()

    def _serve(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        if request.method not in KNOWN:
            raise SipError(501, headers=capabilities()[:1])
        tag = request.to.tag
        if tag is not None:
            session = self._core.sessions.get((request.call_id, tag))
            if session is None or not session.matches(request):
                raise SipError(481)
            self._serve_inside(session, request, path)
            return
        if request.method == "BYE":
            raise SipError(481)
        if request.method not in ALLOWED:
            raise SipError(405, headers=capabilities()[:1])
        if self._core.layer.is_merged(request):
            raise SipError(482)
        if request.method == "OPTIONS":
            self._inspect(request)
            self._options(request, path)
        else:
            self._invite(request, path, source)

    def _serve_inside(self, session: Session, request: Request, path: Path) -> None:
        exchange = self._core.layer.open(request, path)
        exchange.tag = request.to.tag
        try:
            self._inside(session, request, exchange)
        except SipError as error:
            self._respond(exchange, error)
        except BaseException:
            self._respond(exchange, SipError(500))
            raise

    def _inside(self, session: Session, request: Request, exchange: Exchange) -> None:
        if not session.in_order(request):
            raise retry_after(500, "CSeq Out of Order", RETRY_AFTER_S)
        if request.method == "BYE":
            exchange.respond(request.response(200, headers=self._core.server_headers()))
            session.bye()
        elif request.method == "OPTIONS":
            exchange.respond(request.response(200, headers=self._capabilities()))
        elif request.method == "INVITE":
            self._require(request)
            session.reinvited(exchange, request, offered(request))
        else:
            raise SipError(405, headers=capabilities()[:1])

    def _respond(self, exchange: Exchange, error: SipError) -> None:
        if exchange.state not in (State.TRYING, State.PROCEEDING):
            return
        request = exchange.machine.request
        headers = [*error.headers, *self._core.server_headers()]
        exchange.tag = exchange.tag or self._tag(request)
        exchange.respond(request.response(error.status, error.phrase, tag=exchange.tag, headers=headers))

    def _inspect(self, request: Request) -> None:
        """The header checks of section 8.2.2, for requests outside a dialog."""
        if request.uri.scheme not in SCHEMES:
            raise SipError(416)
        if request.max_forwards == 0:
            raise SipError(483)
        self._require(request)

    def _require(self, request: Request) -> None:
        wanted = request.headers("Require")
        if wanted:
            raise SipError(420, headers=(("Unsupported", ", ".join(wanted)),))

    def _options(self, request: Request, path: Path) -> None:
        status = self._availability()
        headers = self._capabilities()
        if status == 503:
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        self._core.reply(request.response(status, tag=self._tag(request), headers=headers), path)

    def _capabilities(self) -> list[tuple[str, str]]:
        return [*capabilities(), ("Accept", SDP), *self._core.server_headers()]

    def _invite(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        if self._core.layer.full:
            raise retry_after(503, None, RETRY_AFTER_S)
        exchange = self._core.layer.open(request, path)
        try:
            self._inspect(request)
            offer = offered(request)
            dialog = Dialog.uas(request, new_tag())
        except SipError as error:
            self._respond(exchange, error)
            return
        exchange.respond(request.response(100))
        self._invited(Invitation(self._core, exchange, dialog, offer, source))

    def _invited(self, invitation: Invitation) -> None:
        try:
            self._on_invite(invitation)
        except BaseException:
            invitation.reject(500)
            raise
