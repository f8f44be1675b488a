"""What is known of a call when it is over, and the words for why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


def warning(word: str) -> tuple[str, str]:
    """The header that names a refusal's reason to the peer (RFC 3261 section 20.43, code 399)."""
    return "Warning", f'399 sipbridge "{word}"'


class EndReason(Enum):
    """Why a call ended, or was never answered: the same word in the log, the record and the metrics."""

    CALLER_HUNG_UP = "caller_hung_up"
    CALLER_CANCELLED = "caller_cancelled"
    AGENT_HUNG_UP = "agent_hung_up"
    TRANSFERRED = "transferred"
    TIME_LIMIT = "time_limit"
    SPEND_LIMIT = "spend_limit"
    CALLER_IDLE = "caller_idle"
    SHUTDOWN = "shutdown"
    RTP_TIMEOUT = "rtp_timeout"
    ACK_TIMEOUT = "ack_timeout"
    SIGNALLING_LOST = "signalling_lost"
    SESSION_FAILED = "session_failed"
    SESSION_LOST = "session_lost"
    NO_COMMON_CODEC = "no_common_codec"
    INTERNAL_ERROR = "internal_error"


_OF_LEGS = {
    "cancelled": EndReason.CALLER_CANCELLED,
    "bye": EndReason.CALLER_HUNG_UP,
    "ack_timeout": EndReason.ACK_TIMEOUT,
    "rtp_timeout": EndReason.RTP_TIMEOUT,
    "no_common_codec": EndReason.NO_COMMON_CODEC,
    "fault": EndReason.INTERNAL_ERROR,
}


def reason_of(word: str) -> EndReason:
    """What it means for the call that a leg has ended with this word."""
    return _OF_LEGS.get(word, EndReason.SIGNALLING_LOST)


class Refusal(Enum):
    """Why a request was refused: (word, SIP status, seconds for Retry-After).

    The same word is in the metric, the log line and the answer's Warning. Status 0: no answer at all.
    """

    SCANNER = ("scanner", 0, None)
    STRANGER = ("not_a_peer", 0, None)
    TOO_MANY_REQUESTS = ("too_many_requests", 0, None)
    WRONG_CREDENTIALS = ("wrong_credentials", 401, None)
    TOO_MANY_AUTH_FAILURES = ("too_many_auth_failures", 403, None)
    DIGEST_URI = ("digest_uri", 400, None)
    WRONG_USER = ("wrong_user", 403, None)
    TOO_MANY_CONTACTS = ("too_many_contacts", 403, None)
    DRAINING = ("draining", 503, 30)
    FULL = ("too_many_calls", 503, 10)
    FULL_TRUNK = ("too_many_calls_of_trunk", 503, 10)
    FULL_SOURCE = ("too_many_calls_of_source", 503, 10)
    OVERLOADED = ("overloaded", 503, 5)
    TOO_FAST = ("too_many_per_second", 503, 1)
    TOO_FAST_TRUNK = ("too_many_per_second_of_trunk", 503, 1)
    TOO_FAST_SOURCE = ("too_many_per_second_of_source", 503, 1)
    SPEND_HOUR = ("spend_limit_hour", 503, 60)  # or when enough of it is an hour ago, see `headers_after`
    SPEND_CALLER = ("spend_limit_caller", 403, None)  # final: "SHOULD NOT be repeated" (RFC 3261 section 21.4.4)
    NO_ROUTE = ("no_route", 404, None)
    NOT_YOURS = ("replaces_not_allowed", 403, None)

    def __init__(self, word: str, status: int, retry_after: int | None) -> None:
        self.word = word
        self.status = status
        self.headers = [("Retry-After", str(retry_after))] if retry_after else []
        self.headers.append(warning(word))

    def headers_after(self, retry_after_s: int) -> list[tuple[str, str]]:
        """The headers with another Retry-After, in seconds."""
        return [("Retry-After", str(retry_after_s)), warning(self.word)]


LEG_REFUSALS = ("no_rtp_port", "no_common_codec")
"""Words of a leg that could not be prepared; see `legs.leg.LegRefused`."""


DURATIONS_KEPT = 1000
"""Of one kind and one call."""


def _count(counts: dict[str, int], word: str, more: int = 1) -> None:
    counts[word] = counts.get(word, 0) + more


