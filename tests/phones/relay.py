"""A bad network for RTP: it loses, delays, reorders and doubles packets by a seed, so that a test knows which ones.

What happens to packet n of a direction is a function of the seed, the profile and n alone (`fate`). `Way` is one
direction without clock or socket; `Relay` is a line of two directions between a phone and the service on loopback.
Whatever is no RTP (RTCP beside it, STUN) passes untouched and is not numbered. Knows nothing of `bridge`.
"""

import asyncio
import heapq
import math
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

_RECEIVE_BUFFER = 4 << 20
_LARGEST = 4096
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """How bad a direction is; the default is a perfect line. Shares are of 1."""

    loss: float = 0.0
    """Share of the packets that are lost, each for itself."""
    bursts: float = 0.0
    """Share of the packets with which a run of losses begins."""
    burst: tuple[int, int] = (3, 5)
    """Packets in such a run, at least and at most."""
    jitter_ms: float = 0.0
    """The longest delay."""
    spread: Literal["uniform", "exponential"] = "uniform"
    """How delays lie between 0 and `jitter_ms`; exponential has its mean at a quarter of it."""
    in_order: bool = True
    """Whether who is delayed holds up those behind him, as in a queue; else they overtake him."""
    straggle: float = 0.0
    """Share of the packets that take another way, `straggle_ms` longer, and are overtaken."""
    straggle_ms: float = 30.0
    duplicate: float = 0.0
    """Share of the packets that come twice."""
    duplicate_ms: float = 5.0
    """How long after the first the second comes."""
    spared: int = 5
    """The first packets, to which nothing happens."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one packet."""

    lost: bool = False
    delay_ms: float = 0.0
    straggles: bool = False
    doubled: bool = False


@lru_cache(maxsize=100_000)
def _dice(seed: int, n: int) -> tuple[float, ...]:
    """Six throws of packet n: the same for every profile, so that one setting never changes another's victims."""
    generator = random.Random(f"{seed}/{n}")
    return tuple(generator.random() for _ in range(6))


def fate(profile: Profile, seed: int, n: int) -> Fate:
    """What happens to packet n, counted from 0."""
    if n < profile.spared:
        return Fate()
    lost, _, _, delayed, straggles, doubled = _dice(seed, n)
    if lost < profile.loss or _in_burst(profile, seed, n):
        return Fate(lost=True)
    if straggles < profile.straggle:
        return Fate(delay_ms=profile.straggle_ms, straggles=True, doubled=doubled < profile.duplicate)
    return Fate(delay_ms=_delay_ms(profile, delayed), doubled=doubled < profile.duplicate)


def _in_burst(profile: Profile, seed: int, n: int) -> bool:
    """Whether a burst that began here or shortly before reaches as far as n."""
    shortest, longest = profile.burst
    for begin in range(max(profile.spared, n - longest + 1), n + 1):
        _, begins, length, *_ = _dice(seed, begin)
        if begins < profile.bursts and begin + shortest + int(length * (longest - shortest + 1)) > n:
            return True
    return False


def _delay_ms(profile: Profile, dice: float) -> float:
    if profile.spread == "exponential":
        return min(profile.jitter_ms, -profile.jitter_ms / 4 * math.log(1 - dice))
    return profile.jitter_ms * dice


def lost_of(profile: Profile, seed: int, count: int) -> set[int]:
    """The numbers of those of the first `count` packets that are lost."""
    return {n for n in range(count) if fate(profile, seed, n).lost}


def is_rtp(datagram: bytes) -> bool:
    """Whether it is RTP and no RTCP on the same port (RFC 5761 section 4), no SIP and no STUN."""
    return len(datagram) >= 12 and datagram[0] >> 6 == 2 and not 64 <= datagram[1] & 0x7F <= 95


@dataclass(frozen=True, slots=True)
class Left:
    """One copy of packet `n` went on at `at` (seconds)."""

    n: int
    at: float


