"""The counts of one call's media."""

from dataclasses import dataclass, field

from bridge.audio.g711 import Law
from bridge.media.jitter import JitterBuffer
from bridge.media.playout import Playout


@dataclass(slots=True)
class MediaStats:
    """Packets and bytes are RTP packets of the caller and ours, headers included, without UDP and IP."""

    jitter: JitterBuffer = field(default_factory=lambda: JitterBuffer(Law.PCMU))
    playout: Playout = field(default_factory=Playout)
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

    def counts(self) -> dict[str, int]:
        """All counts flat, those of jitter buffer and playout included; drops as `dropped.<reason>`."""
        return {
            "packets_in": self.packets_in,
            "packets_out": self.packets_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "send_failures": self.send_failures,
            "skipped": self.skipped,
            "digits": self.digits,
            "lost": self.lost,
            "late": self.late,
            "duplicate": self.duplicate,
            "reordered": self.reordered,
            "resyncs": self.resyncs,
            "strays": self.jitter.strays,
            "concealed_ms": self.concealed_ms,
            "silence_ms": self.silence_ms,
            "underruns": self.underruns,
            "refused": self.playout.refused,
            "dropped_late": self.playout.dropped_late,
            **{f"dropped.{reason}": count for reason, count in self.dropped.items()},
        }
