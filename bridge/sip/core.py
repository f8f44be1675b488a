"""What every call of one user agent shares: the layer, the clock, the way out, the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .advertise import Advertiser, family_of
from .alarms import Alarms
from .dialog import new_tag
from .errors import SipError
from .layer import MAX_SERVER_TRANSACTIONS, Path, TransactionLayer, Transport
from .message import Request, Response
from .stats import SipStats
from .transaction import Timers
from .uri import host_port
from .via import MAGIC

if TYPE_CHECKING:
    from .acceptance import Acceptance
    from .session import Session

ALLOWED = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS")
KNOWN = frozenset(
    (*ALLOWED, *["REGISTER", "INFO", "PRACK", "UPDATE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "MESSAGE"])
)
SDP = "application/sdp"

Resolve = Callable[[str, int, Transport, Callable[[str | None], None]], None]
"""Looks a host name up and calls back with an IP literal that the transport can reach, or None."""


class Core:
    """The ground that sessions stand on. It knows no socket: transports send, `resolve` looks up."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        alarms: Alarms,
        advertiser: Advertiser,
        resolve: Resolve,
        product: str = "sipbridge",
        timers: Timers | None = None,
        limit: int = MAX_SERVER_TRANSACTIONS,
    ) -> None:
        self.clock = clock
        self.alarms = alarms
        self.timers = timers or Timers()
        self.product = product
        self.stats = SipStats()
        self.layer = TransactionLayer(alarms=alarms, clock=clock, timers=self.timers, stats=self.stats, limit=limit)
        self.sessions: dict[tuple[str, str], Session] = {}
        self.acceptances: dict[tuple[str, int, str | None], Acceptance] = {}
        self._advertiser = advertiser
        self._resolve = resolve

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call back in `delay` seconds; 0 is the next turn of the loop."""
        self.alarms.at(self.clock() + delay, call)

    def local_address_for(self, host: str) -> str:
        """The address to put into Contact, Via and SDP for a peer."""
        return self._advertiser.address_for(host)

    def contact(self, path: Path, user: str | None = None) -> str:
        """Our Contact for a peer."""
        name = f"{user}@" if user else ""
        return f"<sip:{name}{self._sent_by(path)}>"

    def via(self, path: Path) -> str:
        """A Via for a new transaction."""
        return f"SIP/2.0/{path.transport.name} {self._sent_by(path)};branch={MAGIC}{new_tag()};rport"

    def _sent_by(self, path: Path) -> str:
        return host_port(self.local_address_for(path.peer[0]), path.transport.local[1])

    def locate(
        self,
        transport: Transport,
        hop: tuple[str, int],
        found: Callable[[Path], None],
        lost: Callable[[], None],
    ) -> None:
        """Call `found` with the path to a host and port: at once for a literal, else when DNS answers."""
        host, port = hop
        host = host.strip("[]")
        if family_of(host) is not None:
            found(Path(transport, (host, port)))
            return

        def resolved(address: str | None) -> None:
            if address is None:
                lost()
            else:
                found(Path(transport, (address, port)))

        self._resolve(host, port, transport, resolved)

    def send(self, request: Request, path: Path) -> None:
        """Send a request that has no transaction: the ACK of a 2xx."""
        self.stats.request(request.method)
        self._send(bytes(request), path)

    def reply(self, response: Response, path: Path) -> None:
        """Answer without keeping a transaction (RFC 3261 section 8.2.7)."""
        self.stats.respond(response.status)
        self._send(bytes(response), path)

    def _send(self, data: bytes, path: Path) -> None:
        try:
            path.transport.send(data, path.peer)
        except OSError:
            self.stats.transport_errors += 1

    def client_headers(self) -> list[tuple[str, str]]:
        """What our requests say of us."""
        return [("User-Agent", self.product)]

    def server_headers(self) -> list[tuple[str, str]]:
        """What our answers say of us."""
        return [("Server", self.product)]


def capabilities() -> list[tuple[str, str]]:
    """What we can do, as INVITEs, their 2xx and answers to OPTIONS say it."""
    return [("Allow", ", ".join(ALLOWED)), ("Supported", "")]


def with_sdp(headers: Sequence[tuple[str, str]], sdp: bytes) -> list[tuple[str, str]]:
    """`headers`, and the type of the body when there is one."""
    return [*headers, ("Content-Type", SDP)] if sdp else list(headers)


def retry_after(status: int, phrase: str | None, seconds: int) -> SipError:
    """A refusal that asks the peer to come back."""
    return SipError(status, phrase, headers=(("Retry-After", str(seconds)),))
