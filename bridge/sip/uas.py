"""What a request gets: the server core (RFC 3261 section 8.2)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import session_timer
from .bodies import ACCEPT, offered
from .core import KNOWN, Core, allow, retry_after
from .dialog import Dialog, new_tag
from .errors import SipError
from .gate import Admitted, Gate, Silence
from .inside import RETRY_AFTER_S, require, serve
from .invitation import Invitation
from .layer import Exchange, Path
from .message import Request
from .options import supports
from .reliable import OPTION as RELIABLE
from .replaces import Replaces
from .session import Session
from .transaction import State

if TYPE_CHECKING:
    from .registrar import Registrar

SCHEMES = ("sip", "sips", "tel")
INSIDE_ONLY = ("BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY")
"""What we take within a call and nowhere else."""


class UserAgentServer:
    """Decides for each request who gets it and how it is refused."""

    def __init__(
        self,
        core: Core,
        on_invite: Callable[[Invitation], None],
        availability: Callable[[], int],
        gate: Gate,
        registrar: Registrar | None = None,
    ) -> None:
        self._core = core
        self._on_invite = on_invite
        self._availability = availability
        self._gate = gate
        self._registrar = registrar
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
                self._cancel(request, path, source)
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

    def refuse_malformed(self, request: Request, path: Path, source: tuple[str, int], error: SipError) -> None:
        """The same for what could not be read whole; a stranger hears nothing."""
        self.count(request)
        self._refuse_known(request, path, source, error)

    def _refuse_known(self, request: Request, path: Path, source: tuple[str, int], error: SipError) -> None:
        if self._gate.answers(source[0]):
            self.refuse(request, path, error)
        else:
            self._core.stats.drop(error.reason)

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

    def _cancel(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        exchange = self._core.layer.find(request, "INVITE")
        if exchange is None:
            self._refuse_known(request, path, source, SipError(481))
            return
        tag = exchange.tag or self._tag(request)
        self._core.reply(request.response(200, tag=tag, headers=self._core.server_headers()), path)
        if exchange.state is State.PROCEEDING:
            exchange.on_cancel()

    def _serve(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        """What begins something new passes the gate first; inside a call the tags are the ticket."""
        session = self._session_of(request)
        if session is not None:
            self._serve_inside(session, request, path)
            return
        verdict = self._gate.judge(request, source, path.transport.name)
        if isinstance(verdict, Silence):
            self._core.stats.drop(verdict.reason)
            return
        if isinstance(verdict, SipError):
            self.refuse(request, path, verdict)  # raised from here, it would keep this frame, and that the verdict
            return
        self._check(request)
        if request.method == "REGISTER":
            self._register(request, path, source)
        elif request.method == "OPTIONS":
            self._inspect(request)
            self._options(request, path)
        else:
            self._invite(request, path, source, verdict)

    def _session_of(self, request: Request) -> Session | None:
        tag = request.to.tag
        session = self._core.sessions.get((request.call_id, tag)) if tag is not None else None
        return session if session is not None and session.matches(request) else None

    def _check(self, request: Request) -> None:
        """Refuse what nothing can be begun with."""
        if request.method not in KNOWN:
            raise SipError(501, headers=(allow(),))
        if request.to.tag is not None or request.method in INSIDE_ONLY:
            raise SipError(481)
        begins = ("INVITE", "OPTIONS") if self._registrar is None else ("INVITE", "OPTIONS", "REGISTER")
        if request.method not in begins:
            raise SipError(405, headers=(allow(),))
        if self._core.layer.is_merged(request):
            raise SipError(482)

    def _serve_inside(self, session: Session, request: Request, path: Path) -> None:
        if self._core.layer.crowded and request.method != "BYE":
            raise retry_after(503, None, RETRY_AFTER_S)
        exchange = self._core.layer.open(request, path)
        exchange.tag = request.to.tag
        try:
            serve(session, exchange, request)
        except SipError as error:
            self._respond(exchange, error)
        except BaseException:
            self._respond(exchange, SipError(500))
            raise

    def _respond(self, exchange: Exchange, error: SipError) -> None:
        if exchange.state not in (State.TRYING, State.PROCEEDING):
            return
        request = exchange.machine.request
        headers = [*error.headers, *self._core.server_headers()]
        exchange.tag = exchange.tag or self._tag(request)
        exchange.respond(request.response(error.status, error.phrase, tag=exchange.tag, headers=headers))

    def _inspect(self, request: Request) -> None:
        """The header checks of section 8.2.2, for requests outside a dialog.

        Max-Forwards is not looked at: 0 forbids to pass a request on, not to take it.
        """
        if request.uri.scheme not in SCHEMES:
            raise SipError(416)
        require(self._core.policy, request)

    def _options(self, request: Request, path: Path) -> None:
        status = self._availability()
        headers = [*self._core.capabilities(), ("Accept", ACCEPT), *self._core.server_headers()]
        if status == 503:
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        self._core.reply(request.response(status, tag=self._tag(request), headers=headers), path)

    def _register(self, request: Request, path: Path, source: tuple[str, int]) -> None:
        assert self._registrar is not None
        self._inspect(request)
        answer = self._registrar.receive(request, path, source)
        if isinstance(answer, SipError):
            self.refuse(request, path, self._gate.refused(request, source, answer))
        else:
            self._core.reply(answer, path)

    def _invite(self, request: Request, path: Path, source: tuple[str, int], admitted: Admitted) -> None:
        if self._core.layer.full:
            raise retry_after(503, None, RETRY_AFTER_S)
        exchange = self._core.layer.open(request, path)
        try:
            self._inspect(request)
            self._demand(request)
            offer = offered(request)
            # Asked here for its 422 alone: nobody's phone shall ring for a call that cannot be answered.
            session_timer.accept(request, self._core.policy.timer)
            dialog = Dialog.uas(request, new_tag())
            replaced = self._replaced(request)
        except SipError as error:
            self._respond(exchange, error)
            return
        exchange.respond(request.response(100))
        self._invited(Invitation(self._core, exchange, dialog, offer, source, admitted, replaced))

    def _demand(self, request: Request) -> None:
        """RFC 3262 section 3: who insists on reliable answers gets none from a peer that cannot."""
        if self._core.policy.reliable == "required" and not supports(request, RELIABLE):
            raise SipError(421, "Extension Required", headers=(("Require", RELIABLE),))

    def _replaced(self, request: Request) -> Session | None:
        """The call that an INVITE takes the place of (RFC 3891 section 3); SipError 481, 486 or 603 when it may not."""
        replaces = Replaces.of(request)
        if replaces is None:
            return None
        session = self._core.sessions.get((replaces.call_id, replaces.to_tag))
        if session is None or not session.is_meant_by(replaces):
            raise SipError(481)
        if session.state is Session.State.EARLY and not session.is_ours:
            raise SipError(481)
        if session.is_over:
            raise SipError(603)
        if replaces.early_only and session.state is not Session.State.EARLY:
            raise SipError(486)
        return session

    def _invited(self, invitation: Invitation) -> None:
        try:
            self._on_invite(invitation)
        except BaseException:
            invitation.reject(500)
            raise
