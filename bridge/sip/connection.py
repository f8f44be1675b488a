"""One TCP or TLS connection: what it may hold, how long it may be silent, how it ends (RFC 3261 section 18)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, cast

from .framing import MAX_BODY, MAX_HEAD, PING, PONG, Framer, FramingError, KeepAlive

BATCH = 64
"""Messages taken from one connection before the loop gets its turn again."""
JUDGINGS = 8
"""How often a stranger's connection is judged until something must have come of it."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What the connections of one listener may cost. Times in seconds, sizes in bytes."""

    connections: int = 2000
    """Accepted ones at a time (strangers: places.py), and as many opened ones, so that we can always call out."""
    per_host: int = 200
    """Accepted ones of one IPv4 address or one IPv6 /64."""
    opening_s: float = 10.0
    """Until a connection must stand, its TLS handshake included."""
    half_open_s: float = 32.0
    """Until an accepted connection must have brought a message, and a stranger's more; for each to be whole."""
    idle_s: float = 600.0
    """Without a byte either way, unless something lives on the connection."""
    ping_s: float | None = 30.0
    """Silence after which a connection of ours with something living on it is pinged; None for never."""
    linger_s: float = 5.0
    """For the last bytes to be taken after a connection was closed."""
    backlog: int = 256 * 1024
    """Waiting to be taken by the peer, or for the connection to stand."""
    head: int = MAX_HEAD
    body: int = MAX_BODY


@dataclass(slots=True)
class StreamStats:
    """Counts of one listener's connections: accepted + opened = the sum of closed + those there now."""

    accepted: int = 0
    opened: int = 0
    """Connections we tried to open, those that never stood included."""
    refused: int = 0
    """Accepted and closed at once, because there were too many."""
    closed: dict[str, int] = field(default_factory=dict)
    """By reason: peer, idle, silent, stranger, partial, slow, framing, unreachable, handshake, timeout, shutdown."""
    handshake_failures: dict[str, int] = field(default_factory=dict)
    """By the words of tls.handshake_failure."""
    keepalives: int = 0
    """Pings received."""
    pings: int = 0
    """Pings sent."""

    def close(self, reason: str) -> None:
        self.closed[reason] = self.closed.get(reason, 0) + 1

    def handshake_failed(self, word: str) -> None:
        self.handshake_failures[word] = self.handshake_failures.get(word, 0) + 1


class Phase(Enum):
    """The life of a connection."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


MOVES: Mapping[Phase, frozenset[Phase]] = {
    Phase.OPENING: frozenset((Phase.OPEN, Phase.CLOSED)),
    Phase.OPEN: frozenset((Phase.CLOSING,)),
    Phase.CLOSING: frozenset((Phase.CLOSED,)),
    Phase.CLOSED: frozenset(),
}


class Owner(Protocol):
    """What a connection tells, always from the loop and never inside a call of the owner's own `send`."""

    limits: StreamLimits
    stats: StreamStats

    def message(self, connection: Connection, data: bytes) -> None: ...
    def broken(self, connection: Connection, error: FramingError) -> None:
        """What is sent to it now still goes out; then it is closed."""

    def ended(self, connection: Connection) -> None:
        """Nothing more can be sent on it. Told once."""

    def closed(self, connection: Connection) -> None:
        """Its socket is gone. Told once, after `ended`."""