@dataclass(slots=True)
class Counts:
    """What one call has counted so far; sums over calls become metrics."""

    barge_ins: int = 0
    false_starts: int = 0
    truncated_items: int = 0
    deleted_items: int = 0
    digits: int = 0
    late_deltas: int = 0
    audio_overflow: int = 0
    uplink_bytes: int = 0
    uplink_dropped_bytes: int = 0
    session_events: int = 0
    session_malformed: int = 0
    session_unknown: int = 0
    session_errors: dict[str, int] = field(default_factory=dict)
    responses: dict[str, int] = field(default_factory=dict)
    transfers: dict[str, int] = field(default_factory=dict)
    session_fallbacks: dict[str, int] = field(default_factory=dict)
    """Sessions that speak another format than was asked for, by the format."""
    resumed: dict[str, int] = field(default_factory=dict)
    """Sessions that another one took the place of, by how: back, planned, given_up."""
    away_s: list[float] = field(default_factory=list)
    """Seconds of each time without a session; as many as are kept."""
    tools: dict[str, int] = field(default_factory=dict)
    plan_b: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    """By the kinds of `realtime.events.Usage`."""
    cost: float = 0.0
    """In `prices.currency`; without what `unpriced` counts."""
    unpriced: int = 0
    """Reports of usage for which there is no price."""

    def note_response(self, status: str) -> None:
        """A response ended."""
        status = status if status in ("completed", "cancelled", "incomplete", "failed") else "other"
        _count(self.responses, status)

    def note_transfer(self, outcome: str) -> None:
        """A transfer ended, or was never allowed to begin."""
        _count(self.transfers, outcome)

    def note_fallback(self, reason: str) -> None:
        """A session speaks another format than was asked for."""
        _count(self.session_fallbacks, reason)

    def note_resumed(self, outcome: str, away_s: float | None = None) -> None:
        """Another session has taken the place of one, or none could be had; after so many seconds without any."""
        _count(self.resumed, outcome)
        if away_s is not None and len(self.away_s) < DURATIONS_KEPT:
            self.away_s.append(away_s)

    def note_plan_b(self, outcome: str) -> None:
        """What was done for a caller without a session."""
        _count(self.plan_b, outcome)

    def note_usage(self, tokens: Mapping[str, int], cost: float | None) -> None:
        """The service has told what it used; `cost` is None where there is no price for it."""
        for kind, count in tokens.items():
            _count(self.tokens, kind, count)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost

    def note_cut(self, *, deleted: bool) -> None:
        """An item was cut by an interruption: truncated, or deleted unheard."""
        if deleted:
            self.deleted_items += 1
        else:
            self.truncated_items += 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from and which route it took. Empty where nothing is known.

    A caller who withholds his number is `anonymous` here: it decided the route, and goes no further.
    """

    trunk: str = ""
    user: str = ""
    """Who called with a password."""
    route: int | None = None
    """The number of the route that fitted, the first being 1; None: there are no routes."""
    caller: str = ""
    caller_name: str = ""
    called: str = ""
    diverted_from: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers the trunk takes over, by the names the configuration gives them; only those that came."""

    def variables(self) -> dict[str, str]:
        """For an agent's instructions: name of the variable → its value."""
        named = ("caller", "caller_name", "called", "diverted_from", "trunk")
        own: dict[str, str] = {name: getattr(self, name) for name in named}
        return own | {f"header[{name}]": value for name, value in self.headers.items()}

    def logged(self, *, callers: bool) -> dict[str, object]:
        """For a log line; numbers only when `callers` says so, and nothing that is empty."""
        numbers = ("caller", "called", "diverted_from") if callers else ()
        shown = {name: getattr(self, name) for name in ("trunk", "user", "route", *numbers)}
        return {name: value for name, value in (shown | {"headers": dict(self.headers)}).items() if value}


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call in one line. Times in seconds; `answered` is False when the caller never got a 200."""

    call_id: str
    agent: str
    reason: EndReason
    detail: str
    codec: str
    answered: bool
    setup_s: float
    talk_s: float
    origin: Origin = Origin()
    quality: Mapping[str, float] = field(default_factory=dict)
    """Loss, jitter, round trip and score of either direction, as far as known (`media.stats.MediaStats.quality`)."""
