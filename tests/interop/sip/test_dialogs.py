"""Dialogs: their making by forks, their target, their order, their early end (RFC 3261 section 12 and 13)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from tests.sip.phone import OFFER, Answering, agent, port_of, until

from .scenario import Sipp

pytestmark = pytest.mark.phone


async def test_the_second_answer_of_a_fork_gets_ack_and_bye(phone: Sipp) -> None:
    async with agent() as service, phone.answer("fork_out") as uri:
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
    async with agent(application) as service:

        def moved(*_: object) -> bytes | int:
            # After the ACK to our 200, which the next turns of the loop bring.
            service._core.after(0.05, application.calls[0].hang_up)
            return application.describe(application.calls[0].offer)

        take = application.take
        application.take = lambda call: (setattr(call, "on_offer", moved), take(call))[0]
        await phone.call("target_in", port_of(service))
        await until(lambda: application.ended == ["hung_up"])


async def test_the_target_moves_with_the_answer_to_our_reinvite(phone: Sipp) -> None:
    async with agent() as service, phone.answer("target_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        ended: list[str] = []
        call.on_ended = ended.append
        call.on_answered = lambda description: call.reinvite(OFFER, lambda status, answer: call.hang_up())
        await until(lambda: ended)
        assert ended == ["hung_up"]


async def test_requests_out_of_order_are_refused(phone: Sipp) -> None:
    application = Answering()
    async with agent(application) as service:
        await phone.call("order", port_of(service))
        await until(lambda: application.ended == ["bye"])
        assert service.stats.answers[500] == 2
        assert service.stats.answers[481] == 1


async def test_bye_in_an_early_dialog(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with agent(application) as service:
        await phone.call("early_bye", port_of(service))
        await until(lambda: application.ended == ["bye"])


async def test_we_give_up_while_it_rings(phone: Sipp) -> None:
    async with agent() as service, phone.answer("cancel_out") as uri:
        call = service.invite(uri, sdp=OFFER)
        failed: list[int] = []
        call.on_failed = lambda status, phrase: failed.append(status)
        call.on_ringing = lambda status: call.cancel()
        await until(lambda: failed)
        assert failed == [487]


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (404, "Not Found"),
        (480, "Temporarily Unavailable"),
        (486, "Busy Here"),
        (500, "Server Internal Error"),
        (600, "Busy Everywhere"),
        (603, "Decline"),
    ],
)
async def test_our_call_is_refused(phone: Sipp, status: int, phrase: str) -> None:
    async with agent() as service, phone.answer("refused_out", status=f"{status} {phrase}") as uri:
        call = service.invite(uri, sdp=OFFER)
        failed: list[tuple[int, str]] = []
        call.on_failed = lambda *words: failed.append(words)
        await until(lambda: failed)
        assert failed == [(status, phrase)]
