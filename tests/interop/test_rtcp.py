"""RTCP with real peers: both sides report, the reports are well formed, and both tell the same of one call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.likeness import voice
from tests.phones.asterisk import Asterisk
from tests.phones.baresip import Baresip
from tests.phones.linphone import Linphone
from tests.phones.rtcp import GOODBYE, RECEIVER, SENDER, Sniffer, is_protected, parse
from tests.service.rig import Service, bench, ended

pytestmark = pytest.mark.interop

AGENT = {"codecs": ["opus", "pcmu"]}
RECEIVED = 'sipbridge_rtcp_reports_total{direction="received"}'
SENT = 'sipbridge_rtcp_reports_total{direction="sent"}'
NEAR_MS = 15
"""The newest report of the other side is some seconds old."""
LONGEST_S = 30
"""Peers report every 5 s or so, and for a round trip a report must come back."""


@pytest.fixture
def sniffer() -> Iterator[Sniffer]:
    """What passes over loopback; the test is skipped where that may not be seen."""
    try:
        with Sniffer() as running:
            yield running
    except PermissionError:
        pytest.skip("only root may look at the packets on loopback")


async def reported(service: Service, count: int = 2) -> None:
    """Until both sides have reported that often."""
    await service.until(RECEIVED, count, LONGEST_S)
    await service.until(SENT, count, LONGEST_S)


def assert_sane(told: dict[str, Any]) -> None:
    """On loopback nothing is lost, and nothing takes long."""
    assert told["mos_in"] > 4.3 and told["mos_out"] > 4.3
    assert told["loss_in"] == told["loss_out"] == 0
    assert 0 <= told["jitter_in_ms"] < 50 and 0 <= told["jitter_out_ms"] < 50
    assert 0 <= told["round_trip_ms"] < 100


class Seen:
    """What passed between the service and one peer: RTP goes by even ports, RTCP by odd ones, unless multiplexed."""

    def __init__(self, service: Service, sniffer: Sniffer, *, mux: bool) -> None:
        text = re.search(r"ports: '?(\d+)-(\d+)", (service.folder / "sipbridge.yaml").read_text())
        assert text is not None
        ports = range(int(text[1]), int(text[2]) + 1)
        self.ours: list[bytes] = []
        self.theirs: list[bytes] = []
        for source, destination, datagram in sniffer.datagrams(ports):
            assert (source % 2, destination % 2) == ((0, 0) if mux else (1, 1)), "not on the port that was agreed on"
            if source in ports:
                self.ours.append(datagram)
            elif datagram[1] in (SENDER, RECEIVER):
                # What opens a NAT, and a BYE, baresip sends alone, against section 6.1, and in clear.
                self.theirs.append(datagram)

    def assert_both_report(self) -> None:
        """All of ours is well formed, and each side speaks of the other's stream, of which nothing is lost."""
        ours = [parse(datagram) for datagram in self.ours]
        theirs = [parse(datagram) for datagram in self.theirs]
        assert len(ours) >= 2 and len(theirs) >= 2
        assert [report.kind for report in ours[-1]][-1] == GOODBYE
        assert not any(report.kind == GOODBYE for datagram in ours[:-1] for report in datagram)
        for some, others in ((ours, theirs), (theirs, ours)):
            reports = [report for datagram in some for report in datagram]
            sent = [report.packets for report in reports if report.kind == SENDER]
            blocks = [block for report in reports for block in report.blocks]
            assert sent and sent == sorted(sent)
            assert blocks and {block[0] for block in blocks} == {others[0][0].ssrc}
            assert {block[1:3] for block in blocks} == {(0, 0)}