class Connection(asyncio.Protocol):
    """A connection to `peer`: accepted, or opened by us to a server verified as `name` (TLS only)."""

    def __init__(self, owner: Owner, peer: Address, clock: Callable[[], float], name: str | None) -> None:
        self.peer = peer
        self.accepted = name is None
        self.name = name or ""
        self.stranger = False
        """Whether it is of a host that nobody knows, and nothing has come of it so far."""
        self.phase = Phase.OPENING
        self.reason = ""
        """Why it ended; empty until then."""
        self.used = False
        """Whether anything but keep-alives was sent on it or queued for it."""
        self.alias: Address | None = None
        """Where else its peer can be reached over it (RFC 5923); None until the peer has said so."""
        self.socket: socket.socket | None = None
        """Of an accepted one, until the loop has taken it over."""
        self.task: asyncio.Task[None] | None = None
        """What opens it; None before."""
        self._owner = owner
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._framer = Framer(owner.limits.head, owner.limits.body)
        self._frames: Iterator[bytes | KeepAlive] = iter(())
        self._queue: list[bytes] = []
        self._paused = False
        self._since = self._active = self._pinged = self._spared = self._judged = clock()
        self._partial_since: float | None = None
        self._proven = False

    def send(self, data: bytes) -> None:
        """Write, or queue until it stands. OSError when the peer does not take what is waiting already."""
        if self._waiting() + len(data) > self._owner.limits.backlog:
            if self._transport is not None:
                asyncio.get_running_loop().call_soon(self.kill, "slow")
            raise OSError(f"{self.peer[0]} does not take what is sent to it")
        self.used = True
        self._active = self._clock()
        if self.phase is Phase.OPENING:
            self._queue.append(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        else:
            raise OSError(f"the connection to {self.peer[0]} is closing")

    def ping(self) -> None:
        """Send a ping (RFC 5626 section 4.4.1). It does not count as use."""
        self._pinged = self._clock()
        self._owner.stats.pings += 1
        self._write(PING)

    def spare(self) -> None:
        """Something lives on it: its idle time begins anew."""
        self._spared = self._clock()

    def pass_over(self) -> None:
        """Nothing lives on it: the time until a ping begins anew."""
        self._pinged = self._clock()

    def finish(self, reason: str) -> None:
        """Close it when what was written has gone out."""
        if self.phase is Phase.OPENING:
            self.kill(reason)
        elif self.phase is Phase.OPEN:
            assert self._transport is not None
            self._end(reason)
            self._transport.close()

    def kill(self, reason: str) -> None:
        """Close it at once, whatever is waiting."""
        if self.phase is Phase.OPENING:
            self._end(reason)
            if self.task is not None:
                self.task.cancel()
            if self.socket is not None:
                self.socket.close()
            self._owner.closed(self)
        elif self._transport is not None:
            self._end(reason)
            self._transport.abort()

    def overdue(self, now: float) -> str | None:
        """Why it must be killed now; None when it need not."""
        limits = self._owner.limits
        age = now - self._since
        if self.phase is Phase.OPENING:
            return "timeout" if age >= limits.opening_s else None
        if self.phase is Phase.CLOSING:
            return self.reason if age >= limits.linger_s else None
        if self.accepted and not self._proven and age >= limits.half_open_s:
            return "silent"
        begun = self._partial_since
        return "partial" if begun is not None and now - begun >= limits.half_open_s else None

    def tolerate(self) -> None:
        """Nothing came of a stranger's connection yet: it is judged again later, not in each sweep."""
        self._judged = self._clock()

    def wants_judging(self, now: float) -> bool:
        """Whether it is time to see if something came of a stranger's connection."""
        pause = self._owner.limits.half_open_s / JUDGINGS
        return self.stranger and (now - self._judged >= pause or self.outstayed(now))

    def outstayed(self, now: float) -> bool:
        """Whether the time is over in which something must come of a stranger's connection."""
        return now - self._since >= self._owner.limits.half_open_s

    def idle(self, now: float) -> float:
        """Seconds without a byte either way or a sign that it is in use."""
        return now - max(self._active, self._spared)

    def wants_ping(self, now: float) -> bool:
        """Whether it is one of ours that has been silent for long enough."""
        interval = self._owner.limits.ping_s
        return interval is not None and not self.accepted and now - max(self._active, self._pinged) >= interval

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)
        if self.phase is not Phase.OPENING:
            made.abort()
            return
        self._transport = made
        self._move(Phase.OPEN)
        self._active = self._clock()
        if self._queue:
            made.write(b"".join(self._queue))
            self._queue.clear()

    def data_received(self, data: bytes) -> None:
        if self.phase is not Phase.OPEN:
            return
        self._active = self._clock()
        self._frames = self._framer.feed(data)
        if not self._paused:
            self._take()

    def eof_received(self) -> None:
        self._end("peer")

    def connection_lost(self, error: Exception | None) -> None:
        if self.phase is Phase.CLOSED or self._transport is None:
            return
        self._end("peer")
        self._move(Phase.CLOSED)
        self._owner.closed(self)

    def _take(self) -> None:
        """Hand over what is whole; the rest of a long batch waits for the next turn, and the peer with it."""
        for _ in range(BATCH):
            if self.phase is not Phase.OPEN:
                return
            try:
                frame = next(self._frames, None)
            except FramingError as error:
                self._break(error)
                return
            if frame is None:
                self._caught_up()
                return
            self._handle(frame)
        self._pause()

    def _handle(self, frame: bytes | KeepAlive) -> None:
        if isinstance(frame, KeepAlive):
            self._owner.stats.keepalives += frame.pings
            self._write(PONG * frame.pings)
            return
        self._proven = True
        self._partial_since = None
        self._owner.message(self, frame)

    def _caught_up(self) -> None:
        if self._framer.partial and self._partial_since is None:
            self._partial_since = self._clock()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._take)

    def _break(self, error: FramingError) -> None:
        """Let the owner answer, then close. Closing with bytes unread would destroy the answer on its way."""
        transport = self._transport
        assert transport is not None
        self._owner.broken(self, error)
        if self.phase is not Phase.OPEN:
            return
        if not transport.can_write_eof():
            self.finish("framing")
            return
        self._end("framing")
        try:
            transport.write_eof()
            transport.resume_reading()
        except OSError:
            transport.abort()

    def _write(self, data: bytes) -> None:
        if self._waiting() > self._owner.limits.backlog:
            self.kill("slow")
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _waiting(self) -> int:
        """Bytes that the peer has not taken."""
        if self._transport is None or self._transport.is_closing():
            return sum(map(len, self._queue))
        return self._transport.get_write_buffer_size()

    def _end(self, reason: str) -> None:
        if self.phase in (Phase.CLOSING, Phase.CLOSED):
            return
        self._move(Phase.CLOSED if self.phase is Phase.OPENING else Phase.CLOSING)
        self.reason = reason
        self._since = self._clock()
        self._queue.clear()
        self._owner.ended(self)

    def _move(self, target: Phase) -> None:
        assert target in MOVES[self.phase], f"{self.phase.value} to {target.value}"
        self.phase = target
