"""From the plain counts of the parts to the sums that Prometheus reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.call import Call
from bridge.metrics import Totals
from bridge.records import LEG_REFUSALS, EndReason, Refusal

if TYPE_CHECKING:
    from bridge.app import App

_CALL_FIELDS = {
    "barge_ins": "barge_ins",
    "false_starts": "false_starts",
    "truncated_items": "truncated_items",
    "deleted_items": "deleted_items",
    "late_deltas": "late_deltas",
    "digits": "digits",
    "audio_overflow": "audio_overflow",
    "uplink_bytes": "uplink_bytes",
    "uplink_dropped_bytes": "uplink_dropped_bytes",
    "session_events": "session_events",
    "session_malformed": "session_malformed",
    "session_unknown_events": "session_unknown",
    "unpriced_usages": "unpriced",
}
_CALL_FAMILIES = {
    "responses": "responses",
    "session_errors": "session_errors",
    "session_fallbacks": "session_fallbacks",
    "sessions_resumed": "resumed",
    "transfers": "transfers",
    "tool_calls": "tools",
    "plan_b": "plan_b",
    "tokens": "tokens",
}
_MEDIA_FIELDS = {
    "rtp_packets_received": "packets_in",
    "rtp_packets_sent": "packets_out",
    "rtp_lost": "lost",
    "rtp_late": "late",
    "rtp_damaged": "damaged",
    "playout_underruns": "underruns",
}
CALLS_AT_ONCE = 16
"""Read for a scrape before packets get their turn: half a millisecond."""


class Sums:
    """Sums over finished calls, and the reading of everything else at the moment of a scrape."""

    def __init__(self, app: App) -> None:
        self.totals = Totals()
        """What finished calls and refusals have left; every reason is there from the start, for alerts on it."""
        for reason in EndReason:
            self.totals.add("calls", 0, reason.value)
        for word in (*(refusal.word for refusal in Refusal), *LEG_REFUSALS):
            self.totals.add("refusals", 0, word)
        for outcome in ("back", "planned", "given_up"):
            self.totals.add("sessions_resumed", 0, outcome)
        self._app = app
        self._gathered: Totals | None = None  # what the next `read` takes for all calls, over and running

    def keep(self, call: Call) -> None:
        """A call is over: its counts stay."""
        _add_call(self.totals, call)

    async def gather(self) -> None:
        """Read all calls, some at a time, for the `read` that follows at once: hundreds of them would hold up packets.

        A call that ends meanwhile counts as running: what it leaves is not yet in the sums that were taken first.
        """
        gathered = Totals()
        for _ in self._of_calls(gathered):
            await asyncio.sleep(0)
        self._gathered = gathered

    def _of_calls(self, totals: Totals) -> Iterator[None]:
        """Add all calls, over and running; a step for each few of them."""
        calls = tuple(self._app.calls)
        for name, family in self.totals.sums.items():
            totals.add_all(name, family)
        for at in range(0, len(calls), CALLS_AT_ONCE):
            for call in calls[at : at + CALLS_AT_ONCE]:
                _add_call(totals, call)
            yield

    def read(self, totals: Totals) -> None:
        """Everything, as of now; of the calls what was gathered just before, if it was."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            for _ in self._of_calls(totals):
                pass
        else:
            for name, family in gathered.sums.items():
                totals.add_all(name, family)
        sip, pacer = self._app.user_agent.stats, self._app.pacer
        totals.add_all("sip_requests_received", sip.received)
        totals.add_all("sip_responses_sent", {str(status): count for status, count in sip.answers.items()})
        totals.add_all("sip_responses_received", {str(status): count for status, count in sip.responses.items()})
        totals.add("sip_keepalives", sip.keepalives)
        totals.add("sip_retransmissions", sip.retransmissions_received, "received")
        totals.add("sip_retransmissions", sip.retransmissions_sent, "sent")
        totals.add_all("sip_dropped", sip.dropped)
        for stream in self._app.user_agent.listeners.streams:
            opened = stream.stats
            totals.add("sip_connections", opened.accepted, "accepted")
            totals.add("sip_connections", opened.opened, "opened")
            totals.add("sip_connections", opened.refused, "refused")
            totals.add("sip_keepalives", opened.keepalives)
            totals.add_all("sip_connections_closed", opened.closed)
        for profile in self._app.profiles.values():
            if profile.warm is not None:
                for outcome in ("taken", "missed", "expired"):
                    totals.add("warm_sessions", getattr(profile.warm, outcome), outcome)
        totals.add_all("tool_calls", self._app.webhooks.late)
        for outcome in ("written", "failed", "dropped"):
            totals.add("transcripts", getattr(self._app.transcripts, outcome), outcome)
        recorder = self._app.recorder
        for outcome in ("started", "refused", "limited", "failed"):
            totals.add("recordings", getattr(recorder, outcome), outcome)
        totals.add("recorded_bytes", recorder.bytes)
        totals.add("recording_dropped_seconds", recorder.dropped_ms / 1000)
        totals.add("pacer_skipped_slots", pacer.skipped_slots)
        totals.add("pacer_faults", pacer.faults)

    def calls_active(self) -> int:
        """Calls going on."""
        return len(self._app.calls)

    def calls_limit(self) -> int:
        """limits.calls."""
        return self._app.config.limits.calls

    def is_draining(self) -> bool:
        """Whether SIGTERM came."""
        return self._app.admission.draining

    def is_overloaded(self) -> bool:
        """Whether a call would be refused because the machine can do no more."""
        return self._app.admission.overloaded

    def core_taken(self) -> float:
        """Share of the loop's core in the last second."""
        return self._app.pressure.taken(time.monotonic())

    def sip_connections(self) -> int:
        """TCP and TLS connections that stand."""
        return sum(stream.connections for stream in self._app.user_agent.listeners.streams)

    def registrations(self) -> list[tuple[str, bool]]:
        """Name of each registration of ours, and whether the registrar knows us."""
        return [(name, item.registered) for name, item in self._app.trunks.registrations.items()]

    def rtp_ports_free(self) -> int:
        """Even ports nobody holds."""
        return self._app.ports.free

    def pacer_lateness(self) -> tuple[list[tuple[float, int]], float]:
        """The pacer's histogram, in seconds."""
        return self._app.pacer.lateness.cumulative_s()


def _add_call(totals: Totals, call: Call) -> None:
    counts = call.collected()
    for name, field in _CALL_FIELDS.items():
        totals.add(name, getattr(counts, field))
    for name, field in _CALL_FAMILIES.items():
        totals.add_all(name, getattr(counts, field))
    if counts.cost:
        totals.add("cost", counts.cost, call.profile.name)
    for leg in (call.leg, *call.former):
        stats = leg.stats
        for name, field in _MEDIA_FIELDS.items():
            totals.add(name, getattr(stats, field))
        totals.add("rtp_concealed_seconds", stats.concealed_ms / 1000)
        totals.add_all("rtp_dropped", stats.dropped)
        totals.add("rtp_dropped", stats.flooded, "flood")
        totals.add("rtp_drift_seconds", stats.jitter.line.drift_inserted_ms / 1000, "inserted")
        totals.add("rtp_drift_seconds", stats.jitter.line.drift_dropped_ms / 1000, "left_out")
        totals.add("echo_guard_seconds", stats.echo_suppressed_ms / 1000, "suppressed")
        totals.add("echo_guard_seconds", stats.echo_passed_ms / 1000, "passed")
        if stats.reports is not None:
            totals.add("rtcp_reports", stats.reports.reports_received, "received")
            totals.add("rtcp_reports", stats.reports.reports_sent, "sent")
