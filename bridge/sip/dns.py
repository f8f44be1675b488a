"""The asyncio face of `locating`: asks DNS, and the machine itself for names that DNS does not know."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from random import Random

import dns.asyncbackend
import dns.exception
import dns.rdata
import dns.resolver
import structlog
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from .locating import (
    FAMILIES,
    MAX_RECORDS,
    Kind,
    Naptr,
    Question,
    Questions,
    Record,
    Srv,
    Steps,
    Target,
    host_of,
    locate,
)
from .stub_resolver import stub_resolver
from .uri import Uri

LIFETIME_S = 5.0
"""How long DNS may take for one URI; one question gets half of it, and so does the machine's own list."""
NEGATIVE_S = 5.0
"""How long a URI that led nowhere is not asked for again."""
MAX_NEGATIVE = 1000
MAX_LOOKUPS = 200
MAX_SYSTEM = 16
"""Questions to the machine at once: each holds a thread until the C library gives up."""

Reached = Callable[[list[Target]], None]

log = structlog.get_logger("sipbridge.sip")


@dataclass(slots=True)
class ResolverStats:
    """Counts of one resolver."""

    lookups: int = 0
    """URIs looked up, literals included."""
    shared: int = 0
    """Of those, how many waited for a lookup that was under way."""
    remembered: int = 0
    """Of those, how many were known to lead nowhere."""
    questions: int = 0
    """Questions put to DNS or its cache, or to the machine."""
    unlocated: dict[str, int] = field(default_factory=dict)
    """URIs without a target, by reason: "unknown", "timeout", "server_failure", "unsupported", "busy",
    "internal"."""

    def lose(self, reason: str) -> None:
        self.unlocated[reason] = self.unlocated.get(reason, 0) + 1


class Lookup:
    """One caller's interest in a lookup; `cancel` lets go of what would have been called."""

    __slots__ = ("_done",)

    def __init__(self, done: Reached) -> None:
        self._done: Reached | None = done

    def cancel(self) -> None:
        self._done = None

    def finish(self, targets: list[Target]) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(targets)


@dataclass(slots=True)
class _Search:
    """A lookup under way: who waits for it, until when DNS may take (seconds), what went wrong meanwhile."""

    host: str
    until: float
    waiting: list[Lookup]
    troubles: set[str] = field(default_factory=set)

    @property
    def reason(self) -> str:
        """Why nothing was found; a fault weighs more than an honest no."""
        return next((word for word in ("timeout", "server_failure", "busy") if word in self.troubles), "unknown")


