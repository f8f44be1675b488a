"""What becomes of a call in which somebody says nothing, or which lasts too long."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from .section import Section


class Idle(Section):
    """A caller who says nothing and presses nothing: he is spoken to again, and then the call ends."""

    after_s: float = Field(default=15, ge=3, le=600)
    """Seconds of silence after the agent's last word."""
    prompt: str = "The caller has been silent for a while. Ask in one short sentence whether they are still there."
    """What the model is told then."""
    times: int = Field(default=2, ge=0, le=10)
    """How often, until the next silence is the last."""
    hang_up: bool = True
    """Whether that one ends the call; else the agent waits in silence."""
    farewell: str = "The caller does not answer any more. Say goodbye in one short sentence; the call ends after it."
    """What the model is told before the end; empty: it ends without a word."""


class TimeLimit(Section):
    """The longest call of one agent."""

    minutes: float = Field(gt=0, le=1440)
    warn_s: float = Field(default=60, ge=0)
    """Seconds before the end at which the caller is warned; 0: never, nor in a call that is no longer than that."""
    warning: str | None = None
    """What the model is told then."""
    farewell: str = "The time for this call is over. Say goodbye in one short sentence; the call ends after it."
    """What the model is told at the end; empty: the call ends without a word."""

    @property
    def warning_words(self) -> str:
        """The configured warning, or one that names the time left."""
        left = f"{self.warn_s / 60:.0f} minutes" if self.warn_s > 90 else f"{self.warn_s:.0f} seconds"
        default = f"Tell the caller politely, in one short sentence, that this call must end in about {left}."
        return self.warning if self.warning is not None else default

    @model_validator(mode="after")
    def _warned_within_the_call(self) -> TimeLimit:
        if "warn_s" in self.model_fields_set and self.warn_s >= self.minutes * 60:
            raise ValueError(f"warn_s must be less than the whole call, which is {self.minutes * 60:g} s")
        return self


def short_idle(value: Any) -> Any:
    """`15` alone means after so many seconds, `true` as it is by default, `false` not at all."""
    if isinstance(value, bool):
        return {} if value else None
    return {"after_s": value} if isinstance(value, int | float) else value


def short_limit(value: Any) -> Any:
    """`10` alone means minutes."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"minutes": value} if is_number else value


def one_clock_for_idle(idle: Idle | None, idle_timeout_ms: int | None) -> None:
    """ValueError when both the bridge and the service would speak to a silent caller."""
    if idle is not None and idle_timeout_ms is not None:
        raise ValueError("idle and turn_detection.idle_timeout_ms would both ask the silent caller: keep one of them")
