"""Dialogs: their making by forks, their target, their order, their early end (RFC 3261 section 12 and 13)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, serving

pytestmark = pytest.mark.phone


async def test_the_second_answer_of_a_fork_gets_ack_and_bye(phone: Sipp) -> None:
    async with serving() as service, phone.answer("fork_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        answered: list[object] = []
        ended: list[str] = []
        call.on_answered = answered.append
        call.on_ended = ended.append
        await until(lambda: service.stats.sent.get("BYE") and service.stats.responses.get(200) == 3)
        call.hang_up()
        await until(lambda: ended)
        assert (len(answered), ended) == (1, ["hung_up"])


async def test_the_target_moves_with_a_reinvite(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:

        def moved(*_: object) -> bytes | int:
            # After the ACK to our 200, which the next turns of the loop bring.
            service.core.after(0.05, application.calls[0].hang_up)
            return application.describe(application.calls[0].offer)

        take = application.take
        application.take = lambda call: (setattr(call, "on_offer", moved), take(call))[0]
        await phone.call("target_in", port_of(service))
        await until(lambda: application.ended == ["hung_up"])


async def test_the_target_moves_with_the_answer_to_our_reinvite(phone: Sipp) -> None:
    async with serving() as service, phone.answer("target_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        ended: list[str] = []
        call.on_ended = ended.append
        call.on_answered = lambda description: call.reinvite(OFFER, lambda status, answer: call.hang_up())
        await until(lambda: ended)
        assert ended == ["hung_up"]


async def test_requests_out_of_order_are_refused(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("order", port_of(service))
        await until(lambda: application.ended == ["bye"])
        assert service.stats.answers[500] == 2
        assert service.stats.answers[481] == 1


async def test_bye_in_an_early_dialog(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with serving(application) as service:
        await phone.call("early_bye", port_of(service))
        await until(lambda: application.ended == ["bye"])


async def test_we_give_up_while_it_rings(phone: Sipp) -> None:
    async with serving() as service, phone.answer("cancel_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)
        call.on_ringing = lambda status: call.cancel()
        await until(lambda: story.over)
        assert story.heard == [(487, "cancelled")]


async def test_nobody_takes_the_call_in_time(phone: Sipp) -> None:
    async with serving() as service, phone.answer("cancel_out") as uri:
        story = Story(service.invite(uri, sdp=OFFER, ring_limit_s=0.1))
        await until(lambda: story.over)
        assert story.heard == [180, (487, "no_answer")]


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        ("404 Not Found", 404, "not_found"),
        ("408 Request Timeout", 408, "timeout"),
        ("410 Gone", 410, "gone"),
        ("480 Temporarily Unavailable", 480, "unreachable"),
        ("486 Busy Here", 486, "busy"),
        ("488 Not Acceptable Here", 488, "no_common_codec"),
        ("500 Server Internal Error", 500, "network"),
        ("500 Broken\nReason: Q.850;cause=17", 500, "busy"),
        ("503 Service Unavailable", 503, "overloaded"),
        ("600 Busy Everywhere", 600, "busy"),
        ("603 Decline", 603, "rejected"),
    ],
)
async def test_our_call_is_refused(phone: Sipp, answer: str, status: int, word: str) -> None:
    async with serving() as service, phone.answer("refused_out", status=answer) as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        await until(lambda: story.over)
        assert story.heard == [(status, word)]
