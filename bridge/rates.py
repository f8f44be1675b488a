"""Token buckets: how many a second, of one thing or of each of many sources."""

from __future__ import annotations

from collections import OrderedDict

MAX_SOURCES = 4096
"""Sources whose buckets are remembered."""
_LOOKED_AT = 8
"""Old buckets that are looked at when room is needed; so a flood of new sources costs each of them little."""


class Bucket:
    """`per_second` tokens flow in, at most `burst` stay. It starts full; times in seconds."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, per_second: float, burst: float | None = None) -> None:
        self._rate = per_second
        self._burst = self._tokens = max(1.0, per_second if burst is None else burst)
        self._filled_at = float("-inf")

    def ready(self, now: float) -> bool:
        """Whether there is a token."""
        self._fill(now)
        return self._tokens >= 1

    def full(self, now: float) -> bool:
        """Whether nothing was taken for so long that it makes no difference any more."""
        self._fill(now)
        return self._tokens >= self._burst

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        if not self.ready(now):
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now


class SourceBuckets:
    """A bucket for each source, in bounded memory.

    A new source pushes out only one whose bucket is full again, and so says nothing. When there is none, all new
    sources share one bucket: whoever invents addresses cannot make us forget what others have taken.
    """

    def __init__(self, per_second: float, burst: float | None = None, limit: int = MAX_SOURCES) -> None:
        self._rate = per_second
        self._burst = burst
        self._limit = limit
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._shared = Bucket(per_second, burst)

    def __len__(self) -> int:
        return len(self._buckets)

    def ready(self, source: str, now: float) -> bool:
        """Whether the source has a token."""
        bucket = self._buckets.get(source)
        if bucket is None:
            return self._has_room(now) or self._shared.ready(now)
        return bucket.ready(now)

    def take(self, source: str, now: float) -> bool:
        """Take a token of the source; False when it has none."""
        bucket = self._buckets.get(source)
        if bucket is not None:
            self._buckets.move_to_end(source)
        elif self._has_room(now):
            bucket = self._buckets[source] = Bucket(self._rate, self._burst)
        else:
            bucket = self._shared
        return bucket.take(now)

    def _has_room(self, now: float) -> bool:
        """Whether a bucket more fits, after those are gone that are full again."""
        for _ in range(_LOOKED_AT):
            if len(self._buckets) < self._limit:
                return True
            oldest = next(iter(self._buckets))
            if self._buckets[oldest].full(now):
                del self._buckets[oldest]
            else:
                self._buckets.move_to_end(oldest)
        return len(self._buckets) < self._limit
