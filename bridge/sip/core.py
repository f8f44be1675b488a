"""What every call of one user agent shares: the layer, the clock, the way out, the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .advertise import Advertiser, family_of, is_wildcard
from .alarms import Alarm, Alarms
from .delivery import Delivery
from .dialog import new_tag
from .errors import SipError
from .layer import MAX_SERVER_TRANSACTIONS, Path, TransactionLayer, Transport
from .locating import Target, TargetMemory
from .message import Request, Response
from .policy import Policy
from .stats import SipStats
from .transaction import Timers
from .uri import Uri, host_port
from .via import MAGIC

if TYPE_CHECKING:
    from .acceptance import Acceptance
    from .digest import Authenticator
    from .session import Session

ALLOWED = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY")
KNOWN = frozenset((*ALLOWED, *["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"]))
SDP = "application/sdp"

Resolve = Callable[[Uri, Sequence[str], Callable[[list[Target]], None]], object]
"""Finds the servers of a URI over the transports named (RFC 3263) and calls back; for a literal at once."""


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
        policy: Policy | None = None,
        limit: int = MAX_SERVER_TRANSACTIONS,
    ) -> None:
        self.clock = clock
        self.alarms = alarms
        self.timers = timers or Timers()
        self.policy = policy or Policy()
        self.product = product
        self.stats = SipStats()
        self.layer = TransactionLayer(alarms=alarms, clock=clock, timers=self.timers, stats=self.stats, limit=limit)
        self.transports: list[Transport] = []
        self.sessions: dict[tuple[str, str], Session] = {}
        self.acceptances: dict[tuple[str, int, str | None], Acceptance] = {}
        self.targets = TargetMemory()
        self._advertiser = advertiser
        self._resolve = resolve

    def after(self, delay: float, call: Callable[[], None]) -> Alarm:
        """Call back in `delay` seconds; 0 is the next turn of the loop."""
        return self.alarms.at(self.clock() + delay, call)

    # Our addresses

    def local_address_for(self, host: str, own: str | None = None) -> str:
        """The address to put into SDP for a peer. `own`, here and below: advertised in place of the usual one."""
        return self._advertiser.address_for(host, own)

    def address_on(self, path: Path, own: str | None = None) -> str:
        """Our address as the peer at the end of a path reaches it."""
        if self._advertiser.is_fixed(own) or is_wildcard(path.transport.local[0]):
            return self._advertiser.address_for(path.peer[0], own)
        return path.transport.local[0]

    def contact(self, path: Path, user: str | None = None, *, secure: bool = False, own: str | None = None) -> str:
        """Our Contact for a peer; with `secure` a sips URI (RFC 3261 section 12.1.1)."""
        name = f"{user}@" if user else ""
        transport = path.transport.name.lower()
        if secure:
            return f"<sips:{name}{self._sent_by(path, own)}>"
        parameter = "" if transport == "udp" else f";transport={transport}"
        return f"<sip:{name}{self._sent_by(path, own)}{parameter}>"

    def via(self, path: Path, own: str | None = None) -> str:
        """A Via for a new transaction; `alias` asks for our connection to be used both ways (RFC 5923)."""
        wish = "rport" if not path.transport.reliable else "rport;alias"
        return f"SIP/2.0/{path.transport.name} {self._sent_by(path, own)};branch={MAGIC}{new_tag()};{wish}"

    def _sent_by(self, path: Path, own: str | None) -> str:
        return host_port(self.address_on(path, own), path.transport.local[1])

    # The way out

    def locate(self, hop: Uri, prefer: Path | None, found: Callable[[list[Path]], None]) -> None:
        """Call `found` with the paths to a URI, best first: at once for a literal, else when DNS answers."""
        supported = list(dict.fromkeys(transport.name for transport in self.transports))

        def resolved(targets: list[Target]) -> None:
            if prefer is not None:  # who has served us before comes first, unless it has failed since
                targets = sorted(targets, key=lambda target: (target.host, target.port) != prefer.peer)
            ordered = self.targets.order(targets, self.clock())
            paths = [path for target in ordered if (path := self._path_to(target, prefer)) is not None]
            found(paths)

        self._resolve(hop, supported, resolved)

    def _path_to(self, target: Target, prefer: Path | None) -> Path | None:
        family = family_of(target.host)
        fitting = [item for item in self.transports if item.name == target.transport and item.family == family]
        if not fitting:
            return None
        preferred = prefer is not None and prefer.transport in fitting
        transport = prefer.transport if prefer is not None and preferred else self._nearest(fitting, target.host)
        return Path(transport, (target.host, target.port), target.name)

    def _nearest(self, transports: Sequence[Transport], host: str) -> Transport:
        """The one bound to the address that leads to `host`, else one that is bound to all."""
        if len(transports) == 1:
            return transports[0]
        own = self._advertiser.routed(host, transports[0].family)
        fitting = [item for item in transports if item.local[0] == own]
        return (fitting or [item for item in transports if is_wildcard(item.local[0])] or list(transports))[0]

    def deliver(
        self,
        hop: Uri,
        make: Callable[[Path], Request],
        *,
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
        authenticator: Authenticator | None = None,
        prefer: Path | None = None,
        flow: Path | None = None,
    ) -> Delivery:
        """Send one request, whatever it takes; see `Delivery`."""
        delivery = Delivery(self, make, on_response, on_failure, authenticator)
        delivery.begin(hop, prefer, flow)
        return delivery

    def punish(self, path: Path, seconds: float) -> None:
        """A server has failed: others come first for a while."""
        target = Target(path.transport.name, *path.peer, path.name)
        self.targets.failed(target, self.clock(), seconds)

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
            path.send(data)
        except OSError:
            self.stats.transport_errors += 1

    # What we say of ourselves

    def client_headers(self) -> list[tuple[str, str]]:
        """What our requests say of us."""
        return [("User-Agent", self.product)]

    def server_headers(self) -> list[tuple[str, str]]:
        """What our answers say of us."""
        return [("Server", self.product)]

    def capabilities(self) -> list[tuple[str, str]]:
        """What we can do, as INVITEs, their 2xx and answers to OPTIONS say it."""
        return [allow(), ("Supported", ", ".join(self.policy.supported))]


def allow() -> tuple[str, str]:
    """The methods we take."""
    return "Allow", ", ".join(ALLOWED)


def with_sdp(headers: Sequence[tuple[str, str]], sdp: bytes) -> list[tuple[str, str]]:
    """`headers`, and the type of the body when there is one."""
    return [*headers, ("Content-Type", SDP)] if sdp else list(headers)


def retry_after(status: int, phrase: str | None, seconds: int) -> SipError:
    """A refusal that asks the peer to come back."""
    return SipError(status, phrase, headers=(("Retry-After", str(seconds)),))
