"""Both sides offer at once: 491, and the wait of RFC 3261 section 14.1. Its lengths are in tests/sip/test_glare.py."""

from __future__ import annotations

import asyncio

import pytest

from bridge.sip.invitation import Invitation
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Clock, Story, described, serving, when_confirmed

pytestmark = pytest.mark.phone


async def test_both_offer_in_a_call_of_the_peer(phone: Sipp) -> None:
    application = Answering()
    results: list[int] = []

    def offer_too(call: Invitation) -> None:
        call.reinvite(described(application, call), lambda status, answer: results.append(status))

    when_confirmed(application, offer_too)
    clock = Clock()
    async with serving(application, clock=clock) as service:
        playing = asyncio.create_task(phone.call("glare_in", port_of(service)))
        await until(lambda: playing.done() or service.stats.responses.get(491))
        clock.skip(service, 2.0)
        await playing
        await until(lambda: application.ended == ["bye"])
        assert results == [200]
        assert service.stats.answers[491] == 1


async def test_the_peer_offers_too_in_a_call_of_ours(phone: Sipp) -> None:
    clock = Clock()
    results: list[int] = []
    async with serving(clock=clock) as service, phone.answer("glare_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)

        def offered(status: int, answer: object) -> None:
            results.append(status)
            call.hang_up()

        story.then = lambda call: call.reinvite(OFFER, offered)
        await until(lambda: service.stats.responses.get(491))
        assert results == []
        clock.skip(service, 4.0)
        await until(lambda: story.over)
        assert (results, story.heard) == ([200], ["answered", "hung_up"])
