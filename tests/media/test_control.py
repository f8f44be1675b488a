"""Where reports go, whose are taken, and when the first and the last one leaves."""

import socket
from collections import deque
from dataclasses import replace

import pytest

from bridge.media import rtcp
from bridge.media.codecs import CODECS
from bridge.media.control import BATCH, ControlChannel, new_reporter
from bridge.media.endpoint import LARGEST, RtpEndpoint
from bridge.media.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription
from bridge.media.rtp import RtpPacket
from bridge.media.source import Address, SourceLatch
from bridge.media.srtp import Keys, Opener, Sealer
from bridge.media.stats import MediaStats
from bridge.media.terms import Rtcp
from tests.media.phone import HOST, Line, Phone, udp_socket, until

SDP, SDP_RTCP = ("192.0.2.1", 4000), ("192.0.2.1", 4055)
NAT, NAT_RTCP = ("203.0.113.5", 61_000), ("203.0.113.5", 50_123)
OURS, CALLER = 0xBEEF, 0xFEED
MUXED, APART = Rtcp(SDP, mux=True), Rtcp(SDP_RTCP)
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEYS = Keys(SUITE, b"s" * 30, b"r" * 30)


def block(ssrc: int = OURS, jitter: int = 80) -> ReportBlock:
    return ReportBlock(ssrc, 0, 3, 1, jitter, 0, 0)


def report(ssrc: int = OURS) -> bytes:
    """The caller's, about `ssrc`."""
    return rtcp.receiver_report(CALLER, block(ssrc))


class Wire:
    """A socket in name only."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.waiting: deque[tuple[bytes, Address] | OSError] = deque()
        self.closed = 0

    def sendto(self, datagram: bytes, destination: Address) -> int:
        self.sent.append((datagram, destination))
        return len(datagram)

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        if not self.waiting:
            raise BlockingIOError
        found = self.waiting.popleft()
        if isinstance(found, OSError):
            raise found
        return found[0][:size], found[1]

    def close(self) -> None:
        self.closed += 1


class Side:
    """A control channel and both of its sockets, on a clock of our own."""

    def __init__(self, terms: Rtcp | None = MUXED, *, has_port: bool = True, talks: bool = True) -> None:
        self.now = 100.0
        self.rtp, self.own = Wire(), Wire()
        self.opened = 0
        self.has_port = has_port
        self.stats = MediaStats()
        self.latch = SourceLatch(SDP, NAT[0], frozenset((0,)))
        self.endpoint = RtpEndpoint(self.rtp, self.latch, self.stats, lambda: self.now, lambda *_: None)  # type: ignore[arg-type]
        self.reporter = new_reporter(OURS, 8000)
        self.channel = ControlChannel(self.endpoint, self.reporter, self.stats, lambda: self.now, self._open)
        self.channel.adopt(terms)
        if talks:
            self.reporter.sent(160)

    def _open(self) -> socket.socket | None:
        self.opened += 1
        return self.own if self.has_port else None  # type: ignore[return-value]

    def behind_nat(self) -> None:
        """The caller's packets come from elsewhere than his description says."""
        for sequence in range(5):
            self.latch.accept(NAT, RtpPacket(0, False, sequence, 0, CALLER, b""), self.now)
        assert self.latch.destination == NAT

    def run(self, seconds: float) -> list[tuple[bytes, Address]]:
        """The reports of so many slots."""
        before = len(self.rtp.sent), len(self.own.sent)
        for _ in range(round(seconds * 50)):
            self.now += 0.02
            self.channel.tick(self.now, 4711)
        return self.rtp.sent[before[0] :] + self.own.sent[before[1] :]

    def come(self, datagram: bytes, source: Address) -> None:
        """On our own port of RTCP."""
        self.own.waiting.append((datagram, source))
        self.channel._read()

    def come_muxed(self, datagram: bytes, source: Address) -> str:
        admitted = self.endpoint._admit(datagram, source, self.now)
        assert isinstance(admitted, str)
        return admitted


