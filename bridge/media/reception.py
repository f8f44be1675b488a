"""How the caller's packets arrive: expected, lost, jitter (RFC 3550 appendices A.1, A.3 and A.8)."""

from bridge.media.rtcp import ReportBlock
from bridge.media.rtp import SEQUENCE_MASK, timestamp_ahead

MAX_DROPOUT = 3000
"""Numbers ahead that are still a gap."""
MAX_MISORDER = 100
"""Numbers behind that are still a late packet."""

_LOST_LIMIT = 0x7F_FFFF
_MASK = 0xFFFF_FFFF


class Reception:
    """Counts the packets of one caller. Another SSRC, or the same one from another number, begins anew in the blocks;
    `expected` and `lost` go on over the whole call.

    There is no probation (appendix A.1): who calls `received` knows that it is the caller's.
    """

    __slots__ = (
        "_arrival",
        "_base",
        "_clock_rate",
        "_expected_before",
        "_expected_prior",
        "_highest",
        "_jitter",
        "_received",
        "_received_before",
        "_received_prior",
        "_restart",
        "_timestamp",
        "ssrc",
    )

    def __init__(self, clock_rate: int) -> None:
        self.ssrc: int | None = None
        """Of the newest packet; None before the first."""
        self._clock_rate = clock_rate
        self._base = 0  # the first number of this stream
        self._highest = 0  # extended
        self._received = 0
        self._restart = -1  # the number that would show that the stream jumped for good
        self._jitter = 0.0  # in units of the timestamp
        self._timestamp = 0
        self._arrival = 0.0
        self._expected_prior = self._received_prior = 0  # at the last block
        self._expected_before = self._received_before = 0  # of streams that ended

    def received(self, sequence: int, timestamp: int, ssrc: int, now: float) -> None:
        """One packet of the caller, in order of arrival; `now` in seconds."""
        if ssrc == self.ssrc and sequence == (self._highest + 1) & SEQUENCE_MASK:
            self._highest += 1
            self._received += 1
        elif not self._out_of_order(sequence, timestamp, ssrc, now):
            return
        step = timestamp - self._timestamp
        rate = self._clock_rate
        if not 0 < step <= rate:
            if step == 0:
                return  # an event: its packets carry the time at which it began (RFC 4733 section 2.5.1.2)
            step = timestamp_ahead(timestamp, self._timestamp)
        deviation = (now - self._arrival) * rate - step
        self._timestamp = timestamp
        self._arrival = now
        if deviation < 0:
            deviation = -deviation
        # More than a second is a pause or another time line, which says nothing of the network.
        if deviation <= rate and -rate <= step <= rate:
            self._jitter += (deviation - self._jitter) / 16

    def received_event(self, sequence: int, ssrc: int, now: float) -> None:
        """One packet that says when something began, not what time it is (RFC 4733): it tells of loss alone."""
        # Some phones go on with audio beside it, so its timestamp is not even the one before.
        self.received(sequence, self._timestamp, ssrc, now)

    def _out_of_order(self, sequence: int, timestamp: int, ssrc: int, now: float) -> bool:
        """Whether this packet, which is not the next one, tells of the jitter."""
        if ssrc != self.ssrc:
            self._begin(sequence, timestamp, ssrc, now)
            return False
        ahead = (sequence - self._highest) & SEQUENCE_MASK
        if ahead < MAX_DROPOUT:
            self._highest += ahead
        elif ahead <= SEQUENCE_MASK + 1 - MAX_MISORDER:
            if sequence == self._restart:
                self._begin((sequence - 1) & SEQUENCE_MASK, timestamp, ssrc, now)
                self._highest += 1
                self._received += 1
            else:
                self._restart = (sequence + 1) & SEQUENCE_MASK
            return False
        self._received += 1
        return True

    def _begin(self, sequence: int, timestamp: int, ssrc: int, now: float) -> None:
        if self.ssrc is not None:
            self._expected_before += self._highest - self._base + 1
            self._received_before += self._received
        if ssrc != self.ssrc:
            self._jitter = 0.0
        self.ssrc = ssrc
        self._base = self._highest = sequence
        self._received = 1
        self._restart = -1
        self._expected_prior = self._received_prior = 0
        self._timestamp = timestamp
        self._arrival = now

    def retime(self, clock_rate: int) -> None:
        """Timestamps count in another rate (Hz) from now on, as after a change of codec (RFC 7160)."""
        self._jitter *= clock_rate / self._clock_rate
        self._clock_rate = clock_rate

    @property
    def expected(self) -> int:
        """Packets of the whole call that should have come."""
        return self._expected_before + self._highest - self._base + (self.ssrc is not None)

    @property
    def lost(self) -> int:
        """Packets of the whole call that did not come. What came twice makes up for them, but never below 0."""
        return max(0, self.expected - self._received_before - self._received)

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter of the stream that we hear now."""
        return self._jitter * 1000 / self._clock_rate

    def block(self, last_sr: int = 0, delay_since_last_sr: int = 0) -> ReportBlock | None:
        """The next report about this stream; None when nothing came since the last (RFC 3550 section 6.4)."""
        received = self._received - self._received_prior
        if self.ssrc is None or not received:
            return None
        total = self._highest - self._base + 1
        expected = total - self._expected_prior
        self._expected_prior, self._received_prior = total, self._received
        lost = expected - received
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(255, (lost << 8) // expected) if lost > 0 else 0,
            cumulative_lost=max(-_LOST_LIMIT - 1, min(_LOST_LIMIT, total - self._received)),
            highest_sequence=self._highest & _MASK,
            jitter=round(self._jitter),
            last_sr=last_sr,
            delay_since_last_sr=delay_since_last_sr,
        )
