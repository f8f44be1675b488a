"""Every metric's name, labels and help in one place.

The cores count in plain fields; `Collector` reads them when Prometheus asks, so a packet never touches a lock or a
label. Only durations are observed as they happen, once per call or turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from bridge.records import Counts

_KNOWN_LABELS = 64
"""Values a label with foreign words may take; further ones count as `other`, so that no peer can grow our memory."""


class Gauges(Protocol):
    """What the service is, at the moment of a scrape."""

    def calls_active(self) -> int: ...
    def calls_limit(self) -> int: ...
    def is_draining(self) -> bool: ...
    def is_overloaded(self) -> bool: ...
    def core_taken(self) -> float:
        """Share of the loop's core that it used or waited for in the last second."""
        ...

    def rtp_ports_free(self) -> int: ...
    def sip_connections(self) -> int: ...
    def registrations(self) -> list[tuple[str, bool]]:
        """(name, whether it stands) of each registration."""
        ...

    def pacer_lateness(self) -> tuple[list[tuple[float, int]], float]:
        """Cumulative (upper bound in s, rounds) and the sum in s."""
        ...


class Totals:
    """Sums of plain counts: name → label value → count. The label value is empty for a metric without a label."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, float]] = {}

    def add(self, name: str, count: float = 1, label: str = "") -> None:
        """Add to one sum."""
        family = self.sums.setdefault(name, {})
        if label not in family and len(family) >= _KNOWN_LABELS:
            label = "other"
        family[label] = family.get(label, 0) + count

    def add_all(self, name: str, counts: Mapping[str, float]) -> None:
        """Add to one sum per label value."""
        for label, count in counts.items():
            self.add(name, count, label)


_COUNTERS: dict[str, tuple[str, str]] = {
    # name without prefix and _total: (label, help)
    "calls": ("reason", "Calls that ended, by the reason"),
    "refusals": ("reason", "Requests refused before they became anything, by the reason"),
    "barge_ins": ("", "Interruptions of the agent by the caller"),
    "false_starts": ("", "Interruptions that were none: the agent went on where it had stopped"),
    "truncated_items": ("", "Items truncated at the milliseconds that were sent"),
    "deleted_items": ("", "Items deleted because none of their audio had come"),
    "late_deltas": ("", "Audio deltas that came after their item was interrupted"),
    "digits": ("", "Keys pressed by callers"),
    "transfers": ("outcome", "Transfers, by what came of them"),
    "responses": ("status", "Responses of the model, by how they ended"),
    "session_events": ("", "Events received from sessions"),
    "session_malformed": ("", "Frames and events from sessions that made no sense"),
    "session_unknown_events": ("", "Events from sessions of a type without use"),
    "session_errors": ("code", "Errors reported by sessions"),
    "session_fallbacks": ("format", "Sessions that speak another format than was asked for, by the format"),
    "sessions_resumed": (
        "outcome",
        "Sessions that ended before their calls: back (another one), planned, or given_up",
    ),
    "warm_sessions": ("outcome", "Sessions held ready before a call: taken, expired, or missed when a call came"),
    "plan_b": ("outcome", "What was done for callers whose session was lost for good"),
    "tool_calls": ("outcome", "Tool calls of the model, by what came of them"),
    "tokens": ("kind", "Tokens that sessions have used, by the kind"),
    "cost": ("agent", "What sessions have cost, in the currency of the prices"),
    "unpriced_usages": ("", "Reports of usage for which there is no price"),
    "transcripts": ("outcome", "Transcripts written, failed, or dropped because too many waited for the disk"),
    "uplink_bytes": ("", "Bytes of callers' audio handed to sessions"),
    "uplink_dropped_bytes": ("", "Bytes of callers' audio dropped because a session did not read"),
    "audio_overflow": ("", "Audio deltas refused because the playout queue was full"),
    "rtp_packets_received": ("", "RTP packets accepted"),
    "rtp_packets_sent": ("", "RTP packets sent"),
    "rtp_dropped": ("reason", "Datagrams on RTP ports that were dropped, by the reason"),
    "rtp_lost": ("", "RTP packets that never came"),
    "rtp_late": ("", "RTP packets that came after their gap was concealed"),
    "rtp_damaged": ("", "Payloads that were no audio of their codec"),
    "rtp_drift_seconds": ("direction", "Callers' audio put in or left out because their clocks are not ours"),
    "rtcp_reports": ("direction", "RTCP reports, received and sent"),
    "echo_guard_seconds": ("action", "Callers' audio while the agent spoke: suppressed as its echo, or passed"),
    "recordings": ("outcome", "Recordings begun, refused, ended at a limit, or failed"),
    "recorded_bytes": ("", "Bytes of recordings written"),
    "recording_dropped_seconds": ("", "Audio missing in recordings"),
    "rtp_concealed_seconds": ("", "Callers' audio that was made up for lost packets"),
    "playout_underruns": ("", "Holes inside a sentence because the model's audio came too slowly"),
    "pacer_skipped_slots": ("", "20 ms slots skipped because the process was held up"),
    "pacer_faults": ("", "Streams taken off the pacer because they failed"),
    "sip_requests_received": ("method", "SIP requests received"),
    "sip_responses_received": ("status", "SIP responses received"),
    "sip_keepalives": ("", "Empty datagrams on the SIP port"),
    "sip_responses_sent": ("status", "SIP responses sent"),
    "sip_retransmissions": ("direction", "SIP messages repeated"),
    "sip_dropped": ("reason", "SIP messages that were dropped, by the reason"),
    "sip_connections": ("how", "TCP and TLS connections: accepted, opened, or refused for their number"),
    "sip_connections_closed": ("reason", "TCP and TLS connections that ended, by the reason"),
}


class Collector:
    """Gives Prometheus the sums of finished calls and of those still running."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self.read: list[Callable[[Totals], None]] = []
        """Each adds its part to the sums; called at every scrape."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and reading needs the service to run."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of the table."""
        totals = Totals()
        for read in self.read:
            read(totals)
        for name, (label, words) in _COUNTERS.items():
            family = CounterMetricFamily(f"sipbridge_{name}", words, labels=[label] if label else [])
            for value, count in totals.sums.get(name, {} if label else {"": 0}).items():
                family.add_metric([value] if label else [], count)
            yield family
        yield from self._gauge_families()

    def _gauge_families(self) -> Iterator[Metric]:
        gauges = self._gauges
        yield GaugeMetricFamily("sipbridge_calls_active", "Calls going on", gauges.calls_active())
        yield GaugeMetricFamily("sipbridge_calls_limit", "Calls taken at most", gauges.calls_limit())
        yield GaugeMetricFamily("sipbridge_draining", "1 while no new calls are taken", int(gauges.is_draining()))
        refuses = "1 while calls are refused because the machine can do no more"
        yield GaugeMetricFamily("sipbridge_overloaded", refuses, int(gauges.is_overloaded()))
        taken = "Share of one core that the calls' thread used, or had to wait for, in the last second"
        yield GaugeMetricFamily("sipbridge_core_taken_ratio", taken, gauges.core_taken())
        yield GaugeMetricFamily("sipbridge_rtp_ports_free", "RTP ports left in the pool", gauges.rtp_ports_free())
        yield GaugeMetricFamily("sipbridge_sip_connections_open", "TCP and TLS connections", gauges.sip_connections())
        registered = GaugeMetricFamily(
            "sipbridge_registered", "1 while the registrar knows us", labels=["registration"]
        )
        for name, stands in gauges.registrations():
            registered.add_metric([name], int(stands))
        yield registered
        buckets, total = gauges.pacer_lateness()
        shown = [("+Inf" if bound == float("inf") else f"{bound:g}", count) for bound, count in buckets]
        family = HistogramMetricFamily("sipbridge_pacer_lateness_seconds", "How late rounds of the pacer began")
        family.add_metric([], buckets=shown, sum_value=total)
        yield family


