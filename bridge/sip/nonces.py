"""What a digest server remembers: which nonces were used how often, and who failed."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address

NONCE_LIFE_S = 300.0
MAX_NONCES = 10_000
REPEAT_S = 32.0
"""How long the very same request may come again: 64 * T1, the life of its transaction."""

MAX_FAILURES = 10
"""Of one user from one source in a window; all users of a source together may fail ten times as often."""
FAILURE_WINDOW_S = 60.0
MAX_HOSTS = 8192
"""Pairs of source and user that are remembered."""
_ALL = "\n"
"""Stands for all users of a source; no user's name can be it."""

_ISSUED = 12
_RANDOM = 8


@dataclass(frozen=True, slots=True)
class _Use:
    issued: float
    count: int
    request: bytes
    at: float


class Nonces:
    """Nonces that carry their time and our seal, so that those only given out cost no memory.

    The seal is for one host: nobody can fetch a nonce for the host whose name he puts on a datagram.
    """

    def __init__(self, *, secret: bytes | None = None, life_s: float = NONCE_LIFE_S, limit: int = MAX_NONCES) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._life = life_s
        self._limit = limit
        self._used: OrderedDict[str, _Use] = OrderedDict()
        # When the newest nonce was issued whose count had to be forgotten.
        self._forgotten = float("-inf")

    def __len__(self) -> int:
        return len(self._used)

    def issue(self, now: float, host: str) -> str:
        """A new nonce, good for requests of this host alone."""
        text = f"{int(now * 1000):0{_ISSUED}x}{secrets.token_hex(_RANDOM // 2)}"
        return text + self._seal(text, host)

    def is_good(self, nonce: str, now: float, host: str) -> bool:
        """Whether we gave this nonce to this host, and it is neither too old nor forgotten."""
        return self._issued(nonce, now, host) is not None

    def take(self, nonce: str, count: int, request: bytes, now: float, host: str) -> bool:
        """Use a nonce for the `count`-th time; False when it is not good, or that was done before.

        `request` is a fingerprint: the same request may come again for a while, as a retransmission.
        """
        issued = self._issued(nonce, now, host)
        if issued is None:
            return False
        use = self._used.get(nonce)
        if use is not None and count <= use.count:
            return count == use.count and request == use.request and now - use.at <= REPEAT_S
        self._used[nonce] = _Use(issued, count, request, now)
        self._forget(now)
        return True

    def _issued(self, nonce: str, now: float, host: str) -> float | None:
        """When a good nonce was issued; None for any other."""
        text, seal = nonce[: _ISSUED + _RANDOM], nonce[_ISSUED + _RANDOM :]
        if not nonce.isascii() or not hmac.compare_digest(seal, self._seal(text, host)):
            return None
        issued = int(text[:_ISSUED], 16) / 1000
        if now - issued > self._life or (nonce not in self._used and issued <= self._forgotten):
            return None
        return issued

    def _seal(self, text: str, host: str) -> str:
        return hmac.digest(self._secret, f"{text}\n{host}".encode(), "sha256").hex()[:32]

    def _forget(self, now: float) -> None:
        used = self._used
        while used and (len(used) > self._limit or now - next(iter(used.values())).issued > self._life):
            _, oldest = used.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest.issued)


class Failures:
    """Failed tries per source and user, an IPv6 network of 64 bits being one source; over the limit is locked out.

    A phone with a wrong password does not lock out the others behind its NAT, and who tries many users is caught by
    the sum of the source.
    """

    def __init__(
        self, *, limit: int = MAX_FAILURES, window_s: float = FAILURE_WINDOW_S, hosts: int = MAX_HOSTS
    ) -> None:
        self._limit = limit
        self._window = window_s
        self._hosts = hosts
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def add(self, host: str, user: str, now: float) -> None:
        """One more failed try from a host, for a user."""
        source = _source(host)
        for key in ((source, user), (source, _ALL)):
            count, since = self._failed.get(key, (0, now))
            if now - since >= self._window:
                count, since = 0, now
            self._failed[key] = count + 1, since
            self._failed.move_to_end(key)
        while len(self._failed) > self._hosts:
            self._failed.popitem(last=False)

    def wait_s(self, host: str, user: str, now: float) -> float:
        """How long a host has to wait until it may try for a user, in seconds; 0 when it may now."""
        source = _source(host)
        limits = {(source, user): self._limit, (source, _ALL): 10 * self._limit}
        waits = [0.0]
        for key, limit in limits.items():
            count, since = self._failed.get(key, (0, now))
            if count >= limit:
                waits.append(since + self._window - now)
        return max(waits)


def _source(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address) if address.version == 4 else address.exploded[:19]
