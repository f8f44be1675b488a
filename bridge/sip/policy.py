"""What one user agent wants of its calls, beyond what every call needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from .session_timer import TimerPolicy

RELIABLE = ("off", "supported", "required")


@dataclass(frozen=True, slots=True)
class Policy:
    """`reliable` is about provisional answers (RFC 3262): "off", "supported" or "required"."""

    timer: TimerPolicy = field(default_factory=TimerPolicy)
    reliable: str = "supported"

    @property
    def supported(self) -> tuple[str, ...]:
        """The option tags for Supported."""
        reliable = ("100rel",) if self.reliable != "off" else ()
        timer = ("timer",) if self.timer.enabled else ()
        return (*reliable, *timer, "replaces", "norefersub")
