"""The counts of one call's media."""

from dataclasses import dataclass, field

from bridge.audio.g711 import Law
from bridge.media.echo import EchoGuard
from bridge.media.jitter import JitterBuffer
from bridge.media.playout import Playout
from bridge.media.reports import RtcpReporter


@dataclass(slots=True)
class MediaStats:
    """Packets are RTP packets of the caller and ours."""

    jitter: JitterBuffer = field(default_factory=lambda: JitterBuffer(Law.PCMU))
    playout: Playout = field(default_factory=Playout)
    reports: RtcpReporter | None = None
    """What RTCP knows; None for a leg without a stream."""
    guard: EchoGuard | None = None
    """The echo guard; None when the agent wants none."""
    _of_guards_before: tuple[int, int] = (0, 0)
    packets_in: int = 0
    send_failures: int = 0
    """Packets that the socket did not take; their audio went out in the next slot."""
    skipped: int = 0
    """Slots in which nothing was sent because the process stalled."""
    digits: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Datagrams that never reached the call, by reason."""

    def drop(self, reason: str) -> None:
        """Count one datagram that goes nowhere."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    @property
    def packets_out(self) -> int:
        """Packets of ours that left; the sender reports count them."""
        return self.reports.packets if self.reports is not None else 0

    @property
    def lost(self) -> int:
        """Packets of the caller that never came."""
        return self.jitter.lost

    @property
    def late(self) -> int:
        """Packets that came after their place was concealed."""
        return self.jitter.late

    @property
    def duplicate(self) -> int:
        """Packets that came twice."""
        return self.jitter.duplicate

    @property
    def reordered(self) -> int:
        """Packets that others overtook, but in time."""
        return self.jitter.reordered

    @property
    def resyncs(self) -> int:
        """New time lines of the caller."""
        return self.jitter.resyncs

    @property
    def concealed_ms(self) -> int:
        """Audio made up for lost packets."""
        return self.jitter.concealed_ms

    @property
    def silence_ms(self) -> int:
        """Silence in place of events and pauses."""
        return self.jitter.silence_ms

    @property
    def underruns(self) -> int:
        """Gaps inside the model's items."""
        return self.playout.underruns

    @property
    def damaged(self) -> int:
        """Payloads that were no audio of their codec."""
        return self.jitter.line.damaged

    @property
    def flooded(self) -> int:
        """Packets dropped because more audio came than time passed."""
        return self.jitter.line.flooded

    @property
    def drift_ms(self) -> int:
        """Audio put in (or, below 0, left out) because the phone's clock is not ours."""
        return self.jitter.line.drift_inserted_ms - self.jitter.line.drift_dropped_ms

    @property
    def echo_suppressed_ms(self) -> int:
        """Audio of the caller that was an echo of ours, and became silence."""
        return self._of_guards_before[0] + (self.guard.suppressed_ms if self.guard is not None else 0)

    @property
    def echo_passed_ms(self) -> int:
        """Audio that came while we spoke and was no echo."""
        return self._of_guards_before[1] + (self.guard.passed_ms if self.guard is not None else 0)

    def watch(self, guard: EchoGuard) -> None:
        """Another echo guard; what the one before has counted stays, but not its memory."""
        self._of_guards_before = self.echo_suppressed_ms, self.echo_passed_ms
        self.guard = guard

    def quality(self) -> dict[str, float]:
        """What RTCP and the packets tell of both directions; what is not known is not in it. Loss in percent."""
        reports = self.reports
        if reports is None:
            return {}
        loss_out = reports.loss_out
        known = {
            "mos_in": reports.score_in(self.late),
            "mos_out": reports.mos_out,
            "jitter_in_ms": reports.jitter_ms if reports.mos_in is not None else None,
            "jitter_out_ms": reports.remote_jitter_ms,
            "loss_in": 100 * reports.loss_in if reports.mos_in is not None else None,
            "loss_out": 100 * loss_out if loss_out is not None else None,
            "round_trip_ms": reports.round_trip_ms,
        }
        return {name: round(value, 2) for name, value in known.items() if value is not None}

    def counts(self) -> dict[str, int]:
        """All counts flat, those of jitter buffer and playout included; drops as `dropped.<reason>`."""
        return {
            "packets_in": self.packets_in,
            "packets_out": self.packets_out,
            "send_failures": self.send_failures,
            "skipped": self.skipped,
            "digits": self.digits,
            "lost": self.lost,
            "late": self.late,
            "duplicate": self.duplicate,
            "reordered": self.reordered,
            "resyncs": self.resyncs,
            "strays": self.jitter.strays,
            "damaged": self.damaged,
            "flooded": self.flooded,
            "drift_ms": self.drift_ms,
            "concealed_ms": self.concealed_ms,
            "silence_ms": self.silence_ms,
            "underruns": self.underruns,
            "refused": self.playout.refused,
            "dropped_late": self.playout.dropped_late,
            **{f"dropped.{reason}": count for reason, count in self.dropped.items()},
        }
