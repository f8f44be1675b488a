"""The metrics' names, and that no peer can grow our memory with labels."""

from __future__ import annotations

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge.metrics import Meters, Totals
from bridge.records import Counts


class Gauges:
    def calls_active(self) -> int:
        return 3

    def calls_limit(self) -> int:
        return 200

    def is_draining(self) -> bool:
        return False

    def sip_connections(self) -> int:
        return 3

    def registrations(self) -> list[tuple[str, bool]]:
        return [("pbx/600", True), ("carrier/7", False)]

    def is_overloaded(self) -> bool:
        return False

    def core_taken(self) -> float:
        return 0.25

    def rtp_ports_free(self) -> int:
        return 97

    def pacer_lateness(self) -> tuple[list[tuple[float, int]], float]:
        return [(0.001, 5), (float("inf"), 6)], 0.01


def scraped(meters: Meters) -> dict[str, float]:
    families = text_string_to_metric_families(generate_latest(meters.registry).decode())
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_scrape_sums_what_all_readers_add() -> None:
    meters = Meters(Gauges(), "1.2.3")
    meters.collector.read.append(lambda totals: totals.add("calls", 2, "time_limit"))
    meters.collector.read.append(lambda totals: totals.add("calls", 3, "time_limit"))
    meters.collector.read.append(lambda totals: totals.add("digits", 4))
    seen = scraped(meters)
    assert seen["sipbridge_calls_total[time_limit]"] == 5
    assert seen["sipbridge_digits_total"] == 4
    assert seen["sipbridge_calls_active"] == 3
    assert seen["sipbridge_rtp_ports_free"] == 97
    assert seen["sipbridge_core_taken_ratio"] == 0.25
    assert seen["sipbridge_overloaded"] == 0
    assert seen["sipbridge_sip_connections_open"] == 3
    assert seen["sipbridge_registered[pbx/600]"] == 1
    assert seen["sipbridge_registered[carrier/7]"] == 0
    assert seen["sipbridge_build_info[1.2.3]"] == 1
    assert seen["sipbridge_pacer_lateness_seconds_bucket[+Inf]"] == 6
    assert seen["sipbridge_barge_ins_total"] == 0, "a metric without a label is there from the start"


def test_foreign_words_as_labels_are_bounded() -> None:
    totals = Totals()
    for number in range(1000):
        totals.add("session_errors", 1, f"made_up_{number}")
    family = totals.sums["session_errors"]
    assert len(family) <= 65
    assert sum(family.values()) == 1000


def test_durations_of_a_call_are_seen_at_its_end() -> None:
    meters, counts = Meters(Gauges(), "1.2.3"), Counts()
    counts.note_resumed("back", 0.4)
    counts.note_resumed("given_up")
    meters.observe_counts(counts)
    meters.turn_stage_s.labels("vad").observe(0.5)
    seen = scraped(meters)
    assert (seen["sipbridge_session_away_seconds_count"], seen["sipbridge_session_away_seconds_sum"]) == (1, 0.4)
    assert seen["sipbridge_turn_stage_seconds_count[vad]"] == 1
