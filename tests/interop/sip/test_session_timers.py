"""Session timers in both roles (RFC 4028), with a clock that the tests put forward."""

from __future__ import annotations

import asyncio

import pytest

from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Clock, Story, serving

pytestmark = pytest.mark.phone

BY_UPDATE = "INVITE, ACK, BYE, CANCEL, UPDATE"
BY_INVITE = "INVITE, ACK, BYE, CANCEL"

REFRESHED = """<recv request="@METHOD@">
  <action>
    <ereg regexp="^ *@SECONDS@ *; *refresher=uac" search_in="hdr" header="Session-Expires:"
          check_it="true" assign_to="9"/>
  </action>
</recv>
<send><![CDATA[
SIP/2.0 200 OK
@INSIDE@
Require: timer
Session-Expires: @SECONDS@;refresher=uac
@SAID@
]]></send>
@ACKED@"""
BY = {
    "UPDATE": {"method": "UPDATE", "allow": BY_UPDATE, "said": "@EMPTY@", "acked": ""},
    "INVITE": {"method": "INVITE", "allow": BY_INVITE, "said": "@BODY@\n@SDP@", "acked": '<recv request="ACK"/>'},
}
SECOND = REFRESHED.replace('assign_to="9"', 'assign_to="10"')
USED = '<Reference variables="9,10"/>'
EXPIRES = """<recv request="BYE">
  <action>
    <ereg regexp="cause=408" search_in="hdr" header="Reason:" check_it="true" assign_to="9"/>
  </action>
</recv>
<send><![CDATA[
SIP/2.0 200 OK
@INSIDE@
@EMPTY@
]]></send>
<Reference variables="9"/>"""


async def test_an_interval_that_is_too_short(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("timer_short", port_of(service))
        await until(lambda: application.ended[-1:] == ["bye"])


@pytest.mark.parametrize("method", BY)
async def test_we_refresh_a_call_of_the_peer(phone: Sipp, method: str) -> None:
    application, clock = Answering(), Clock()
    async with serving(application, clock=clock) as service:
        slots = {"refresher": "uas", "then": f"{REFRESHED}{SECOND}@HANGS_UP@{USED}", "seconds": "90", **BY[method]}
        playing = asyncio.create_task(phone.call("timer_in", port_of(service), **slots))
        sent = service.stats.sent
        await until(lambda: playing.done() or application.confirmed)
        for count in (1, 2):
            assert sent.get(method, 0) == count - 1
            clock.skip(service, 46)
            await until(lambda count=count: playing.done() or sent.get(method) == count)
            await until(lambda count=count: playing.done() or service.stats.responses.get(200) == count)
        await playing
        await until(lambda: application.ended == ["bye"])


async def test_the_peer_never_refreshes_its_call(phone: Sipp) -> None:
    application, clock = Answering(), Clock()
    async with serving(application, clock=clock) as service:
        slots = {"refresher": "uac", "then": EXPIRES, "allow": BY_UPDATE}
        playing = asyncio.create_task(phone.call("timer_in", port_of(service), **slots))
        await until(lambda: playing.done() or application.confirmed)
        clock.skip(service, 50)
        await asyncio.sleep(0.02)
        assert application.ended == []
        clock.skip(service, 40)
        await playing
        await until(lambda: application.ended == ["session_expired"])


PEER_REFRESHES = """<pause milliseconds="50"/>
<send retrans="500"><![CDATA[
UPDATE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
@CALLER@
CSeq: 2 UPDATE
Supported: timer
Session-Expires: 90;refresher=uac
@EMPTY@
]]></send>
<recv response="200">
  <action>
    <ereg regexp="^ *90 *; *refresher=uac" search_in="hdr" header="Session-Expires:" check_it="true" assign_to="9"/>
  </action>
</recv>
@HEARS_BYE@
<Reference variables="9"/>"""


async def test_the_peer_refreshes_its_call(phone: Sipp) -> None:
    application, clock = Answering(), Clock()
    async with serving(application, clock=clock) as service:
        slots = {"refresher": "uac", "then": PEER_REFRESHES, "allow": BY_UPDATE}
        playing = asyncio.create_task(phone.call("timer_in", port_of(service), **slots))
        await until(lambda: playing.done() or application.confirmed)
        clock.skip(service, 50)
        await until(lambda: playing.done() or service.stats.received.get("UPDATE"))
        clock.skip(service, 50)
        await asyncio.sleep(0.02)
        assert application.ended == []
        application.calls[0].hang_up()
        await playing
        await until(lambda: application.ended == ["hung_up"])


@pytest.mark.parametrize("method", BY)
async def test_we_refresh_a_call_of_ours(phone: Sipp, method: str) -> None:
    clock = Clock()
    then = f'{REFRESHED}@HEARS_BYE@<Reference variables="9"/>'
    slots = {"refresher": "uac", "then": then, "seconds": "3600", **BY[method]}
    async with (
        serving(clock=clock) as service,
        phone.answer("timer_out", **slots) as uri,
    ):
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)
        story.then = lambda call: None
        await until(lambda: story.heard)
        before = service.stats.responses[200]
        clock.skip(service, 1801)
        await until(lambda: service.stats.responses[200] > before)
        call.hang_up()
        await until(lambda: story.over)
        assert story.heard == ["answered", "hung_up"]


async def test_the_far_end_never_refreshes_our_call(phone: Sipp) -> None:
    clock = Clock()
    slots = {"refresher": "uas", "then": EXPIRES, "allow": BY_UPDATE}
    async with serving(clock=clock) as service, phone.answer("timer_out", **slots) as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        story.then = lambda call: None
        await until(lambda: story.heard)
        clock.skip(service, 3600)
        await until(lambda: story.over)
        assert story.heard == ["answered", "session_expired"]
