"""The transaction layer: which message belongs to which transaction (RFC 3261 section 17)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from .alarms import Alarm, Alarms
from .client_transaction import Client, InviteClient
from .errors import SipError
from .message import Message, Request, Response
from .server_transaction import InviteServer, Server
from .stats import SipStats
from .transaction import Action, Deliver, Failed, Send, State, Timers
from .via import MAGIC

MAX_SERVER_TRANSACTIONS = 10_000
"""More INVITEs than this at once are a flood; they are refused without keeping anything."""

DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}

Key = tuple[object, ...]


class Transport(Protocol):
    """What carries messages: `name` as in Via ("UDP", "TCP", "TLS"), `local` the bound host and port."""

    name: str
    reliable: bool
    local: tuple[str, int]
    family: socket.AddressFamily

    def send(self, data: bytes, peer: tuple[str, int], name: str = "") -> None:
        """Send to an IP literal and port; OSError when that cannot be done. TLS verifies the peer as `name`."""

    def connected(self, peer: tuple[str, int]) -> bool:
        """Whether a connection to `peer` stands; never for a transport without connections."""


@dataclass(frozen=True, slots=True)
class Path:
    """A transport and the host (literal) and port at its far end; `name` is the host as its URI names it, for TLS."""

    transport: Transport
    peer: tuple[str, int]
    name: str = ""

    @property
    def connected(self) -> bool:
        return self.transport.connected(self.peer)

    def send(self, data: bytes) -> None:
        """OSError when that cannot be done."""
        self.transport.send(data, self.peer, self.name)


def _nothing(*_: object) -> None:
    pass


class Exchange:
    """A transaction on its path: performs what the machine asks for and tells its user.

    `on_message` gets responses (client) or the ACK of a 2xx (server), `on_failure` "timeout" or
    "transport_error", `on_cancel` nothing, and `on_over`, when nothing comes any more, the transaction itself.
    `tag` is the To tag of our answers.
    """

    __slots__ = (
        "_alarm",
        "_key",
        "_layer",
        "machine",
        "on_cancel",
        "on_failure",
        "on_message",
        "on_over",
        "path",
        "tag",
    )

    def __init__(
        self,
        layer: TransactionLayer,
        key: Key,
        machine: InviteServer | Server | InviteClient | Client,
        path: Path,
    ) -> None:
        self.machine = machine
        self.path = path
        self.tag: str | None = None
        self.on_message: Callable[[Message], None] = _nothing
        self.on_failure: Callable[[str], None] = _nothing
        self.on_cancel: Callable[[], None] = _nothing
        self.on_over: Callable[[Exchange], None] = _nothing
        self._layer = layer
        self._key = key
        self._alarm: Alarm | None = None

    @property
    def key(self) -> Key:
        return self._key

    @property
    def state(self) -> State:
        return self.machine.state

    def respond(self, response: Response) -> None:
        """Send an answer to the request of this server transaction."""
        assert isinstance(self.machine, InviteServer | Server)
        if self.state is not State.ACCEPTED:
            self._layer.stats.respond(response.status)
        self.perform(self.machine.respond(response, self._layer.clock()))

    def leave(self) -> None:
        """It is over: its user hears so, and nothing else of it, and is not kept by it any longer."""
        over = self.on_over
        self.on_message = self.on_failure = self.on_cancel = self.on_over = _nothing
        over(self)

    def terminate(self) -> None:
        """Forget the transaction at once."""
        self.machine.terminate()
        self.perform([])

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(action)
            elif isinstance(action, Deliver):
                self.on_message(action.message)
            elif isinstance(action, Failed):
                self.on_failure(action.reason)
        self._arm()

    def _send(self, action: Send) -> None:
        self._layer.stats.retransmissions_sent += action.repeat
        try:
            self.path.send(action.data)
        except OSError:
            self._layer.stats.transport_errors += 1
            # Told from the loop, so that nobody hears of a failure inside a call of his own.
            self._layer.alarms.at(self._layer.clock(), self.broken)

    def broken(self) -> None:
        """What was sent has not gone out."""
        self.perform(self.machine.error(self._layer.clock()))

    def _ring(self) -> None:
        self.perform(self.machine.tick(self._layer.clock()))

    def _arm(self) -> None:
        when = self.machine.next_deadline
        if self._alarm is not None and (not self._alarm.pending or self._alarm.when != when):
            self._alarm.cancel()
            self._alarm = None
        if self.state is State.TERMINATED:
            self._layer.forget(self)
        elif when is not None and self._alarm is None:
            self._alarm = self._layer.alarms.at(when, self._ring)


class TransactionLayer:
    """All transactions of one user agent."""

    def __init__(
        self,
        *,
        alarms: Alarms,
        clock: Callable[[], float],
        timers: Timers,
        stats: SipStats,
        limit: int = MAX_SERVER_TRANSACTIONS,
    ) -> None:
        self.alarms = alarms
        self.clock = clock
        self.timers = timers
        self.stats = stats
        self._limit = limit
        self._servers: dict[Key, Exchange] = {}
        self._clients: dict[Key, Exchange] = {}
        self._origins: dict[Key, Exchange] = {}

    @property
    def full(self) -> bool:
        """Whether strangers hold as many server transactions as they may."""
        return len(self._servers) >= self._limit

    @property
    def crowded(self) -> bool:
        """Whether even those who talk inside calls hold too many: strangers get half of the room."""
        return len(self._servers) >= 2 * self._limit

    def absorb(self, request: Request) -> bool:
        """Give a request to the transaction it belongs to; False when it begins something new."""
        exchange = self.find(request)
        if exchange is None:
            return False
        machine = exchange.machine
        assert isinstance(machine, InviteServer | Server)
        if request.method != "ACK":
            self.stats.retransmissions_received += 1
        exchange.perform(machine.receive(request, self.clock()))
        return True

    def find(self, request: Request, method: str | None = None) -> Exchange | None:
        """The server transaction of a request, or with `method` the one that it cancels."""
        return self._servers.get(server_key(request, method or request.method))

    def is_merged(self, request: Request) -> bool:
        """Whether the same request came here another way before (RFC 3261 section 8.2.2.2)."""
        return _origin(request) in self._origins

    def open(self, request: Request, path: Path) -> Exchange:
        """Begin a server transaction."""
        kind = InviteServer if request.method == "INVITE" else Server
        machine = kind(request, self.clock(), self.timers, path.transport.reliable)
        exchange = Exchange(self, server_key(request, request.method), machine, path)
        self._servers[exchange.key] = exchange
        self._origins.setdefault(_origin(request), exchange)
        self.stats.transactions += 1
        return exchange

    def request(
        self,
        request: Request,
        path: Path,
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
    ) -> Exchange:
        """Send a request of ours in a client transaction."""
        kind = InviteClient if request.method == "INVITE" else Client
        machine = kind(request, self.clock(), self.timers, path.transport.reliable)
        exchange = Exchange(self, (request.via.branch, request.method), machine, path)
        exchange.on_message = on_response  # type: ignore[assignment]  # a client gets responses only
        exchange.on_failure = on_failure
        self._clients[exchange.key] = exchange
        self.stats.transactions += 1
        self.stats.request(request.method)
        exchange.perform(machine.begin())
        return exchange

    def receive(self, response: Response) -> None:
        """Give a response to its transaction; SipError when there is none (RFC 3261 17.1.3)."""
        exchange = self._clients.get((response.via.branch, response.cseq.method))
        if exchange is None:
            raise SipError(481, reason="stray_response")
        machine = exchange.machine
        assert isinstance(machine, InviteClient | Client)
        exchange.perform(machine.receive(response, self.clock()))

    def lost(self, transport: Transport, peer: tuple[str, int]) -> None:
        """A connection has gone: requests of ours on it have failed, answers of ours take another one.

        That one leads to the port in the Via (RFC 3261 section 18.2.2).
        """
        for exchange in [*self._clients.values(), *self._servers.values()]:
            if exchange.path.transport is not transport or exchange.path.peer != peer:
                continue
            if isinstance(exchange.machine, InviteClient | Client):
                self.stats.transport_errors += 1
                exchange.broken()
            else:
                port = exchange.machine.request.via.port or DEFAULT_PORTS[transport.name]
                exchange.path = replace(exchange.path, peer=(peer[0], port))

    def forget(self, exchange: Exchange) -> None:
        """Let go of a transaction that has ended."""
        served = isinstance(exchange.machine, InviteServer | Server)
        table = self._servers if served else self._clients
        if table.pop(exchange.key, None) is None:
            return
        self.stats.transactions -= 1
        if served:
            origin = _origin(exchange.machine.request)
            if self._origins.get(origin) is exchange:
                del self._origins[origin]
        exchange.leave()


def server_key(request: Request, method: str) -> Key:
    """What identifies a server transaction (RFC 3261 section 17.2.3); the ACK has its INVITE's."""
    method = "INVITE" if method == "ACK" else method
    via = request.via
    if via.branch.startswith(MAGIC):
        return via.branch, via.sent_by, method
    # RFC 2543 peers. The To tag is left out: the ACK carries one, the INVITE does not.
    return request.uri.text, request.from_.tag, request.call_id, request.cseq.number, via, method


def _origin(request: Request) -> Key:
    return request.from_.tag, request.call_id, request.cseq


def is_direct(request: Request, path: Path) -> bool:
    """Whether the peer itself is at the other end of the way a request came, and reachable only by it.

    A proxy would have left a second Via or a Record-Route. Over UDP, a Via that names another host than the one
    that sent is a phone behind NAT: its Contact leads nowhere.
    """
    if len(request.headers("Via")) != 1 or request.headers("Record-Route"):
        return False
    return path.transport.reliable or request.via.host != path.peer[0]