class TestWhereReportsGo:
    def test_to_the_port_of_rtp_and_from_it_where_the_peer_takes_them_there(self) -> None:
        side = Side(MUXED)
        sent = side.run(60)
        assert {to for _, to in sent} == {SDP}
        assert side.own.sent == [] and side.opened == 0
        assert 60 / 5 * 0.7 <= len(sent) <= 60 / 5 * 2.5

    def test_to_a_port_of_their_own_from_one_of_ours(self) -> None:
        side = Side(APART)
        assert {to for _, to in side.run(30)} == {SDP_RTCP}
        assert side.rtp.sent == []

    def test_from_the_port_of_rtp_where_there_is_no_other(self) -> None:
        side = Side(APART, has_port=False)
        assert {to for _, to in side.run(30)} == {SDP_RTCP}
        assert side.own.sent == []

    def test_nowhere_when_the_peer_wants_none(self) -> None:
        side = Side(None)
        assert side.run(60) == []
        assert side.channel.destination is None
        side.channel.close(0)
        assert side.rtp.sent == []

    def test_muxed_they_follow_the_latch(self) -> None:
        side = Side(MUXED)
        side.behind_nat()
        assert {to for _, to in side.run(30)} == {NAT}

    def test_behind_a_nat_the_next_port_is_a_guess(self) -> None:
        side = Side(APART)
        side.behind_nat()
        assert side.channel.destination == (NAT[0], NAT[1] + 1)

    def test_there_is_no_port_behind_the_last(self) -> None:
        side = Side(Rtcp(SDP_RTCP))
        side.latch._latch((NAT[0], 65535))
        assert side.channel.destination == (NAT[0], 65535)

    @pytest.mark.parametrize("remote", [("0.0.0.0", 4000), ("::", 4000), ("192.0.2.1", 0)])
    @pytest.mark.parametrize("mux", [True, False])
    def test_nothing_is_sent_to_nowhere(self, remote: Address, mux: bool) -> None:
        side = Side(None)
        side.latch.retarget(remote)
        side.channel.adopt(Rtcp((remote[0], remote[1] + 1), mux))
        assert side.run(30) == []
        assert side.channel.destination is None

    def test_what_is_in_a_report(self) -> None:
        side = Side(MUXED)
        side.channel._wall = lambda: 1.7e9
        sender, description = rtcp.parse(side.run(30)[0][0])
        assert isinstance(sender, SenderReport) and isinstance(description, SourceDescription)
        assert (sender.ssrc, sender.rtp_timestamp, sender.packets, sender.octets) == (OURS, 4711, 1, 160)
        assert sender.ntp == rtcp.ntp_time(1.7e9)

    def test_each_call_has_a_name_of_its_own(self) -> None:
        names = {rtcp.parse(Side(MUXED).run(30)[0][0])[1] for _ in range(5)}
        assert len(names) == 5


class TestWhoseReportsAreTaken:
    def test_the_callers_on_the_port_of_rtp(self) -> None:
        side = Side(MUXED)
        assert side.come_muxed(report(), SDP) == ""
        assert (side.reporter.remote_lost, side.stats.dropped) == (3, {})

    @pytest.mark.parametrize("source", [("192.0.2.1", 4001), NAT])
    def test_not_those_of_others_on_that_port(self, source: Address) -> None:
        side = Side(MUXED)
        side.come_muxed(report(), source)
        assert (side.reporter.remote_lost, side.stats.dropped) == (None, {"stranger": 1})

    def test_not_on_the_port_of_rtp_where_that_was_not_agreed_on(self) -> None:
        side = Side(APART)
        assert side.come_muxed(report(), SDP) == "rtcp"
        assert side.reporter.reports_received == 0

    def test_from_any_port_of_the_callers_host_on_our_own(self) -> None:
        side = Side(APART)
        side.come(report(), (SDP[0], 999))
        assert (side.reporter.remote_lost, side.stats.dropped) == (3, {})

    @pytest.mark.parametrize("source", [("198.51.100.1", 4055), (NAT[0], 4055)])
    def test_not_from_other_hosts(self, source: Address) -> None:
        side = Side(APART)
        side.come(report(), source)
        assert (side.reporter.reports_received, side.stats.dropped) == (0, {"stranger": 1})

    @pytest.mark.parametrize(
        ("datagram", "reason"),
        [(b"", "short"), (b"\x00" * 8, "version"), (report()[:-4], "length"), (b"\x80\x00\x00\x01" + bytes(4), "type")],
    )
    def test_what_is_none_is_counted_by_its_fault(self, datagram: bytes, reason: str) -> None:
        side = Side(APART)
        side.come(datagram, SDP_RTCP)
        assert side.stats.dropped == {f"rtcp_{reason}": 1}

    def test_an_icmp_error_is_counted_and_the_next_datagram_read(self) -> None:
        side = Side(APART)
        side.own.waiting.append(ConnectionRefusedError())
        side.come(report(), SDP_RTCP)
        assert (side.stats.dropped, side.reporter.reports_received) == ({"icmp": 1}, 1)

    def test_a_flood_holds_the_loop_for_a_bounded_batch(self) -> None:
        side = Side(APART)
        side.own.waiting.extend([(report(), SDP_RTCP)] * (2 * BATCH))
        side.channel._read()
        assert side.reporter.reports_received == BATCH

    def test_what_is_longer_than_a_frame_is_no_report(self) -> None:
        side = Side(APART)
        words = (LARGEST + 4) // 4
        side.come(b"\x80\xcc" + words.to_bytes(2) + bytes(4 * words), SDP_RTCP)
        assert side.reporter.reports_received == 0


