"""What the service gives to each of its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.config import Prices, Spend
from bridge.prices import PriceTable
from bridge.realtime import events as ev
from bridge.spending import Books, Spending
from bridge.tools.webhook import Webhooks

if TYPE_CHECKING:
    from bridge.call import Call


def _no_books() -> Books:
    return Books(PriceTable(Prices()), Spending(Spend(), lambda: 0.0), on_unpriced=lambda model: None)


@dataclass(frozen=True, slots=True)
class Means:
    """The same for all calls of a service; the defaults are those of a call alone in a test."""

    session_timeout_s: float = 8.0
    """How long the phone may ring while the session is opened."""
    longest_s: float = 3600.0
    """The longest call."""
    transcripts: bool = False
    """What is said may stand in the log."""
    early_media: bool = False
    watch: Callable[[Call, ev.Event], None] = lambda call, event: None
    """Hears of what happens in any call."""
    on_turn: Callable[[float], None] = lambda seconds: None
    """Seconds from the caller's end of speech to the first audio of the answer."""
    on_stage: Callable[[str, float], None] = lambda stage, seconds: None
    """The same in its parts, see `promptness`."""
    webhooks: Webhooks = field(default_factory=Webhooks)
    books: Books = field(default_factory=_no_books)
    """What everything costs, and how much may be spent."""
