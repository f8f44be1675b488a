"""Calls over UDP and TCP: many in one connection, one for each, and our own over what stands (RFC 3261 section 18)."""

from __future__ import annotations

from pathlib import Path

import pytest

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