class Way:
    """One direction. `receive` takes in, `due` gives out; `now` in seconds of any clock that never goes back.

    `counts` says what is numbered and harmed: RTP, unless the datagrams are whole IP packets.
    """

    def __init__(self, profile: Profile, seed: int, counts: Callable[[bytes], bool] = is_rtp) -> None:
        self.profile = profile
        self.seed = seed
        self.came: list[bytes] = []
        """Every RTP packet that was sent into it, by its number."""
        self.left: list[Left] = []
        """What went on, in order."""
        self.waited = 0
        """Copies that did not go on in the moment in which they came."""
        self._counts = counts
        self._queue: list[tuple[float, int, int, bytes]] = []  # when, order, n or -1, datagram
        self._order = 0
        self._busy_until = 0.0

    @property
    def next_deadline(self) -> float | None:
        """When the next one is due; None when nothing waits."""
        return self._queue[0][0] if self._queue else None

    @property
    def lost(self) -> set[int]:
        """Which of those that came are lost."""
        return lost_of(self.profile, self.seed, len(self.came))

    def receive(self, datagram: bytes, now: float) -> None:
        """One datagram was sent into it."""
        if not self._counts(datagram):
            self._put(now, now, -1, datagram)
            return
        n = len(self.came)
        self.came.append(datagram)
        happens = fate(self.profile, self.seed, n)
        if happens.lost:
            return
        when = now + happens.delay_ms / 1000
        if self.profile.in_order and not happens.straggles:
            when = self._busy_until = max(when, self._busy_until)
        self._put(when, now, n, datagram)
        if happens.doubled:
            self._put(when + self.profile.duplicate_ms / 1000, now, n, datagram)

    def due(self, now: float) -> list[bytes]:
        """What goes on now."""
        out = []
        while self._queue and self._queue[0][0] <= now:
            _, _, n, datagram = heapq.heappop(self._queue)
            out.append(datagram)
            if n >= 0:
                self.left.append(Left(n, now))
        return out

    def _put(self, when: float, now: float, n: int, datagram: bytes) -> None:
        self._order += 1
        self.waited += when > now
        heapq.heappush(self._queue, (when, self._order, n, datagram))


def overtaken_ms(left: Sequence[Left]) -> dict[int, float]:
    """How long before each packet the first packet behind it went on, in ms; those in order are not there."""
    first: dict[int, float] = {}
    for one in left:
        first.setdefault(one.n, one.at)
    found: dict[int, float] = {}
    earliest = math.inf
    for n in sorted(first, reverse=True):
        if earliest < first[n]:
            found[n] = (first[n] - earliest) * 1000
        earliest = min(earliest, first[n])
    return found


class Relay:
    """A bad line: the phone sends to `near` and hears from there; the service knows the phone as `far`.

    `with Relay(up, down, seed=1) as relay:` inside of a running loop; `relay.join(phone, service)` once both are known.
    """

    def __init__(
        self, up: Profile | None = None, down: Profile | None = None, *, seed: int = 1, host: str = "127.0.0.1"
    ) -> None:
        self.up = Way(up or Profile(), seed)
        """From the phone to the service."""
        self.down = Way(down or Profile(), seed + 1)
        self._near, self._far = _udp(host), _udp(host)
        self.near: Address = self._near.getsockname()
        self.far: Address = self._far.getsockname()
        self._ends: tuple[Address, Address] | None = None  # phone, service
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._near, self._read, self._near, self.up)
        self._loop.add_reader(self._far, self._read, self._far, self.down)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for end in (self._near, self._far):
            self._loop.remove_reader(end)
            end.close()

    def join(self, phone: Address, service: Address) -> None:
        """Forward from now on; what came before waits in the sockets or is lost with them."""
        self._ends = phone, service

    async def emptied(self, *ways: Way, within: float = 5.0) -> None:
        """Wait until nothing is under way, in both directions or in these."""
        async with asyncio.timeout(within):
            while any(way.next_deadline is not None for way in ways or (self.up, self.down)):
                await asyncio.sleep(0.005)

    def _read(self, end: socket.socket, way: Way) -> None:
        while True:
            try:
                datagram = end.recv(_LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:  # an earlier receiver has closed its port
                continue
            way.receive(datagram, time.monotonic())
        self._pump()

    def _pump(self) -> None:
        """Send what is due and set the timer for the rest."""
        if self._ends is None:
            return
        phone, service = self._ends
        for way, out, to in ((self.up, self._far, service), (self.down, self._near, phone)):
            for datagram in way.due(time.monotonic()):
                _send(out, datagram, to)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = [way.next_deadline for way in (self.up, self.down) if way.next_deadline is not None]
        if deadlines:
            self._timer = self._loop.call_later(max(0.0, min(deadlines) - time.monotonic()), self._pump)


def _udp(host: str) -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    end.setblocking(False)
    end.bind((host, 0))
    return end


def _send(out: socket.socket, datagram: bytes, to: Address) -> None:
    try:
        out.sendto(datagram, to)
    except (ConnectionRefusedError, BlockingIOError):
        return
