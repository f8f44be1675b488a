"""What one call leaves when it is over: its counts and its record, and nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.legs.leg import forget
from bridge.legs.outgoing import cannot_dial
from bridge.records import CallRecord, Counts, EndReason

if TYPE_CHECKING:
    from bridge.call import Call


def collected(call: Call) -> Counts:
    """A call's counts as of now."""
    counts, session = call.counts, call.session.counts()
    counts.late_deltas = session.late_deltas
    counts.uplink_bytes = session.uplink_bytes
    counts.uplink_dropped_bytes = session.dropped_bytes
    counts.session_events = session.events
    counts.session_malformed = session.malformed
    counts.session_unknown = session.unknown
    counts.tools = dict(call.tools.outcomes)
    return counts


def record_of(call: Call, reason: EndReason, detail: str) -> CallRecord:
    """The record of a call that has just ended."""
    now, answered_at = time.monotonic(), call.answered_at
    return CallRecord(
        call_id=call.caller.call_id,
        agent=call.profile.name,
        origin=call.origin,
        reason=reason,
        detail=detail,
        codec=call.leg.codec.name,
        quality=call.leg.stats.quality(),
        answered=answered_at is not None,
        setup_s=(answered_at or now) - call.began_at,
        talk_s=now - answered_at if answered_at is not None else 0.0,
    )


def let_go(call: Call) -> None:
    """Take a call apart whose legs, session, timers and tasks are over: nobody asks for a part of it any more.

    The parts know the call and it knows them. Left so, it would be freed by nothing but the collector of cycles, which
    for that would have to look through all calls, and stop each of them meanwhile.
    """
    call.counts = collected(call)
    call.is_gone = True
    for leg in (call.caller, call.leg, *call.former):
        forget(leg)
    call.session.release()
    call.dial = cannot_dial
    del call.model, call.session, call.hearing, call.comfort, call.floor, call.attendance, call.keys
    del call.absence, call.plan_b, call.tools, call.succession
