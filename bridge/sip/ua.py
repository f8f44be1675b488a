"""The user agent: sockets, the timer and the guard around the SIP stack."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from .address import Address
from .advertise import Advertiser
from .alarms import Alarms
from .core import Core
from .dialog import MAX_FORWARDS, new_tag
from .dns import Resolver
from .errors import SipError
from .gate import Gate, OpenGate
from .headers import Headers
from .invitation import Invitation
from .layer import MAX_SERVER_TRANSACTIONS, Path, Transport
from .listeners import ListenAddress, Listeners
from .message import Request, Response, parse
from .outgoing import RING_LIMIT_S, OutgoingCall
from .policy import Policy
from .stats import SipStats
from .stream import StreamTransport
from .tls import TlsSettings
from .transaction import Timers
from .uas import UserAgentServer
from .uri import Uri, host_port
from .via import reply_to

if TYPE_CHECKING:
    from .digest import Authenticator
    from .registrar import Registrar

__all__ = ["ListenAddress", "UserAgent"]

log = structlog.get_logger("sipbridge.sip")


class ConnectionUser(Protocol):
    """Something that lives on a connection, as a registration does."""

    def uses(self, peer: tuple[str, int]) -> bool:
        """Whether it needs the connection to `peer`."""

    def lost(self, peer: tuple[str, int]) -> None:
        """The connection to `peer` is gone."""


class UserAgent:
    """Answers and makes calls. Everything happens in the loop that ran `start`.

    `on_invite` gets each new call that `gate` lets in, and must return at once. `availability` says 200 or 503
    to OPTIONS. `advertise` is the address peers can reach us at, or "auto" for the one the kernel sends from.
    """

    def __init__(
        self,
        *,
        listen: Sequence[ListenAddress],
        advertise: str = "auto",
        on_invite: Callable[[Invitation], None],
        availability: Callable[[], int] = lambda: 200,
        gate: Gate | None = None,
        registrar: Registrar | None = None,
        policy: Policy | None = None,
        tls: TlsSettings | None = None,
        nameservers: Sequence[str] = (),
        product: str = "sipbridge",
        clock: Callable[[], float] = time.monotonic,
        timers: Timers | None = None,
        limit: int = MAX_SERVER_TRANSACTIONS,
    ) -> None:
        self.local: list[tuple[str, str, int]] = []
        self._clock = clock
        self._alarms = Alarms(self._rearm)
        self._advertiser = Advertiser(advertise, clock)
        self._resolver = Resolver(nameservers or None)
        self.core = Core(
            clock=clock,
            alarms=self._alarms,
            advertiser=self._advertiser,
            resolve=self._resolver.resolve,
            product=product,
            timers=timers,
            policy=policy,
            limit=limit,
        )
        self.connection_users: list[ConnectionUser] = []
        """Who besides calls needs connections to stay: registrations of ours, phones registered with us."""
        self.registrar = registrar
        gate = gate or OpenGate()
        self._server = UserAgentServer(self.core, on_invite, availability, gate, registrar)
        self.listeners = Listeners(
            listen,
            tls or TlsSettings(),
            clock=clock,
            receive=self._receive,
            broken=self._broken,
            lost=self._lost,
            in_use=self._in_use,
            known=gate.answers,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()
        """The timer's own: what it rings belongs to no call, whichever call set it."""

    @property
    def stats(self) -> SipStats:
        return self.core.stats

    async def start(self) -> None:
        """Bind every address; OSError when one cannot be had, ValueError for TLS files, and none is kept then."""
        self._loop = asyncio.get_running_loop()
        try:
            await self.listeners.start()
        except (OSError, ValueError):
            await self.close()
            raise
        self.core.transports = list(self.listeners.transports)
        listening = [item for item in self.core.transports if not isinstance(item, StreamTransport) or item.listening]
        self.local = [(item.name.lower(), *item.local) for item in listening]
        self._advertiser.bind([item.local[0] for item in self.core.transports])
        for name, host, port in self.local:
            log.info("sip.listening", transport=name, host=host, port=port)

    async def close(self) -> None:
        """End every call without waiting for the peers, close the sockets, stop the timer."""
        try:
            for session in list(self.core.sessions.values()):
                session.close()
            self._alarms.run(self._clock())
        finally:
            await self.listeners.close()
            self.core.transports = []
            self._resolver.close()
            if self._timer is not None:
                self._timer.cancel()
            self._loop = self._timer = None

    def local_address_for(self, host: str, advertise: str | None = None) -> str:
        """Our address for SDP towards a peer (an IP literal); `advertise` as in `invite`."""
        return self.core.local_address_for(host, advertise)

    def invite(
        self,
        target: str,
        *,
        sdp: bytes,
        caller: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        routes: Sequence[str] = (),
        authenticator: Authenticator | None = None,
        ring_limit_s: float = RING_LIMIT_S,
        redirects: Callable[[Uri], bool] = lambda uri: False,
        flow: Path | None = None,
        advertise: str | None = None,
    ) -> OutgoingCall:
        """Call `target`, by the `routes` (Route values) when given. ValueError for a malformed URI or header.

        Nothing is sent before the next turn of the loop: set the callbacks now. `caller` is the From
        (default sip:phone@ our address). `flow` is the way to a phone that registered with us.
        `advertise` is our address in this call, or "auto", in place of the usual one.
        """
        uri = Uri.parse(target)
        if uri.scheme not in ("sip", "sips") and not routes:
            raise SipError(416)
        name = f"sip:phone@{host_port(self.local_address_for(uri.host, advertise))}"
        return OutgoingCall(
            self.core,
            uri,
            sdp=sdp,
            caller=Address.parse(caller or name, "From"),
            headers=headers,
            routes=routes,
            authenticator=authenticator,
            ring_limit_s=ring_limit_s,
            redirects=redirects,
            flow=flow,
            advertise=advertise,
        )

    def options(self, target: str, on_result: Callable[[int], None]) -> None:
        """Ask a peer whether it is there; `on_result` gets its status, 408 or 503 without an answer."""
        uri, core = Uri.parse(target), self.core

        def make(path: Path) -> Request:
            address = f"<sip:{host_port(self.local_address_for(path.peer[0]))}>"
            pairs = [
                ("Via", core.via(path)),
                MAX_FORWARDS,
                ("From", f"{address};tag={new_tag()}"),
                ("To", f"<{uri}>"),
                ("Call-ID", new_tag()),
                ("CSeq", "1 OPTIONS"),
                ("Contact", core.contact(path)),
                *core.capabilities(),
                *core.client_headers(),
            ]
            return Request(Headers.make(pairs), b"", "OPTIONS", uri)

        def answered(response: Response) -> None:
            if response.status >= 200:
                on_result(response.status)

        core.deliver(
            uri,
            make,
            on_response=answered,
            on_failure=lambda reason: on_result(408 if reason == "timeout" else 503),
        )

    # What comes in

    def _receive(self, transport: Transport, data: bytes, source: tuple[str, int]) -> None:
        self._guard(source, lambda: self._take(transport, data, source))

    def _guard(self, source: tuple[str, int], work: Callable[[], None]) -> None:
        """Whatever a stranger sends ends as a call, an answer or a counted drop."""
        try:
            work()
        except SipError as error:
            self.stats.drop(error.reason)
        except Exception:
            self.stats.drop("internal")
            log.exception("sip.message_failed", peer=source[0])

    def _take(self, transport: Transport, data: bytes, source: tuple[str, int]) -> None:
        if not data.strip(b"\r\n"):
            self.stats.keepalives += 1
            return
        try:
            message = parse(data)
        except SipError as error:
            if error.request is None:
                raise
            self._refuse(error.request, error, transport, source)
            return
        if isinstance(message, Response):
            self.stats.response(message.status)
            self.core.layer.receive(message)
            return
        self.listeners.note_alias(transport, message, source)
        self._server.receive(message.stamped(source), _back(transport, message, source), source)

    def _refuse(self, request: Request, error: SipError, transport: Transport, source: tuple[str, int]) -> None:
        """Answer a malformed request with what it has; without a usable Via it is dropped."""
        path = _back(transport, request, source)
        self._server.refuse_malformed(request.stamped(source), path, source, error)

    def _broken(self, transport: Transport, head: bytes, error: SipError, source: tuple[str, int]) -> None:
        """A stream that cannot be read on: answer what its last head asks, if that can be read."""
        self.stats.drop(error.reason)
        self._guard(source, lambda: self._answer_broken(transport, head, error, source))

    def _answer_broken(self, transport: Transport, head: bytes, error: SipError, source: tuple[str, int]) -> None:
        try:
            message = parse(head.rstrip(b"\r\n") + b"\r\nContent-Length: 0\r\n\r\n")
        except SipError as unread:
            request = unread.request
        else:
            request = message if isinstance(message, Request) else None
        if request is not None:
            self._refuse(request, error, transport, source)

    def _in_use(self, peer: tuple[str, int]) -> bool:
        """Whether a call or a binding lives on the connection to `peer`."""
        paths = (session.path for session in self.core.sessions.values())
        if any(path is not None and path.peer == peer for path in paths):
            return True
        if self.registrar is not None and self.registrar.uses(peer):
            return True
        return any(user.uses(peer) for user in self.connection_users)

    def _lost(self, transport: Transport, peer: tuple[str, int]) -> None:
        self.core.layer.lost(transport, peer)
        for user in self.connection_users:
            user.lost(peer)

    # Time

    def _rearm(self) -> None:
        when = self._alarms.next_deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None and self._loop is not None:
            delay = max(0.0, when - self._clock())
            self._timer = self._loop.call_later(delay, self._tick, context=self._context)

    def _tick(self) -> None:
        try:
            self._alarms.run(self._clock())
        finally:
            self._rearm()


def _back(transport: Transport, request: Request, source: tuple[str, int]) -> Path:
    """The way an answer takes: the same connection, or over UDP where the Via says (RFC 3261 section 18.2.2)."""
    return Path(transport, source if transport.reliable else reply_to(request.via, source))