class Meters:
    """The registry, the collector in it, and the durations."""

    def __init__(self, gauges: Gauges, version: str) -> None:
        self.registry = CollectorRegistry()
        self.collector = Collector(gauges)
        self.registry.register(self.collector)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.setup_s = Histogram(
            "sipbridge_call_setup_seconds",
            "From the INVITE to the 200, of answered calls",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 15),
            registry=self.registry,
        )
        self.talk_s = Histogram(
            "sipbridge_call_seconds",
            "From the 200 to the end, of answered calls",
            buckets=(1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
            registry=self.registry,
        )
        self.turn_s = Histogram(
            "sipbridge_turn_seconds",
            "From the caller's end of speech, as the session reports it, to the first audio of the answer",
            buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
            registry=self.registry,
        )
        self.turn_stage_s = Histogram(
            "sipbridge_turn_stage_seconds",
            "The stages of a turn: vad from the caller's last word to its being heard as such, then to the commit, the"
            " first_delta, and the first_rtp",
            labelnames=["stage"],
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
            registry=self.registry,
        )
        self.away_s = Histogram(
            "sipbridge_session_away_seconds",
            "Calls without a session: from the loss of one until another was ready",
            buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 15, 30),
            registry=self.registry,
        )
        self.tool_s = Histogram(
            "sipbridge_tool_seconds",
            "From a webhook's request to its result, tries included",
            buckets=(0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120),
            registry=self.registry,
        )
        self.mos = Histogram(
            "sipbridge_call_mos",
            "E-model score of answered calls: in is what we hear, out what the caller hears by his own reports",
            labelnames=["direction"],
            buckets=(1.5, 2, 2.5, 3, 3.4, 3.6, 3.8, 4, 4.1, 4.2, 4.3, 4.4, 4.5),
            registry=self.registry,
        )
        self.jitter_s = Histogram(
            "sipbridge_call_jitter_seconds",
            "Interarrival jitter at the end of answered calls",
            labelnames=["direction"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2),
            registry=self.registry,
        )
        self.loss = Histogram(
            "sipbridge_call_loss_ratio",
            "Share of the packets of answered calls that did not arrive",
            labelnames=["direction"],
            buckets=(0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5),
            registry=self.registry,
        )
        self.round_trip_s = Histogram(
            "sipbridge_call_round_trip_seconds",
            "Round trip of answered calls by RTCP, as measured last",
            buckets=(0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2),
            registry=self.registry,
        )
        self.registry.register(_BuildInfo(version))

    def observe_counts(self, counts: Counts) -> None:
        """The durations that a call has gathered until its end."""
        for seconds in counts.away_s:
            self.away_s.observe(seconds)

    def observe_quality(self, quality: Mapping[str, float]) -> None:
        """What was known of a call's audio at its end (`media.stats.MediaStats.quality`)."""
        for direction in ("in", "out"):
            if (score := quality.get(f"mos_{direction}")) is not None:
                self.mos.labels(direction).observe(score)
            if (jitter := quality.get(f"jitter_{direction}_ms")) is not None:
                self.jitter_s.labels(direction).observe(jitter / 1000)
            if (loss := quality.get(f"loss_{direction}")) is not None:
                self.loss.labels(direction).observe(loss / 100)
        if (trip := quality.get("round_trip_ms")) is not None:
            self.round_trip_s.observe(trip / 1000)


class _BuildInfo:
    """The version, as a metric that is always 1."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """One family."""
        family = GaugeMetricFamily("sipbridge_build_info", "The version that runs", labels=["version"])
        family.add_metric([self._version], 1)
        yield family
