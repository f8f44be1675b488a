"""What caller and server say of a window, and whether its calls were carried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.cases import Traffic

Json = Mapping[str, Any]
Summary = Mapping[str, float]
"""Of latencies in ms: count, p50, p99, p99_9, max; empty when there were none."""

PACING_P99_MS = 5.0
CPU_SHARE = 0.9
"""Of a core: with more than this the generator has no time left to be in time."""
LATE_P99_MS = 2.0
"""How late the generator's own schedule may be."""
ANSWERS_S = 9.0
"""In a window so long every call hears the beginning of an answer: they last eight and a half."""
NOISY_CORES = 0.2
WAITED = 0.02
"""Share of a window in which somebody else had the service's core: without others it is 0.0005."""


@dataclass(frozen=True, slots=True)
class CallerReport:
    """Of the process that calls; all counts are of the window."""

    up: int
    refused: int
    refusals: Mapping[str, int]
    """By the service's own words."""
    ended: int
    """Calls that the service ended."""
    sent: int
    received: int
    lost: int
    reordered: int
    duplicates: int
    gaps_over_100_ms: int
    dropped: int
    """Packets that its own sockets had no room for, or that it had no time to send."""
    cpu_s: float
    pacing_ms: Summary
    downlink_ms: Summary
    """From the writing of an answer's first delta to its first packet."""
    setup_ms: Summary
    late_ms: Summary
    """How late its own rounds were."""
    heard: tuple[tuple[int, ...], ...] = field(repr=False, default=())
    """(call, response, frames, first stamp, last stamp, breaks in the frames' numbers), stamps in ns."""

    @classmethod
    def of(cls, told: Json) -> CallerReport:
        """Read its JSON line."""
        return cls(
            up=told["up"],
            refused=told["refused"],
            refusals=told["reasons"] or told["refusals"],
            ended=told["ended"],
            sent=told["sent"],
            received=told["received"],
            lost=told["lost"],
            reordered=told["reordered"],
            duplicates=told["duplicates"],
            gaps_over_100_ms=told["gaps_over_100_ms"],
            dropped=told["dropped"],
            cpu_s=told["cpu_s"],
            pacing_ms=told["pacing_ms"],
            downlink_ms=told["downlink_ms"],
            setup_ms=told["setup_ms"],
            late_ms=told["late_ms"],
            heard=tuple(tuple(row) for row in told.get("heard", ())),
        )


@dataclass(frozen=True, slots=True)
class ServerReport:
    """Of the Realtime server; all counts are of the window."""

    appends: int
    audio_bytes: int
    breaks: int
    """Frames of the sampled sessions that were missing or came twice."""
    unsent: int
    """Bytes that could not be written because the service did not read."""
    cpu_s: float
    uplink_ms: Summary
    """From the sending of a caller's packet to the append that carries it."""
    late_ms: Summary
    interruptions: tuple[tuple[int, int, int], ...] = field(repr=False, default=())
    """(call, response, ns): when speech_started was written."""
    truncates: tuple[tuple[int, int, int], ...] = field(repr=False, default=())
    """(call, response, audio_end_ms)."""

    @classmethod
    def of(cls, told: Json) -> ServerReport:
        """Read its JSON line."""
        return cls(
            appends=told["appends"],
            audio_bytes=told["append_audio_bytes"],
            breaks=told["up_frames_lost"] + told["up_frames_repeated"],
            unsent=told["bytes_unsent"],
            cpu_s=told["cpu_user_s"] + told["cpu_system_s"],
            uplink_ms=told["uplink_ms"],
            late_ms=told["lateness_ms"],
            interruptions=tuple(tuple(row) for row in told["interruptions"] if None not in row),
            truncates=tuple(tuple(row[:3]) for row in told["truncates"] if None not in row),
        )


def faults(
    traffic: Traffic, calls: int, caller: CallerReport, server: ServerReport, metrics: Json, *, seconds: float = 10.0
) -> list[str]:
    """Why the calls of a window of so many seconds were not carried, in words; empty when they were.

    `metrics`: what the window added.
    """
    counts = {
        "refused": caller.refused,
        "ended": caller.ended,
        "failed": round(metrics.get('sipbridge_calls_total{reason="internal_error"}', 0)),
        "RTP lost": caller.lost,
        "RTP out of order": caller.reordered,
        "RTP twice": caller.duplicates,
        "gaps over 100 ms": caller.gaps_over_100_ms,
        "RTP lost upwards": round(metrics.get("sipbridge_rtp_lost_total", 0)),
        "slots skipped": round(metrics.get("sipbridge_pacer_skipped_slots_total", 0)),
        "uplink bytes dropped": round(metrics.get("sipbridge_uplink_dropped_bytes_total", 0)),
        "uplink frames lost or twice": server.breaks,
        "uplink frames missing": missing_frames(traffic, calls, caller, server),
    }
    found = [f"{count} {name}" for name, count in counts.items() if count]
    if caller.refusals:
        found[0] += f" ({', '.join(map(str, caller.refusals))})"
    if traffic.in_clear and seconds >= ANSWERS_S and not caller.downlink_ms.get("count"):
        found.append("no answer heard")
    if (p99 := caller.pacing_ms.get("p99", 0)) > PACING_P99_MS:
        found.append(f"pacing p99 {p99:.1f} ms")
    return found


def missing_frames(traffic: Traffic, calls: int, caller: CallerReport, server: ServerReport) -> int:
    """Frames that were sent upwards and not appended, or the other way round, beyond what the window's edges explain.

    Both programs begin and end the window within a few ms of each other, so that each call may have some frames under
    way: one append's, and two that jitter.
    """
    edges = calls * (traffic.append_ms // 20 + 2)
    difference = abs(caller.sent - server.audio_bytes // traffic.bytes_per_frame)
    return max(0, difference - edges)


def generator_limits(caller: CallerReport, server: ServerReport, seconds: float, cores: int) -> list[str]:
    """In what caller and server, on so many cores of their own, were at their own limit."""
    found = []
    shares = {"caller": caller.cpu_s / seconds, "server": server.cpu_s / seconds}
    shares["caller and server"] = sum(shares.values()) / cores
    found += [f"{name} {share:.0%} of a core" for name, share in shares.items() if share > CPU_SHARE]
    late = {"caller": caller.late_ms, "server": server.late_ms}
    found += [
        f"{name} late by {p99:.1f} ms" for name, values in late.items() if (p99 := values.get("p99", 0)) > LATE_P99_MS
    ]
    if caller.dropped:
        found.append(f"caller dropped {caller.dropped}")
    return found