BARESIP = {
    # codec, RTCP on the port of RTP, SRTP
    "odd port": ("PCMU", False, ""),
    "mux": ("opus", True, ""),
    "srtcp": ("PCMU", False, "srtp-mand"),
    "srtcp, mux": ("opus", True, "srtp-mand"),
}


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize("case", BARESIP)
async def test_baresip_and_we_tell_each_other(tmp_path: Path, sniffer: Sniffer, case: str) -> None:
    codec, mux, encryption = BARESIP[case]
    trunks = {"phones": {"peers": ["127.0.0.0/8"], "srtp": "required" if encryption else "off"}}
    pcm = voice(48000 if codec == "opus" else 8000)
    more = {"codec": codec, "mux": mux, "encryption": encryption}
    async with bench(tmp_path, "vad: false", agent=AGENT, trunks=trunks) as (service, server):
        async with await Baresip.start(tmp_path / "phone", pcm=pcm, seconds=40, **more) as phone:
            await phone.dial(service.uri())
            await reported(service, 3)  # the first is the one for its NAT
            await phone.hang_up()
            await ended(server.sessions[0])
            own = [event["rtcp_stats"] for event in phone.events if event.get("type") == "CALL_RTCP"][-1]
        told = await told_at_the_end(service)
    assert_sane(told)
    assert own["tx"]["lost"] == own["rx"]["lost"] == 0
    assert 0 < own["rx"]["sent"] <= told["packets_out"] and 0 < own["tx"]["sent"] <= told["packets_in"]
    seen = Seen(service, sniffer, mux=mux)
    if encryption:
        assert seen.ours and seen.theirs and all(map(is_protected, seen.ours + seen.theirs))
    else:
        seen.assert_both_report()


async def told_at_the_end(service: Service) -> dict[str, Any]:
    """The log line of the one call, which the caller ended."""
    await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
    (told,) = service.events("call.ended")
    return told


@pytest.mark.parametrize("endpoint", ["trunk", "trunk-mux", "trunk-opus"])
async def test_asterisk_and_we_tell_each_other(tmp_path: Path, pbx: Asterisk, sniffer: Sniffer, endpoint: str) -> None:
    async with bench(tmp_path, "vad: false", agent=AGENT) as (service, server):
        await pbx.originate(endpoint, service.uri(), "801")
        await reported(service)
        live = await pbx.cli("pjsip show channelstats")
        await pbx.hang_up_all()
        await ended(server.sessions[0])
        told = await told_at_the_end(service)
        own = await pbx.rtcp()
        await pbx.until_quiet()
    assert_sane(told)
    Seen(service, sniffer, mux=endpoint == "trunk-mux").assert_both_report()
    # Its own count of both directions: what it lost of ours, what it heard of its own being lost.
    assert own["lp"] == own["rlp"] == 0
    assert abs(own["rxcount"] - told["packets_out"]) <= 1 and abs(own["txcount"] - told["packets_in"]) <= 1
    assert abs(1000 * own["rxjitter"] - told["jitter_out_ms"]) < NEAR_MS
    assert abs(1000 * own["txjitter"] - told["jitter_in_ms"]) < NEAR_MS
    row = re.search(rf"{endpoint}-\S+\s+\S+\s+\S+\s+(\d+)\s+(\d+)\s+\d+\s+\S+\s+(\d+)\s+(\d+)", live)
    assert row is not None and int(row[1]) > 100 and int(row[3]) > 100 and (row[2], row[4]) == ("0", "0"), live


@pytest.mark.parametrize("mux", [False, True], ids=["odd port", "mux"])
async def test_linphone_and_we_tell_each_other(tmp_path: Path, linphone: str, sniffer: Sniffer, mux: bool) -> None:
    more: dict[str, Any] = {"pcm": voice(48000), "rate": 48000, "codecs": ("opus",), "mux": mux}
    async with bench(tmp_path, "vad: false", agent=AGENT) as (service, server):
        async with await Linphone.start(tmp_path / "phone", **more) as phone:
            await phone.dial(service.uri())
            await reported(service)
            await phone.hang_up()
            await ended(server.sessions[0])
        told = await told_at_the_end(service)
    assert_sane(told)
    Seen(service, sniffer, mux=mux).assert_both_report()
