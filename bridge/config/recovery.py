"""What happens when an agent's session is lost in the middle of a call."""

from __future__ import annotations

from pydantic import Field

from .section import Section


class Recovery(Section):
    """How a call outlives its session."""

    patience_s: float = Field(default=10, ge=0, le=120)
    """How long another session is tried for; 0: a lost session is the end of the call."""
    keep_s: float = Field(default=20, ge=1, le=60)
    """Of the caller's audio while there is no session, delivered afterwards."""
    change_before_s: float = Field(default=300, ge=5, le=3000)
    """Before a session reaches its longest time: from when on a quiet moment is looked for, to change it unnoticed."""
    tone_after_s: float = Field(default=1.0, ge=0, le=60)
    """After so much silence the caller hears a soft tone; 0: never."""
