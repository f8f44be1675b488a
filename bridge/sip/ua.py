"""The user agent: sockets, the timer and the guard around the SIP stack."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from .address import Address
from .advertise import Advertiser, family_of
from .alarms import Alarms
from .core import Core, capabilities
from .dialog import MAX_FORWARDS, new_tag
from .errors import SipError
from .headers import Headers
from .invitation import Invitation
from .layer import MAX_SERVER_TRANSACTIONS, Path, Transport
from .message import Request, Response, parse
from .outgoing import OutgoingCall
from .stats import SipStats
from .transaction import Timers
from .transport import UdpTransport
from .uas import UserAgentServer
from .uri import Uri, host_port
from .via import reply_to

log = structlog.get_logger("sipbridge.sip")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: transport "udp", an IP literal, a port (0 for any free one)."""

    transport: str
    host: str
    port: int


class UserAgent:
    """Answers and makes calls. Everything happens in the loop that ran `start`.

    `on_invite` gets each new call and must return at once. `availability` says 200 or 503 to OPTIONS.
    `advertise` is the address peers can reach us at, or "auto" for the one the kernel sends from.
    """

    def __init__(
        self,
        *,
        listen: Sequence[ListenAddress],
        advertise: str = "auto",
        on_invite: Callable[[Invitation], None],
        availability: Callable[[], int] = lambda: 200,
        product: str = "sipbridge",
        clock: Callable[[], float] = time.monotonic,
        timers: Timers | None = None,
        limit: int = MAX_SERVER_TRANSACTIONS,
    ) -> None:
        self.local: list[tuple[str, str, int]] = []
        self._listen = tuple(listen)
        self._clock = clock
        self._alarms = Alarms(self._rearm)
        self._advertiser = Advertiser(advertise, clock)
        self._core = Core(
            clock=clock,
            alarms=self._alarms,
            advertiser=self._advertiser,
            resolve=self._resolve,
            product=product,
            timers=timers,
            limit=limit,
        )
        self._server = UserAgentServer(self._core, on_invite, availability)
        self._transports: list[UdpTransport] = []
        self._lookups: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stats(self) -> SipStats:
        return self._core.stats

    async def start(self) -> None:
        """Bind every address; OSError when one cannot be had, and none is kept then."""
        self._loop = asyncio.get_running_loop()
        try:
            for address in self._listen:
                if address.transport.lower() != "udp":
                    raise OSError(f"transport not supported: {address.transport}")
                self._transports.append(UdpTransport(address.host, address.port, self._receive))
        except OSError:
            await self.close()
            raise
        self.local = [(item.name.lower(), *item.local) for item in self._transports]
        self._advertiser.bind([item.local[0] for item in self._transports])
        for name, host, port in self.local:
            log.info("sip.listening", transport=name, host=host, port=port)

    async def close(self) -> None:
        """End every call without waiting for the peers, close the sockets, stop the timer."""
        try:
            for session in list(self._core.sessions.values()):
                session.close()
            self._alarms.run(self._clock())
        finally:
            for transport in self._transports:
                transport.close()
            self._transports.clear()
            for task in self._lookups:
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._loop = self._timer = None

    def local_address_for(self, host: str) -> str:
        """Our address for Contact, Via and SDP towards a peer (an IP literal)."""
        return self._core.local_address_for(host)

    def invite(
        self,
        target: str,
        *,
        sdp: bytes,
        caller: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        proxy: str | None = None,
    ) -> OutgoingCall:
        """Call `target`, through `proxy` (a sip URI) when given. ValueError for a malformed URI or header.

        Nothing is sent before the next turn of the loop: set the callbacks now. `caller` is the From
        (default sip:phone@ our address).
        """
        uri = Uri.parse(target)
        hop = (Uri.parse(proxy) if proxy else uri).hop
        if not hop[0]:
            raise SipError(416)
        transport = self._transport_for(hop[0])
        name = f"sip:phone@{host_port(self.local_address_for(hop[0]))}"
        address = Address.parse(caller or name, "From")
        return OutgoingCall(self._core, transport, uri, hop=hop, sdp=sdp, caller=address, headers=headers)

    def options(self, target: str, on_result: Callable[[int], None]) -> None:
        """Ask a peer whether it is there; `on_result` gets its status, 408 or 503 without an answer."""
        uri = Uri.parse(target)
        core = self._core

        def found(path: Path) -> None:
            address = f"<sip:{host_port(self.local_address_for(path.peer[0]))}>"
            pairs = [
                ("Via", core.via(path)),
                MAX_FORWARDS,
                ("From", f"{address};tag={new_tag()}"),
                ("To", f"<{uri}>"),
                ("Call-ID", new_tag()),
                ("CSeq", "1 OPTIONS"),
                ("Contact", core.contact(path)),
                *capabilities(),
                *core.client_headers(),
            ]
            request = Request(Headers.make(pairs), b"", "OPTIONS", uri)
            core.layer.request(request, path, answered, failed)

        def answered(response: Response) -> None:
            if response.status >= 200:
                on_result(response.status)

        def failed(reason: str) -> None:
            on_result(408 if reason == "timeout" else 503)

        core.locate(self._transport_for(uri.hop[0]), uri.hop, found, lambda: on_result(503))

    def _transport_for(self, host: str) -> UdpTransport:
        family = family_of(host.strip("[]"))
        for transport in self._transports:
            if family in (None, transport.family):
                return transport
        raise OSError(f"no socket for {host}")

    def _receive(self, transport: UdpTransport, data: bytes, source: tuple[str, int]) -> None:
        """The guard: whatever a stranger sends ends as a call, an answer or a counted drop."""
        try:
            self._take(transport, data, source)
        except SipError as error:
            self.stats.drop(error.reason)
        except Exception:
            self.stats.drop("internal")
            log.exception("sip.datagram_failed", peer=source[0])

    def _take(self, transport: UdpTransport, data: bytes, source: tuple[str, int]) -> None:
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
            self._core.layer.receive(message)
            return
        path = Path(transport, reply_to(message.via, source))
        self._server.receive(message.stamped(source), path, source)

    def _refuse(self, request: Request, error: SipError, transport: UdpTransport, source: tuple[str, int]) -> None:
        """Answer a malformed request with what it has; without a usable Via it is dropped."""
        self._server.count(request)
        path = Path(transport, reply_to(request.via, source))
        self._server.refuse(request.stamped(source), path, error)

    def _resolve(self, host: str, port: int, transport: Transport, done: Callable[[str | None], None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._look_up(host, port, transport, done))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, host: str, port: int, transport: Transport, done: Callable[[str | None], None]) -> None:
        family = family_of(transport.local[0]) or socket.AF_INET
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            found = []
        done(str(found[0][4][0]) if found else None)

    def _rearm(self) -> None:
        when = self._alarms.next_deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(0.0, when - self._clock()), self._tick)

    def _tick(self) -> None:
        try:
            self._alarms.run(self._clock())
        finally:
            self._rearm()