class Resolver:
    """Finds the targets of URIs. Needs a running loop as soon as a name has to be asked for."""

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
        *,
        lifetime_s: float = LIFETIME_S,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`nameservers` are IP literals, None takes the system's; ValueError for anything else."""
        self.stats = ResolverStats()
        self._lifetime_s = lifetime_s
        self._rng = rng or Random()
        self._clock = clock
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._dns = stub_resolver(nameservers, port, lifetime_s / 5)
        self._searches: dict[Hashable, _Search] = {}
        self._tasks: set[asyncio.Task[list[Target]]] = set()
        self._system: set[asyncio.Task[object]] = set()
        self._nowhere: dict[Hashable, float] = {}
        self._closed = False

    def resolve(
        self,
        uri: Uri,
        supported: Sequence[str],
        done: Reached,
        families: Sequence[socket.AddressFamily] = FAMILIES,
    ) -> Lookup:
        """Call `done` once with the targets, best first; with none when there is no way there.

        It is called before this returns when nothing has to be asked, as for a literal.
        """
        self.stats.lookups += 1
        lookup = Lookup(done)
        steps = locate(uri, supported, self._rng, families)
        try:
            questions = next(steps)
        except StopIteration as end:
            if not end.value:
                self.stats.lose("unsupported")
            lookup.finish(end.value)
            return lookup
        # What the way depends on: users and most parameters are left out, so that a whole PBX shares one lookup.
        key = (uri.scheme, host_of(uri), uri.host, uri.port, uri.parameter("transport"), *supported, None, *families)
        if (search := self._searches.get(key)) is not None:
            self.stats.shared += 1
            search.waiting.append(lookup)
        elif self._nowhere.get(key, 0.0) > self._clock():
            self.stats.remembered += 1
            lookup.finish([])
        elif self._closed or len(self._searches) >= MAX_LOOKUPS:
            self.stats.lose("busy")
            lookup.finish([])
        else:
            self._begin(key, steps, questions, _Search(host_of(uri), self._clock() + self._lifetime_s, [lookup]))
        return lookup

    def close(self) -> None:
        """Give up what is under way: nobody who waits is called."""
        self._closed = True
        for task in (*self._tasks, *self._system):
            task.cancel()

    def _begin(self, key: Hashable, steps: Steps, questions: Questions, search: _Search) -> None:
        self._searches[key] = search
        task = asyncio.get_running_loop().create_task(self._run(steps, questions, search))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, key))

    async def _run(self, steps: Steps, questions: Questions, search: _Search) -> list[Target]:
        while True:
            answers = await asyncio.gather(*(self._ask(question, search) for question in questions))
            try:
                questions = steps.send(answers)
            except StopIteration as end:
                found: list[Target] = end.value
                return found

    def _end(self, key: Hashable, task: asyncio.Task[list[Target]]) -> None:
        self._tasks.discard(task)
        search = self._searches.pop(key)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("sip.lookup_failed", host=search.host, exc_info=error)
        targets = [] if error is not None else task.result()
        if not targets:
            reason = "internal" if error is not None else search.reason
            self.stats.lose(reason)
            log.info("sip.not_located", host=search.host, reason=reason)
            if reason != "busy":
                self._forget_for_a_while(key)
        for lookup in search.waiting:
            # Each in a turn of its own: nobody's failure may keep the others waiting.
            task.get_loop().call_soon(lookup.finish, list(targets))

    def _forget_for_a_while(self, key: Hashable) -> None:
        if len(self._nowhere) >= MAX_NEGATIVE:
            self._nowhere.clear()
        self._nowhere[key] = self._clock() + NEGATIVE_S

    async def _ask(self, question: Question, search: _Search) -> list[Record]:
        self.stats.questions += 1
        if question.kind is Kind.SYSTEM:
            return await self._ask_system(question.name, search)
        limit = min(search.until - self._clock(), self._lifetime_s / 2)
        try:
            # With its final dot, so that no search list is tried. What is cached is told even when time is up.
            answer = await self._dns.resolve(
                f"{question.name}.", question.kind.value, lifetime=limit, backend=self._backend
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.Timeout:
            search.troubles.add("timeout")
            return []
        except (dns.exception.DNSException, OSError):
            search.troubles.add("server_failure")
            return []
        return [record for rdata in islice(answer, MAX_RECORDS) if (record := _record(rdata)) is not None]

    async def _ask_system(self, name: str, search: _Search) -> list[Record]:
        """The C library's answer: hosts file, search list, multicast names, whatever the machine is set up for."""
        if len(self._system) >= MAX_SYSTEM:
            search.troubles.add("busy")
            return []
        loop = asyncio.get_running_loop()
        task = loop.create_task(_addresses(loop, name))
        self._system.add(task)
        task.add_done_callback(self._system.discard)
        # Not cancelled when it takes too long: its thread goes on, and counts until it is free.
        await asyncio.wait({task}, timeout=self._lifetime_s / 2)
        if not task.done():
            search.troubles.add("timeout")
            return []
        return list(task.result())


async def _addresses(loop: asyncio.AbstractEventLoop, name: str) -> list[str]:
    try:
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def _record(rdata: dns.rdata.Rdata) -> Record | None:
    match rdata:
        case A() | AAAA():
            return str(rdata.address)
        case SRV():
            return Srv(rdata.priority, rdata.weight, rdata.port, rdata.target.to_text())
        case NAPTR():
            flags, service = (text.decode("ascii", "replace") for text in (rdata.flags, rdata.service))
            return Naptr(rdata.order, rdata.preference, flags, service, rdata.replacement.to_text())
    return None
