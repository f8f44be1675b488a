"""The spend guard: limits per call, per hour of all calls, and per caller and day, that end or refuse calls.

Sans-I/O, in the currency of the prices. What is spent is known only when the service tells it, so a limit is passed by
the last answer of each call that was going on.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict, deque
from collections.abc import Callable
from hashlib import blake2s
from math import ceil
from urllib.parse import unquote

from bridge.config import Spend
from bridge.prices import PriceTable, cost_of
from bridge.realtime.events import Usage
from bridge.records import Counts, Refusal

HOUR_S = 3600.0
DAY_S = 86_400.0
CALLERS = 10_000
"""Callers whose spending is remembered; whoever has spent nothing for longest is forgotten first."""
MODELS_SAID = 100
PER_CALL, PER_HOUR, PER_CALLER = "per_call", "per_hour", "per_caller_per_day"
_NAMELESS = frozenset({"", "anonymous", "unknown", "restricted", "unavailable", "private", "withheld"})
_INTERNATIONAL = re.compile(r"\A(?:\+|00)(?=[1-9])")


class Window:
    """What was spent within the last `length_s` seconds, kept in `parts` sums: a sum leaves when all of it is older."""

    __slots__ = ("_part_s", "_parts", "_sums", "total")

    def __init__(self, length_s: float, parts: int) -> None:
        self._part_s = length_s / parts
        self._parts = parts
        self._sums: deque[tuple[int, float]] = deque()  # number of the part, amount
        self.total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Something was spent."""
        self.pass_to(now)
        part = int(now // self._part_s)
        if self._sums and self._sums[-1][0] >= part:
            part, before = self._sums.pop()
            self._sums.append((part, before + amount))
        else:
            self._sums.append((part, amount))
        self.total = sum(kept for _, kept in self._sums)

    def pass_to(self, now: float) -> None:
        """Let go of what is too old."""
        oldest = int(now // self._part_s) - self._parts
        if self._sums and self._sums[0][0] < oldest:
            while self._sums and self._sums[0][0] < oldest:
                self._sums.popleft()
            self.total = sum(kept for _, kept in self._sums)

    def below_at(self, limit: float, now: float) -> float:
        """The time from which less than `limit` was spent, if nothing more is."""
        self.pass_to(now)
        left, at = self.total, now
        for part, amount in self._sums:
            if left < limit:
                break
            left, at = left - amount, (part + self._parts + 1) * self._part_s
        return at


class Spending:
    """What all calls of the service spend. `clock` gives seconds; `secret` keys the hashes of callers' numbers."""

    def __init__(self, limits: Spend, clock: Callable[[], float], *, secret: bytes | None = None) -> None:
        self._limits = limits
        self._clock = clock
        self._secret = secret or os.urandom(16)
        self._calls: dict[str, float] = {}
        self._hour = Window(HOUR_S, 60)
        self._callers: OrderedDict[bytes, Window] = OrderedDict()

    def add(self, call: str, caller: str, amount: float) -> str | None:
        """A call has spent so much; the limit that is reached, by its name in `limits.spend`."""
        now = self._clock()
        spent = self._calls[call] = self._calls.get(call, 0.0) + amount
        self._hour.add(amount, now)
        day = self._of_caller(caller)
        if day is not None:
            day.add(amount, now)
        if _reached(spent, self._limits.per_call):
            return PER_CALL
        if day is not None and _reached(day.total, self._limits.per_caller_per_day):
            return PER_CALLER
        return PER_HOUR if _reached(self._hour.total, self._limits.per_hour) else None

    def left(self, call: str) -> None:
        """A call is over."""
        self._calls.pop(call, None)

    def may_begin(self, caller: str) -> Refusal | None:
        """Why no call may begin; None: it may."""
        now = self._clock()
        if self.hour_is_spent:
            return Refusal.SPEND_HOUR
        day = self._callers.get(self._key(caller))
        if day is not None:
            day.pass_to(now)
            if _reached(day.total, self._limits.per_caller_per_day):
                return Refusal.SPEND_CALLER
        return None

    @property
    def hour_is_spent(self) -> bool:
        """Whether `per_hour` is reached."""
        self._hour.pass_to(self._clock())
        return _reached(self._hour.total, self._limits.per_hour)

    def retry_after_s(self) -> int:
        """Whole seconds until enough has left the hour for calls to begin; 1 at least."""
        limit, now = self._limits.per_hour, self._clock()
        return max(1, ceil(self._hour.below_at(limit, now) - now)) if limit is not None else 1

    def _of_caller(self, caller: str) -> Window | None:
        if self._limits.per_caller_per_day is None:
            return None
        key = self._key(caller)
        day = self._callers.pop(key, None) or Window(DAY_S, 24)
        self._callers[key] = day
        if len(self._callers) > CALLERS:
            self._callers.popitem(last=False)
        return day

    def _key(self, caller: str) -> bytes:
        """No number is kept; those who withhold theirs are one caller."""
        name = _INTERNATIONAL.sub("", unquote(caller).strip().casefold(), count=1)
        if name in _NAMELESS:
            name = ""
        return blake2s(name.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16).digest()


class Books:
    """What the service knows of money: prices, limits, and which models it has already missed in the list."""

    def __init__(self, table: PriceTable, spending: Spending, *, on_unpriced: Callable[[str], None]) -> None:
        """`on_unpriced` hears once of each model that has been used and has no price, if anything has one."""
        self.table = table
        self.spending = spending
        self._on_unpriced = on_unpriced
        self._said: set[str] = set()

    def account(self, call: str, caller: str, counts: Counts) -> Account:
        """For a call that begins."""
        return Account(self, call, caller, counts)

    def miss(self, model: str) -> None:
        """There is no price for what this model has used."""
        if model not in self._said and len(self._said) < MODELS_SAID:
            self._said.add(model)
            self._on_unpriced(model)


class Account:
    """What one call has used, in its counts, and spent."""

    def __init__(self, books: Books, call: str, caller: str, counts: Counts) -> None:
        self._books = books
        self._call = call
        self._caller = caller
        self._counts = counts
        self._closed = False

    def note(self, usage: Usage) -> str | None:
        """The service has told what was used; the limit that is reached now."""
        books = self._books
        cost = cost_of(usage, books.table) if books.table else 0.0
        self._counts.note_usage(usage.tokens, cost)
        if cost is None:
            books.miss(usage.model)
        reached = books.spending.add(self._call, self._caller, cost) if cost else None
        if self._closed:
            books.spending.left(self._call)
        return reached

    def close(self) -> None:
        """The call is over; what the service still tells of it counts for the other limits."""
        self._closed = True
        self._books.spending.left(self._call)


def _reached(spent: float, limit: float | None) -> bool:
    return limit is not None and spent >= limit
