"""Who may call, and how much the service takes on."""

from __future__ import annotations

from bridge.config import Config
from bridge.records import Refusal
from bridge.routing import Peers


class Admission:
    """Judges each INVITE before anything is spent on it."""

    def __init__(self, config: Config) -> None:
        self.peers = Peers(config)
        self.draining = False
        self._limits = config.limits
        self._tokens = self._burst = max(1.0, config.limits.calls_per_second)
        self._filled_at = 0.0

    def closed(self, calls: int) -> str:
        """Empty while new calls are taken, else the word for why not."""
        if self.draining:
            return Refusal.DRAINING.word
        return Refusal.FULL.word if calls >= self._limits.calls else ""

    def judge(self, host: str, calls: int, now: float) -> tuple[str, Refusal | None]:
        """The trunk of a caller at `host`, and why the call is refused (None: it is not). `now` in seconds."""
        trunk = self.peers.trunk_of(host)
        if trunk is None:
            return "", Refusal.STRANGER
        if self.draining:
            return trunk, Refusal.DRAINING
        if calls >= self._limits.calls:
            return trunk, Refusal.FULL
        return trunk, None if self._take(now) else Refusal.TOO_FAST

    def _take(self, now: float) -> bool:
        """One token of a bucket that holds one second's calls."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._limits.calls_per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
