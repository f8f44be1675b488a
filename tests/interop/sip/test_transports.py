"""Calls over UDP and TCP: many in one connection, one for each, and our own over what stands (RFC 3261 section 18)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bridge.sip.offer_answer import answer, offer
from bridge.sip.sdp import SessionDescription
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import BLOCKS, Sipp
from .serving import Story, serving, when_confirmed

pytestmark = pytest.mark.phone

CALLS = 20


@pytest.mark.parametrize(("transport", "connections"), [("udp", 0), ("tcp", 1), ("tcp-each", CALLS)])
async def test_many_calls_at_once(sipp: str, tmp_path: Path, transport: str, connections: int) -> None:
    application = Answering()
    async with serving(application) as service:
        await Sipp(sipp, tmp_path, transport).call("plain", port_of(service), calls=CALLS)
        await until(lambda: application.ended == ["bye"] * CALLS)
        assert service.stats.dropped == {}
        assert sum(stream.stats.accepted for stream in service.listeners.streams) == connections
        assert sum(stream.stats.opened for stream in service.listeners.streams) == 0


async def test_our_bye_takes_the_connection_of_the_call(sipp: str, tmp_path: Path) -> None:
    application = Answering()
    when_confirmed(application, lambda call: call.hang_up())
    async with serving(application) as service:
        await Sipp(sipp, tmp_path, "tcp-each").call("hung_up", port_of(service), calls=CALLS)
        await until(lambda: application.ended == ["hung_up"] * CALLS)
        assert sum(stream.stats.opened for stream in service.listeners.streams) == 0


async def test_our_bye_takes_the_connection_where_the_contact_leads_nowhere(sipp: str, tmp_path: Path) -> None:
    application = Answering()
    when_confirmed(application, lambda call: call.hang_up())
    caller = BLOCKS["CALLER"].replace("[local_port];transport", "9;transport")
    async with serving(application) as service:
        await Sipp(sipp, tmp_path, "tcp").call("hung_up", port_of(service), caller=caller)
        await until(lambda: application.ended == ["hung_up"])
        assert sum(stream.stats.opened for stream in service.listeners.streams) == 0


async def test_our_calls_share_one_connection(sipp: str, tmp_path: Path) -> None:
    async with serving() as service, Sipp(sipp, tmp_path, "tcp").answer("taken", calls=CALLS) as uri:
        stories = [Story(service.invite(uri, sdp=OFFER)) for _ in range(CALLS)]
        await until(lambda: all(story.over for story in stories))
        assert [story.heard for story in stories] == [["answered", "hung_up"]] * CALLS
        assert sum(stream.stats.opened for stream in service.listeners.streams) == 1


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


class OverIpv6(Answering):
    """An application that hears on ::1."""

    def describe(self, description: SessionDescription | None) -> bytes | int:
        assert description is not None
        return bytes(answer(description, "::1", 41000, session_id=3)[0])


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_both_ways_over_ipv6(sipp: str, tmp_path: Path, transport: str) -> None:
    application = OverIpv6()
    when_confirmed(application, lambda call: call.hang_up())
    phone = Sipp(sipp, tmp_path, transport, "::1")
    async with serving(application, host="::1") as service:
        await phone.call("hung_up", port_of(service))
        await until(lambda: application.ended == ["hung_up"])
        async with phone.another().answer("taken") as uri:
            story = Story(service.invite(uri, sdp=bytes(offer("::1", 41002, session_id=4))))
            await until(lambda: story.over)
            assert story.heard == ["answered", "hung_up"]
