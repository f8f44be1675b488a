"""Whose packets are the caller's: the SDP's address first, symmetric RTP where NAT made it wrong (RFC 4961).

A stranger who sends to our port neither reaches the model nor redirects our audio, not even from the caller's own
host, where other calls' streams live. The SDP's address always wins, also back from another source. While nothing
came from it, another source may take the place: plausible by its IP address, several valid packets in a row. Once
somebody is latched, his stream may move to another port of his host when he falls silent, and is known again by its
SSRC, which nobody else can tell.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from bridge.media.rtp import SEQUENCE_MASK, RtpPacket

CONSECUTIVE = 5
"""Packets in a row that a new source must send."""
CONSECUTIVE_SAME_HOST = 50
"""The same on the SDP's own host: whose address is right has seldom the wrong port, but other calls live there too."""
CONSECUTIVE_OLD = 100
"""The same for the source of before a re-INVITE, whose last packets are still under way."""
SILENCE = 0.5
"""Seconds without a packet after which the latched stream may go on from another port of its host."""
MAX_CANDIDATES = 8
NOWHERE = ("0.0.0.0", "::")
"""Hosts that stand for none (RFC 3264 section 8.4)."""

Address = tuple[str, int]


@dataclass(slots=True)
class _Candidate:
    ssrc: int
    next_sequence: int
    count: int


class SourceLatch:
    """Decides for each source whether it is the caller. Addresses are (host, port) as `recvfrom` gives them."""

    __slots__ = (
        "_candidates",
        "_heard_at",
        "_previous",
        "_remote",
        "_signalling_host",
        "_ssrc",
        "destination",
        "latched",
        "payload_types",
        "reachable",
        "strangers",
    )  # fmt: skip

    def __init__(self, remote: Address, signalling_host: str, payload_types: frozenset[int]) -> None:
        self.strangers = 0
        """Packets that were not the caller's, those of candidates on probation included."""
        self.latched: Address | None = None
        """Until the caller's first packet: None."""
        self.destination: Address
        """Where our packets go: back to the latched source, before that to the SDP's address."""
        self.reachable: bool
        """Whether that is a place at all."""
        self.payload_types = payload_types
        """Those that the caller's packets may have."""
        self._signalling_host = _canonical(signalling_host)
        self._remote = _address(remote)
        self._previous: Address | None = None  # before the first re-INVITE that moved the media
        self._heard_at = 0.0
        self._ssrc: int | None = None  # of the latched source's last packet
        self._candidates: dict[Address, _Candidate] = {}
        self._latch(None)

    def _latch(self, source: Address | None) -> None:
        """Whom we hear and answer from now on; asked for with every packet, so it is worked out here."""
        self.latched = source
        self.destination = host, port = source or self._remote
        self.reachable = port != 0 and host not in NOWHERE

    def expects(self, source: Address) -> bool:
        """Whether it is the address of the caller's description."""
        return source == self._remote

    @property
    def has_moved(self) -> bool:
        """Whether the caller sends from elsewhere than his description says."""
        return self.latched is not None and self.latched != self._remote

    def retarget(self, remote: Address) -> None:
        """Follow a re-INVITE. The same address again changes nothing: the latch of a NAT stays."""
        remote = _address(remote)
        if remote == self._remote:
            return
        self._remote = remote
        self._candidates.clear()
        if remote != self.latched:
            self._previous = self.latched
            self._latch(None)

    def knows(self, source: Address) -> bool:
        """Whether a packet from here may be worth parsing; a plain stranger is counted and not."""
        if source == self.latched or self._is_plausible(source):
            return True
        self.strangers += 1
        return False

    def accept(self, source: Address, packet: RtpPacket, now: float) -> bool:
        """Whether this packet is the caller's. May latch its source."""
        if source == self.latched:
            self._heard_at = now
            self._ssrc = packet.ssrc
            return True
        if packet.payload_type in self.payload_types and (source == self._remote or self._passes(source, packet, now)):
            self._latch(source)
            self._heard_at = now
            self._ssrc = packet.ssrc
            self._candidates.clear()
            return True
        self.strangers += 1
        return False

    def _is_plausible(self, source: Address) -> bool:
        if self.latched is not None:
            return source[0] == self.latched[0] or source == self._remote
        return source[0] in (self._remote[0], self._signalling_host)

    def _passes(self, source: Address, packet: RtpPacket, now: float) -> bool:
        """Whether the probation of a source other than the expected one ends with this packet."""
        if not self._is_plausible(source):
            return False
        if self.latched is not None and (now - self._heard_at < SILENCE or packet.ssrc != self._ssrc):
            return False
        candidate = self._candidates.get(source)
        follows = (packet.sequence + 1) & SEQUENCE_MASK
        if candidate is None or (candidate.ssrc, candidate.next_sequence) != (packet.ssrc, packet.sequence):
            if candidate is None and len(self._candidates) >= MAX_CANDIDATES:
                del self._candidates[next(iter(self._candidates))]
            candidate = self._candidates[source] = _Candidate(packet.ssrc, follows, 0)
        candidate.count += 1
        candidate.next_sequence = follows
        return candidate.count >= self._needed(source)

    def _needed(self, source: Address) -> int:
        if source == self._previous:
            return CONSECUTIVE_OLD
        if self.latched is None and source[0] == self._remote[0]:
            return CONSECUTIVE_SAME_HOST
        return CONSECUTIVE


def _address(address: Address) -> Address:
    return _canonical(address[0]), address[1]


def _canonical(host: str) -> str:
    """One spelling per IP address; anything else, such as a name, stays and so matches no source."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host
