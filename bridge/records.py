"""What is known of a call when it is over, and the words for why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class EndReason(Enum):
    """Why a call ended, or was never answered: the same word in the log, the record and the metrics."""

    CALLER_HUNG_UP = "caller_hung_up"
    CALLER_CANCELLED = "caller_cancelled"
    AGENT_HUNG_UP = "agent_hung_up"
    TIME_LIMIT = "time_limit"
    SHUTDOWN = "shutdown"
    RTP_TIMEOUT = "rtp_timeout"
    ACK_TIMEOUT = "ack_timeout"
    SIGNALLING_LOST = "signalling_lost"
    SESSION_FAILED = "session_failed"
    SESSION_LOST = "session_lost"
    NO_COMMON_CODEC = "no_common_codec"
    INTERNAL_ERROR = "internal_error"


class Refusal(Enum):
    """Why an INVITE never became a call: (word, SIP status, seconds for Retry-After)."""

    STRANGER = ("not_a_peer", 403, None)
    DRAINING = ("draining", 503, 30)
    FULL = ("too_many_calls", 503, 10)
    TOO_FAST = ("too_many_per_second", 503, 1)
    NO_ROUTE = ("no_route", 404, None)

    def __init__(self, word: str, status: int, retry_after: int | None) -> None:
        self.word = word
        self.status = status
        self.headers = [("Retry-After", str(retry_after))] if retry_after else []


LEG_REFUSALS = ("no_rtp_port", "no_common_codec")
"""Words of a leg that could not be prepared; see `legs.leg.LegRefused`."""


@dataclass(slots=True)
class Counts:
    """What one call has counted so far; sums over calls become metrics."""

    barge_ins: int = 0
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


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call in one line. Times in seconds; `answered` is False when the caller never got a 200."""

    call_id: str
    agent: str
    trunk: str
    reason: EndReason
    detail: str
    law: str
    answered: bool
    setup_s: float
    talk_s: float
