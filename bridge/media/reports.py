"""RTCP of one call's stream: when a report of ours is due, and what the peer's reports say (RFC 3550 section 6)."""

from collections import deque
from collections.abc import Callable
from math import inf

from bridge.media import rtcp
from bridge.media.quality import Codec, mos
from bridge.media.reception import Reception
from bridge.media.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport

INTERVAL_S = 5.0
COMPENSATION = 1.21828
"""e - 3/2: makes up for reconsidered timers, which end early on average (RFC 3550 section 6.3.1)."""
REMEMBERED = 8
"""Sender reports of ours that a peer may refer to: 40 s of them."""
ROUND_TRIP_LIMIT_S = 10.0
CLOCK_STEP_S = 0.002
"""How far below 0 a round trip may come out: peers count the delay in whole milliseconds, rounded up or down."""
JITTER_LIMIT_MS = 10_000.0


class RtcpReporter:
    """Both directions of RTCP beside one RTP stream of ours.

    `now` is the monotonic clock in seconds, and all that is measured is measured by it. `wall` is Unix seconds, only
    for the NTP timestamp of our reports, by which others align streams of different machines; when that clock is set,
    no number here moves. `rtp_timestamp` is that of our stream at the same instant. `random` gives 0 to 1.
    What a peer reports is hearsay: without SRTCP anybody may have sent it, so nothing should end a call by it.
    """

    __slots__ = (
        "_gone",
        "_next",
        "_packets_reported",
        "_peer_report",
        "_random",
        "_remote",
        "_remote_expected",
        "_remote_jitter_ms",
        "_sdes",
        "_sent_reports",
        "_ssrc",
        "clock_rate",
        "codec",
        "heard_about_us",
        "octets",
        "packets",
        "received",
        "reception",
        "reports_received",
        "reports_sent",
        "round_trip_ms",
    )

    def __init__(
        self, ssrc: int, cname: str, clock_rate: int, random: Callable[[], float], codec: Codec = "PCMU"
    ) -> None:
        self.codec: Codec = codec
        """For the scores."""
        self.clock_rate = clock_rate
        """Hz of the timestamps, in both directions; change it with `retime`."""
        self.reception = Reception(clock_rate)
        self.received: Callable[[int, int, int, float], None] = self.reception.received
        """`received(sequence, timestamp, ssrc, now)`: one packet of the caller."""
        self.packets = 0
        """Packets of ours that left."""
        self.octets = 0
        """Payload bytes of them."""
        self.reports_sent = 0
        self.reports_received = 0
        """Datagrams that were valid."""
        self.round_trip_ms: float | None = None
        """The newest measurement, the peer's own delay taken off; None before one."""
        self.heard_about_us = False
        """Whether the newest datagram spoke of our SSRC, which only the caller knows."""
        self._ssrc = ssrc
        self._sdes = rtcp.source_description(ssrc, cname)
        self._random = random
        self._next: float | None = None  # when the next report is due; None before the first question
        self._packets_reported = 0
        self._sent_reports: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)  # middle of NTP, when it left
        self._peer_report: tuple[int, int, float] | None = None  # SSRC, middle of NTP, when it came
        self._remote: ReportBlock | None = None
        self._remote_expected = 0
        self._remote_jitter_ms = 0.0
        self._gone: int | None = None  # the SSRC that said goodbye

    def sent(self, payload_bytes: int) -> None:
        """One packet of ours left."""
        self.packets += 1
        self.octets += payload_bytes

    def retime(self, clock_rate: int) -> None:
        """Timestamps count in another rate (Hz) from now on, as after a change of codec (RFC 7160)."""
        self.clock_rate = clock_rate
        self.reception.retime(clock_rate)

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer; RtcpError when malformed, and then nothing of it counts."""
        packets = rtcp.parse(datagram)
        self.reports_received += 1
        self.heard_about_us = False
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._note_report(packet, now)
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.blocks:
                    if block.ssrc == self._ssrc:
                        self._note_block(block, now)
            elif isinstance(packet, Goodbye):
                self._note_goodbye(packet)

    def _note_report(self, report: SenderReport, now: float) -> None:
        # Before the first packet of RTP anybody may be the caller; the block looks again.
        if self.reception.ssrc in (None, report.ssrc):
            self._peer_report = (report.ssrc, rtcp.middle(report.ntp), now)

    def _note_block(self, block: ReportBlock, now: float) -> None:
        self.heard_about_us = True
        self._remote = block
        self._remote_expected = self.packets
        self._remote_jitter_ms = min(JITTER_LIMIT_MS, block.jitter * 1000 / self.clock_rate)
        if not block.last_sr:
            return
        # Section 6.4.1 subtracts on the wall clock; by looking up when that report left, its steps do not matter.
        for middle, left in self._sent_reports:
            if middle == block.last_sr:
                trip = now - left - block.delay_since_last_sr / 65536
                if -CLOCK_STEP_S <= trip <= ROUND_TRIP_LIMIT_S:
                    self.round_trip_ms = max(0.0, trip) * 1000

    def _note_goodbye(self, goodbye: Goodbye) -> None:
        ours = self.reception.ssrc
        if ours in goodbye.ssrcs:
            self._gone = ours
        elif ours is None and goodbye.ssrcs:
            self._gone = goodbye.ssrcs[0]

    def due(self, now: float, wall: float, rtp_timestamp: int) -> bytes | None:
        """The next report when its time has come, else None; cheap enough to ask in every slot."""
        if self._next is None:
            self._next = now + self._interval(INTERVAL_S / 2)
        if now < self._next:
            return None
        self._next = now + self._interval(INTERVAL_S)
        return self._report(now, wall, rtp_timestamp)

    def goodbye(self, now: float, wall: float, rtp_timestamp: int, reason: str = "") -> bytes | None:
        """The last report, with a BYE; None when nothing of ours ever left (RFC 3550 section 6.3.7)."""
        self._next = inf
        if not self.packets and not self.reports_sent:
            return None
        return self._report(now, wall, rtp_timestamp) + rtcp.goodbye(self._ssrc, reason)

    def _interval(self, seconds: float) -> float:
        """Spread so that the calls of one machine do not report all at once (RFC 3550 section 6.3.1)."""
        return seconds * (0.5 + self._random()) / COMPENSATION

    def _report(self, now: float, wall: float, rtp_timestamp: int) -> bytes:
        block = self.reception.block(*self._last_report(now))
        self.reports_sent += 1
        if self.packets == self._packets_reported:
            return rtcp.receiver_report(self._ssrc, block) + self._sdes
        self._packets_reported = self.packets
        ntp = rtcp.ntp_time(wall)
        self._sent_reports.append((rtcp.middle(ntp), now))
        report = rtcp.sender_report(self._ssrc, ntp, rtp_timestamp, self.packets, self.octets, block)
        return report + self._sdes

    def _last_report(self, now: float) -> tuple[int, int]:
        """LSR and DLSR of the stream that we hear; 0 and 0 without a report of its sender."""
        if self._peer_report is None or self._peer_report[0] != self.reception.ssrc:
            return 0, 0
        _, middle, came = self._peer_report
        return middle, min(0xFFFF_FFFF, max(0, round((now - came) * 65536)))

    @property
    def left(self) -> bool:
        """Whether the peer said goodbye for the stream that we hear."""
        return self._gone is not None and self.reception.ssrc in (None, self._gone)

    @property
    def jitter_ms(self) -> float:
        """Of the caller's stream here."""
        return self.reception.jitter_ms

    @property
    def remote_jitter_ms(self) -> float | None:
        """Of our stream at the peer, 10 s at most; None before a report."""
        return None if self._remote is None else self._remote_jitter_ms

    @property
    def remote_fraction_lost(self) -> float | None:
        """Ratio of our packets lost in the peer's last interval; None before a report."""
        return None if self._remote is None else self._remote.fraction_lost / 256

    @property
    def remote_lost(self) -> int | None:
        """Our packets that the peer misses, below 0 when it got some twice; None before a report."""
        return None if self._remote is None else self._remote.cumulative_lost

    @property
    def loss_in(self) -> float:
        """Ratio of the caller's packets that did not come, over the whole call."""
        expected = self.reception.expected
        return self.reception.lost / expected if expected else 0.0

    @property
    def loss_out(self) -> float | None:
        """Ratio of our packets that did not arrive, over the whole call; None before a report."""
        if self._remote is None:
            return None
        return min(1.0, max(0, self._remote.cumulative_lost) / max(1, self._remote_expected))

    @property
    def mos_in(self) -> float | None:
        """Score of what we hear, if nothing came too late; None before the first packet."""
        return self.score_in(0)

    def score_in(self, too_late: int) -> float | None:
        """The same; packets that came `too_late` are as good as lost to who listens."""
        expected = self.reception.expected
        if self.reception.ssrc is None:
            return None
        loss = min(1.0, self.loss_in + too_late / expected) if expected else 0.0
        return mos(self.codec, loss, self._one_way_ms(self.jitter_ms))

    @property
    def mos_out(self) -> float | None:
        """Score of what the caller hears; None before a report of the peer."""
        loss = self.loss_out
        return None if loss is None else mos(self.codec, loss, self._one_way_ms(self._remote_jitter_ms))

    def _one_way_ms(self, jitter_ms: float) -> float:
        """Half the round trip and a jitter buffer of twice the jitter; a round trip that is unknown is taken as 0."""
        return (self.round_trip_ms or 0.0) / 2 + 2 * jitter_ms
