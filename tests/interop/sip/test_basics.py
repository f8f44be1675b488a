"""What every call needs, SIPp calling: answer, hang-up, CANCEL, repeats, ACKs that are odd or missing, refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.transaction import Timers
from bridge.sip.ua import UserAgent
from tests.sip.phone import Answering, port_of, until

from .scenario import Sipp
from .serving import serving, when_confirmed

pytestmark = pytest.mark.phone

PLAIN = {
    "uri": "sip:[service]@[remote_ip]:[remote_port]",
    "extra": "X-Test: 1",
    "kind": "application/sdp",
    "max": "70",
    "to": "",
    "formats": "RTP/AVP 0 101",
}


async def test_the_caller_hangs_up(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("bye_from_caller", port_of(service), calls=20)
        await until(lambda: application.ended == ["bye"] * 20)
        assert application.confirmed == 20
        assert service.stats.dropped == {}


@pytest.mark.parametrize("scenario", ["bye_from_called", "strange_ack", "delayed_offer"])
async def test_the_called_side_hangs_up(phone: Sipp, scenario: str) -> None:
    application = Answering()
    when_confirmed(application, Invitation.hang_up)
    async with serving(application) as service:
        await phone.call(scenario, port_of(service))
        await until(lambda: application.ended == ["hung_up"])


async def test_cancel(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with serving(application) as service:
        await phone.call("cancel", port_of(service))
        await until(lambda: application.ended == ["cancelled"])


async def test_a_repeated_invite_is_one_call(sipp: str, tmp_path: Path) -> None:
    phone = Sipp(sipp, tmp_path, "udp")  # Over TCP it takes no repeat for one.
    application = Answering()
    application.take = Invitation.ring

    async def answer_after_the_first_repeat(service: UserAgent) -> None:
        await until(lambda: service.stats.retransmissions_received)
        application.answer(application.calls[0])

    async with serving(application) as service:
        answering = asyncio.create_task(answer_after_the_first_repeat(service))
        await phone.call("repeated_invite", port_of(service))
        await answering
        await until(lambda: application.ended == ["bye"])
        assert len(application.calls) == 1
        # SIPp answers each repeated 180 with one more INVITE, so there are many.
        assert service.stats.retransmissions_received >= 1


async def test_a_merged_invite(phone: Sipp) -> None:
    application = Answering()
    application.take = Invitation.ring
    async with serving(application) as service:
        await phone.call("merged_invite", port_of(service))
        await until(lambda: application.ended == ["cancelled"])
        assert len(application.calls) == 1


async def test_the_ack_never_comes(sipp: str, tmp_path: Path) -> None:
    phone = Sipp(sipp, tmp_path, "udp")  # Over TCP it takes no repeat for one.
    application = Answering()
    async with serving(application, timers=Timers(t1=0.02, t2=0.08, t4=0.1)) as service:
        await phone.call("no_ack", port_of(service))
        await until(lambda: application.ended == ["ack_timeout"])
        assert service.stats.retransmissions_sent > 5


async def test_reinvites(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("reinvite", port_of(service))
        await until(lambda: application.ended == ["bye"])
        assert service.stats.answers[488] == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_options(phone: Sipp, status: int) -> None:
    async with serving(availability=lambda: status) as service:
        await phone.call("options", port_of(service), status=str(status))


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (400, {"extra": "Content-Type: text/plain"}),
        (415, {"kind": "text/plain"}),
        (416, {"uri": "mailto:x@y"}),
        (420, {"extra": "Require: path"}),
        (481, {"to": ";tag=nobody"}),
        (488, {"formats": "RTP/AVP 18"}),
        (488, {"formats": "RTP/SAVP 0"}),
    ],
)
async def test_refused_invites(phone: Sipp, status: int, changes: dict[str, str]) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("refused_invite", port_of(service), status=str(status), **{**PLAIN, **changes})
        assert application.confirmed == 0
        assert service.stats.answers[status] == 1


@pytest.mark.parametrize(
    ("method", "to", "status"),
    [
        ("REGISTER", "", 405),
        ("BYE", ";tag=nobody", 481),
        ("BYE", "", 481),
        ("CANCEL", "", 481),
        ("INFO", ";tag=nobody", 481),
        ("FROB", "", 501),
    ],
)
async def test_refused_requests(phone: Sipp, method: str, to: str, status: int) -> None:
    async with serving() as service:
        await phone.call("refused_request", port_of(service), method=method, to=to, status=str(status))
        assert service.stats.answers == {status: 1}
