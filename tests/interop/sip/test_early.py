"""Before the answer: early media both ways, and reliable provisional answers in both roles (RFC 3262)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.policy import Policy
from bridge.sip.transaction import Timers
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, described, serving

pytestmark = pytest.mark.phone


def describes_early(application: Answering, *, answers: bool = True) -> None:
    """Make the application send its description in a 183 and, in the same turn, answer."""

    def take(call: Invitation) -> None:
        sdp = described(application, call)
        call.progress(sdp)
        if answers:
            call.answer(sdp)

    application.take = take


async def test_our_description_comes_early(phone: Sipp) -> None:
    application = Answering()
    describes_early(application)
    async with serving(application) as service:
        await phone.call("early_in", port_of(service))
        await until(lambda: application.ended == ["bye"])
        assert "PRACK" not in service.stats.received


async def test_the_description_of_the_far_end_comes_early(phone: Sipp) -> None:
    slots = {"status": "200 OK", "then": "@HEARS_BYE@"}
    async with serving() as service, phone.answer("early_out", **slots) as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        await until(lambda: story.over)
        assert story.heard == [180, 183, "early media", "answered", "hung_up"]
        # The 200 had no description: the one of the 183 is the answer.
        assert story.answer is not None and story.answer.media[0].port >= 6000


async def test_early_media_and_then_nobody_there(phone: Sipp) -> None:
    slots = {"status": "404 Not Found", "then": ""}
    async with serving() as service, phone.answer("early_out", **slots) as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        await until(lambda: story.over)
        assert story.heard == [180, 183, "early media", (404, "not_found")]


@pytest.mark.parametrize("wish", ["Require: 100rel", "Supported: 100rel"])
async def test_our_early_description_waits_for_its_prack(phone: Sipp, wish: str) -> None:
    application = Answering()
    describes_early(application)
    async with serving(application, timers=Timers(t1=0.05)) as service:
        # Over UDP SIPp takes the second 183 for its own business.
        again = '<pause milliseconds="120"/>' if phone.transport == "udp" else '<recv response="183"/>'
        await phone.call("reliable_in", port_of(service), wish=wish, again=again)
        await until(lambda: application.ended == ["bye"])
        assert service.stats.received["PRACK"] == 2
        assert service.stats.retransmissions_sent >= 1


async def test_a_prack_that_never_comes(phone: Sipp) -> None:
    application = Answering()
    describes_early(application)
    async with serving(application, timers=Timers(t1=0.01)) as service:
        await phone.call("unreliable_in", port_of(service))
        await until(lambda: application.ended == ["prack_timeout"])
        assert service.stats.retransmissions_sent >= 5


async def test_the_far_end_rings_reliably(phone: Sipp) -> None:
    async with serving() as service, phone.answer("reliable_out") as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        await until(lambda: story.over)
        assert story.heard == [183, "early media", 180, "answered", "hung_up"]
        assert service.stats.sent["PRACK"] == 2


async def test_a_caller_without_it_where_it_is_required(phone: Sipp) -> None:
    application = Answering()
    async with serving(application, policy=Policy(reliable="required")) as service:
        await phone.call("refused_in", port_of(service), status="421", expect="Require: 100rel")
        assert application.calls == []


async def test_a_caller_that_requires_it_where_it_is_off(phone: Sipp) -> None:
    application = Answering()
    async with serving(application, policy=Policy(reliable="off")) as service:
        await phone.call(
            "refused_in", port_of(service), headers="Require: 100rel", status="420", expect="Unsupported: 100rel"
        )
        assert application.calls == []