class TestBehindANat:
    def test_where_a_report_about_us_came_from_is_where_ours_go(self) -> None:
        side = Side(APART)
        side.behind_nat()
        side.come(report(), NAT_RTCP)
        assert side.channel.destination == NAT_RTCP
        assert {to for _, to in side.run(30)} == {NAT_RTCP}

    def test_not_of_a_report_about_somebody_else(self) -> None:
        side = Side(APART)
        side.behind_nat()
        side.come(report(OURS + 1), NAT_RTCP)
        side.come(rtcp.receiver_report(CALLER, None), NAT_RTCP)
        assert side.channel.destination == (NAT[0], NAT[1] + 1)

    def test_not_of_one_that_is_malformed(self) -> None:
        side = Side(APART)
        side.behind_nat()
        side.come(report(), (NAT[0], 1))
        side.come(report()[:-1], NAT_RTCP)
        assert side.channel.destination == (NAT[0], 1)

    def test_not_while_the_description_is_right(self) -> None:
        side = Side(APART)
        side.latch.accept(SDP, RtpPacket(0, False, 1, 0, CALLER, b""), side.now)
        side.come(report(), (SDP[0], 50_123))
        assert side.reporter.heard_about_us
        assert side.channel.destination == SDP_RTCP

    def test_new_terms_begin_anew_and_the_same_ones_do_not(self) -> None:
        side = Side(APART)
        side.behind_nat()
        side.come(report(), NAT_RTCP)
        side.channel.adopt(replace(APART))
        assert side.channel.destination == NAT_RTCP
        side.channel.adopt(Rtcp((SDP[0], 4077)))
        assert side.channel.destination == (NAT[0], NAT[1] + 1)


class TestPort:
    def test_it_is_opened_once_and_closed_when_it_is_not_needed(self) -> None:
        side = Side(APART)
        side.channel.adopt(Rtcp((SDP[0], 4077)))
        assert (side.opened, side.own.closed) == (1, 0)
        side.channel.adopt(MUXED)
        assert (side.opened, side.own.closed) == (1, 1)
        side.come_muxed(report(), SDP)
        assert side.reporter.reports_received == 1
        side.channel.adopt(APART)
        assert side.opened == 2
        side.channel.adopt(None)
        assert side.own.closed == 2
        assert side.endpoint.on_rtcp is None

    async def test_it_is_read_by_the_running_loop(self) -> None:
        own, peer = udp_socket(), udp_socket()
        terms = Rtcp(peer.getsockname())
        with Line(rtcp=terms, open_rtcp=lambda: own) as line:
            line.tick(400)
            datagram = peer.recv(2000)
            assert isinstance(rtcp.parse(datagram)[0], SenderReport)
            ssrc = line.stream._down.writer.ssrc
            peer.sendto(rtcp.receiver_report(CALLER, block(ssrc, jitter=160)), own.getsockname())
            reports = line.stream.stats.reports
            assert reports is not None
            await until(lambda: reports.remote_jitter_ms == 20)
        assert own.fileno() == -1
        peer.close()


class TestGoodbye:
    @pytest.mark.parametrize("terms", [MUXED, APART])
    def test_the_last_report_says_so_and_goes_where_the_others_went(self, terms: Rtcp) -> None:
        side = Side(terms)
        side.run(20)
        side.channel.close(4712)
        datagram, to = (side.own if terms is APART else side.rtp).sent[-1]
        assert to == (SDP_RTCP if terms is APART else SDP)
        assert rtcp.parse(datagram)[-1] == Goodbye((OURS,))
        assert side.own.closed == (terms is APART)

    def test_a_second_close_does_nothing(self) -> None:
        side = Side(APART)
        side.channel.close(0)
        side.channel.close(0)
        assert (len(side.own.sent), side.own.closed) == (1, 1)
        assert side.rtp.sent == []

    def test_nothing_leaves_and_nothing_is_read_after_it(self) -> None:
        side = Side(MUXED)
        side.channel.close(0)
        assert side.run(60) == []
        assert side.come_muxed(report(), SDP) == "rtcp"

    def test_who_never_said_anything_says_no_goodbye(self) -> None:
        side = Side(MUXED, talks=False)
        side.channel.close(0)
        assert side.rtp.sent == []


