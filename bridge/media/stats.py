"""The counts of one call's media."""

from dataclasses import dataclass, field

from bridge.media.jitter import JitterBuffer
from bridge.media.playout import Playout


@dataclass(slots=True)
class MediaStats:
    """Packets and bytes are RTP packets of the caller and ours, headers included, without UDP and IP."""

    jitter: JitterBuffer
    playout: Playout
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
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

    def counts(self) -> dict[str, int]:
        """All counts flat, those of jitter buffer and playout included; drops as `dropped.<reason>`."""
        jitter, playout = self.jitter, self.playout
        return {
            "packets_in": self.packets_in,
            "packets_out": self.packets_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "send_failures": self.send_failures,
            "skipped": self.skipped,
            "digits": self.digits,
            "lost": jitter.lost,
            "late": jitter.late,
            "duplicate": jitter.duplicate,
            "reordered": jitter.reordered,
            "resyncs": jitter.resyncs,
            "strays": jitter.strays,
            "concealed_ms": jitter.concealed_ms,
            "silence_ms": jitter.silence_ms,
            "underruns": playout.underruns,
            "refused": playout.refused,
            "dropped_late": playout.dropped_late,
            **{f"dropped.{reason}": count for reason, count in self.dropped.items()},
        }
