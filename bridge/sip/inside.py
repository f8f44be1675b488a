"""Requests inside a call: one function per method (RFC 3261 section 12.2.2)."""

from __future__ import annotations

from collections.abc import Callable

from .bodies import ACCEPT
from .core import KNOWN, allow, retry_after
from .errors import SipError, phrase_for
from .info import DTMF, DTMF_RELAY
from .layer import Exchange
from .message import Request
from .options import option_tags
from .policy import Policy
from .session import Session
from .transfer import notified, referred

RETRY_AFTER_S = 5
"""What a refused caller is asked to wait, in seconds."""


def serve(session: Session, exchange: Exchange, request: Request) -> None:
    """Serve a request of this dialog; SipError is the refusal it gets."""
    if not session.in_order(request):
        raise retry_after(500, "Request Out of Order", RETRY_AFTER_S)
    method = _METHODS.get(request.method)
    if method is None:
        raise SipError(405 if request.method in KNOWN else 501, headers=(allow(),))
    if request.method != "BYE":
        require(session.core.policy, request)
    session.peer.learn(request)
    method(session, exchange, request)


def require(policy: Policy, request: Request) -> None:
    """SipError 420 when a request asks for an extension that we do not have."""
    unknown = option_tags(request, "Require") - set(policy.supported)
    if unknown:
        raise SipError(420, headers=(("Unsupported", ", ".join(sorted(unknown))),))


def _bye(session: Session, exchange: Exchange, request: Request) -> None:
    exchange.respond(request.response(200, headers=session.core.server_headers()))
    session.peer_hung_up()


def _options(session: Session, exchange: Exchange, request: Request) -> None:
    core = session.core
    headers = [*core.capabilities(), ("Accept", ACCEPT), *core.server_headers()]
    exchange.respond(request.response(200, headers=headers))


def _invite(session: Session, exchange: Exchange, request: Request) -> None:
    session.offers.reinvited(exchange, request)


def _update(session: Session, exchange: Exchange, request: Request) -> None:
    session.offers.updated(exchange, request)


def _prack(session: Session, exchange: Exchange, request: Request) -> None:
    if not session.acknowledged_provisionally(exchange, request):
        raise SipError(481, reason="stray_prack")


def _info(session: Session, exchange: Exchange, request: Request) -> None:
    """Without a body it only asks whether we are there; with one the owner of the call knows (RFC 2976)."""
    status = 200
    if request.body:
        status = session.on_info(request.header("Content-Type") or "", request.body)
    accept = [("Accept", f"{DTMF_RELAY}, {DTMF}")] if status == 415 else []
    headers = [*accept, *session.core.server_headers()]
    exchange.respond(request.response(status, phrase_for(status), headers=headers))


_METHODS: dict[str, Callable[[Session, Exchange, Request], None]] = {
    "BYE": _bye,
    "OPTIONS": _options,
    "INVITE": _invite,
    "UPDATE": _update,
    "PRACK": _prack,
    "INFO": _info,
    "REFER": referred,
    "NOTIFY": notified,
}