class TestProtected:
    def test_reports_are_sealed_and_opened(self) -> None:
        side = Side(MUXED)
        side.endpoint.protect(Opener(SUITE, KEYS.receive), Sealer(SUITE, KEYS.send))
        sent = [datagram for datagram, _ in side.run(30)]
        peer = Opener(SUITE, KEYS.send)
        assert all(
            isinstance(rtcp.parse(peer.open_report(datagram))[0], SenderReport | ReceiverReport) for datagram in sent
        )
        with pytest.raises(rtcp.RtcpError):
            [rtcp.parse(datagram) for datagram in sent]
        side.come_muxed(Sealer(SUITE, KEYS.receive).seal_report(report()), SDP)
        assert side.reporter.remote_lost == 3

    @pytest.mark.parametrize("terms", [MUXED, APART])
    def test_what_is_forged_plain_or_sent_again_is_dropped(self, terms: Rtcp) -> None:
        side = Side(terms)
        side.endpoint.protect(Opener(SUITE, KEYS.receive), Sealer(SUITE, KEYS.send))
        come = side.come if terms is APART else side.come_muxed
        good = Sealer(SUITE, KEYS.receive).seal_report(report())
        for datagram in (report(), Sealer(SUITE, b"x" * 30).seal_report(report()), good[:-1] + b"?", good, good):
            come(datagram, SDP)
        assert side.stats.dropped == {"srtp_auth": 3, "srtp_replay": 1}
        assert side.reporter.reports_received == 1

    def test_a_forged_report_moves_nothing_behind_a_nat(self) -> None:
        side = Side(APART)
        side.behind_nat()
        side.endpoint.protect(Opener(SUITE, KEYS.receive), Sealer(SUITE, KEYS.send))
        side.come(report(), NAT_RTCP)
        assert side.channel.destination == (NAT[0], NAT[1] + 1)


class TestTheStream:
    """The same in a call."""

    async def test_no_report_leaves_before_the_caller_has_shown_that_he_is_there(self) -> None:
        phone = Phone()
        with Line(phone=phone, rtcp=Rtcp(phone.address, mux=True)) as line:
            phone.received()
            line.stream.permitted = False
            line.tick(3000)
            with pytest.raises(BlockingIOError):
                phone.sock.recv(2000)
            line.phone.send(bytes(160))
            await until(lambda: line.stream.permitted)
            line.tick(500)
            datagrams = []
            while len(datagrams) < 500:
                try:
                    datagrams.append(phone.sock.recv(2000))
                except BlockingIOError:
                    break
        assert 1 <= sum(200 <= datagram[1] <= 204 for datagram in datagrams) <= 4

    async def test_who_is_turned_away_before_hears_no_goodbye(self) -> None:
        line = Line(rtcp=Rtcp((HOST, 9), mux=True))
        line.stream.permitted = False
        with line:
            line.phone.received()
            line.tick(1000)
            line.stream.close()
            with pytest.raises(BlockingIOError):
                line.phone.sock.recv(2000)

    async def test_reports_tell_of_both_directions_and_end_with_a_goodbye(self) -> None:
        phone = Phone()
        with Line(phone=phone, rtcp=Rtcp(phone.address, mux=True)) as line:
            for _ in range(10):
                phone.send(bytes(160))
            await until(lambda: len(line.audio) == 10)
            line.tick(100)
            line.stream.close()
            datagrams = []
            while True:
                try:
                    datagrams.append(phone.sock.recv(2000))
                except BlockingIOError:
                    break
        audio = [datagram for datagram in datagrams if datagram[1] & 0x7F == 0]
        *_, goodbye = rtcp.parse(datagrams[-1])
        first = rtcp.parse(datagrams[-1])[0]
        assert isinstance(goodbye, Goodbye)
        assert isinstance(first, SenderReport)
        assert (first.packets, first.octets) == (len(audio), 160 * len(audio))
        ours = int.from_bytes(audio[0][8:12])
        assert goodbye.ssrcs == (ours,) == (first.ssrc,)
        assert CODECS["PCMU"].clock_rate == line.stream.stats.reports.clock_rate  # type: ignore[union-attr]
        assert any(packet.blocks[0].ssrc == CALLER for packet in _reports(datagrams) if packet.blocks)


def _reports(datagrams: list[bytes]) -> list[SenderReport | ReceiverReport]:
    found = []
    for datagram in datagrams:
        if 200 <= datagram[1] <= 204:
            found += [packet for packet in rtcp.parse(datagram) if isinstance(packet, SenderReport | ReceiverReport)]
    return found
