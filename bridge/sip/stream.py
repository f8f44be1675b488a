"""SIP over TCP and TLS: one listener and every connection of its side (RFC 3261 section 18, RFC 5923)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog

from .advertise import family_of, is_wildcard
from .connection import Address, Connection, Phase, StreamLimits, StreamStats
from .flows import Flows
from .framing import FramingError
from .layer import Transport
from .listener import Listener
from .places import Places
from .tls import TlsSettings, handshake_failure

log = structlog.get_logger("sipbridge.sip")

SWEEP_S = 1.0
"""How often the ages of all connections are looked at, in seconds."""
DEFAULT_PORTS = {"TCP": 5060, "TLS": 5061}

Receive = Callable[[Transport, bytes, Address], None]
Broken = Callable[[Transport, bytes, FramingError, Address], None]
Lost = Callable[[Transport, Address], None]


class StreamTransport:
    """TCP or TLS at one address: accepts there, connects out from there.

    `receive` gets each whole message and its source; `broken` the head of one after which the stream is
    useless (what is sent to the source in that call still goes out, then the connection is closed);
    `lost` an address to which something was sent or queued over a connection that is gone or never came
    about. `in_use` says whether a dialog or a binding lives on the connection to an address, `known` whether
    a host (an IP literal) is a peer; the connections of others are few and short. `lost` is never called
    inside `send`.
    """

    reliable = True

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        receive: Receive,
        broken: Broken,
        lost: Lost,
        in_use: Callable[[Address], bool] = lambda peer: False,
        known: Callable[[str], bool] = lambda host: True,
        clock: Callable[[], float] = time.monotonic,
        tls: TlsSettings | None = None,
        limits: StreamLimits | None = None,
        listening: bool = True,
    ) -> None:
        """`name` is "TCP" or "TLS", `host` an IP literal, `port` 0 for any free one. Nothing is bound yet.

        Without `listening` it only connects out. ValueError when the files of `tls` cannot be used.
        """
        self.name = name
        self.family = family_of(host) or socket.AF_INET
        self.local: Address = (host, port or (0 if listening else DEFAULT_PORTS[name]))
        self.limits = limits or StreamLimits()
        self.stats = StreamStats()
        self._receive = receive
        self._broken = broken
        self._lost = lost
        self._in_use = in_use
        self._known = known
        self._clock = clock
        tls = (tls or TlsSettings()) if name == "TLS" else None
        self._server_tls = tls.server_context() if tls and listening else None
        self._client_tls = tls.client_context() if tls else None
        # Who may speak for another port of his host: over TLS only those who showed a certificate.
        self._takes_aliases = tls is None or tls.client_certificates
        self.listening = listening
        self._connections: set[Connection] = set()
        self._places = Places(name, self.limits, clock)
        self._flows = Flows(verifying=tls is not None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Connections that hold a socket now, those being opened or closed included."""
        return len(self._connections)

    async def start(self) -> None:
        """Bind and listen; OSError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        if self.listening:
            self._listener = Listener(*self.local, self._admit)
            self.local = self._listener.local
        self._timer = self._loop.call_later(SWEEP_S, self._tick)

    def send(self, data: bytes, peer: Address, name: str = "") -> None:
        """Send to an IP literal and port, over the connection that leads there or a new one.

        `name` is the host as the URI named it: TLS verifies it, and shares a connection only with the same
        one. Without a name whatever connection is there will do. OSError when it cannot be sent.
        """
        connection = self._flows.find(peer, name) or self._dial(peer, name)
        connection.send(data)

    def connected(self, peer: Address) -> bool:
        """Whether a connection leads to `peer` now."""
        return self._flows.find(peer, "") is not None

    def alias(self, source: Address, port: int) -> None:
        """The peer at `source` asked that requests to `port` of its host use its connection (RFC 5923)."""
        if self._takes_aliases:
            self._flows.alias(source, port)

    def sweep(self) -> None:
        """Close what is overdue or idle, ping what is silent and in use. Called every SWEEP_S."""
        now = self._clock()
        for connection in list(self._connections):
            reason = connection.overdue(now)
            if reason is not None:
                connection.kill(reason)
            elif connection.phase is Phase.OPEN:
                self._tend(connection, now)

    def close(self) -> None:
        """Stop listening and close every connection when what was written has gone out. Nobody hears `lost`."""
        self._loop = None
        if self._listener is not None:
            self._listener.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._connections):
            connection.finish("shutdown")
        if not self._connections:
            self._empty.set()

    async def wait_closed(self, patience_s: float = 1.0) -> None:
        """After `close`: until every socket is gone; peers that do not take their last bytes get `patience_s`."""
        for _ in range(2):
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._empty.wait()
            for connection in list(self._connections):
                connection.kill("shutdown")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What connections tell.

    def message(self, connection: Connection, data: bytes) -> None:
        self._receive(self, data, connection.peer)

    def broken(self, connection: Connection, error: FramingError) -> None:
        self._broken(self, error.head, error, connection.peer)

    def ended(self, connection: Connection) -> None:
        addresses = self._flows.remove(connection)
        if connection.used and self._loop is not None:
            for address in addresses:
                self._lost(self, address)

    def closed(self, connection: Connection) -> None:
        self.stats.close(connection.reason)
        self._connections.discard(connection)
        if connection.accepted:
            self._places.leave(connection.peer[0], stranger=connection.stranger)
        if not self._connections and self._loop is None:
            self._empty.set()

    # Ways to a peer.

    def _dial(self, peer: Address, name: str) -> Connection:
        if self._loop is None:
            raise OSError(f"{self.name} is not open")
        if family_of(peer[0]) != self.family:
            raise OSError(f"no {self.family.name} address: {peer[0]}")
        if len(self._connections) - len(self._places) >= self.limits.connections:
            raise OSError("too many connections")
        name = _verifiable(name or peer[0]) if self._client_tls else ""
        connection = Connection(self, peer, self._clock, name)
        self.stats.opened += 1
        self._open(connection, self._connect(connection))
        return connection

    def _open(self, connection: Connection, opening: Coroutine[None, None, None]) -> None:
        assert self._loop is not None
        self._connections.add(connection)
        self._flows.add(connection)
        connection.task = self._loop.create_task(opening)
        self._tasks.add(connection.task)
        connection.task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: Connection) -> None:
        try:
            connection.socket = await self._reach(connection.peer)
        except OSError as error:
            self._fail(connection, "unreachable", error)
        else:
            await self._establish(connection)

    async def _reach(self, peer: Address) -> socket.socket:
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            _prepare(sock)
            if not is_wildcard(self.local[0]):
                sock.bind((self.local[0], 0))
            await asyncio.get_running_loop().sock_connect(sock, peer)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _establish(self, connection: Connection) -> None:
        """Make the socket the loop's, TLS included. From here on the loop closes it, whatever happens."""
        loop = asyncio.get_running_loop()
        sock, connection.socket = connection.socket, None
        assert sock is not None
        try:
            if connection.accepted:
                await loop.connect_accepted_socket(lambda: connection, sock, ssl=self._server_tls)
            elif self._client_tls is None:
                await loop.create_connection(lambda: connection, sock=sock)
            else:
                name = connection.name
                await loop.create_connection(lambda: connection, sock=sock, ssl=self._client_tls, server_hostname=name)
        except OSError as error:
            if self._client_tls is not None:
                self.stats.handshake_failed(handshake_failure(error))
            self._fail(connection, "handshake", error)

    def _fail(self, connection: Connection, reason: str, error: OSError) -> None:
        if not connection.accepted:
            distrusted = isinstance(error, ssl.SSLCertVerificationError)
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
            tell = log.warning if distrusted else log.debug  # only the operator can mend what we trust
            tell("sip.connection_failed", transport=self.name, peer=connection.peer, name=connection.name, reason=why)
        connection.task = None
        connection.kill(reason)

    # What strangers open.

    def _admit(self, sock: socket.socket, source: Address) -> None:
        stranger = not self._known(source[0])
        if not self._places.take(source[0], stranger=stranger):
            self.stats.refused += 1
            sock.close()
            return
        _prepare(sock)
        connection = Connection(self, source, self._clock, None)
        connection.socket = sock
        connection.stranger = stranger
        self.stats.accepted += 1
        self._open(connection, self._establish(connection))

    def _tend(self, connection: Connection, now: float) -> None:
        """`in_use` may look through every call, so it is asked once for each span of silence, not in each sweep."""
        if connection.wants_judging(now):
            self._judge(connection, now)
        if connection.phase is not Phase.OPEN:
            return
        idle = connection.idle(now) >= self.limits.idle_s
        silent = connection.wants_ping(now)
        if not idle and not silent:
            return
        if self._lives(connection):
            connection.spare()
            if silent:
                connection.ping()
        elif idle:
            connection.finish("idle")
        else:
            connection.pass_over()

    def _judge(self, connection: Connection, now: float) -> None:
        """A stranger's connection on which something lives is from now on treated as any other."""
        if self._known(connection.peer[0]) or self._lives(connection):
            connection.stranger = False
            self._places.welcome(connection.peer[0])
        elif connection.outstayed(now):
            connection.finish("stranger")
        else:
            connection.tolerate()

    def _lives(self, connection: Connection) -> bool:
        return self._in_use(connection.peer) or (connection.alias is not None and self._in_use(connection.alias))

    def _tick(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(SWEEP_S, self._tick)
            self.sweep()


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    with suppress(OSError):  # some systems refuse when the peer is gone already; the loop will see that
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _verifiable(name: str) -> str:
    """A name that TLS can ask for; OSError when it is none."""
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise OSError(f"not a host name: {name[:80]}") from error
    return name
