"""Digits in INFO, in and out (RFC 6086): application/dtmf-relay and application/dtmf."""

from __future__ import annotations

import pytest

from bridge.sip import info
from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, serving

pytestmark = pytest.mark.phone


@pytest.mark.parametrize(
    ("kind", "key", "status", "heard"),
    [
        ("application/dtmf-relay", "Signal=5\nDuration=160", 200, ["5"]),
        ("application/dtmf-relay", "Signal= *\nDuration= 100", 200, ["*"]),
        ("application/dtmf-relay;x=y", "signal=11", 200, ["#"]),
        ("application/dtmf", "7", 200, ["7"]),
        ("application/dtmf", "10", 200, ["*"]),
        ("application/dtmf-relay", "Nothing=5", 400, []),
        ("text/plain", "5", 415, []),
    ],
)
async def test_digits_of_the_peer(phone: Sipp, kind: str, key: str, status: int, heard: list[str]) -> None:
    application = Answering()
    pressed: list[str | None] = []

    def take(call: Invitation) -> None:
        call.on_info = hear
        application.answer(call)

    def hear(kind: str, body: bytes) -> int:
        try:
            pressed.append(info.digits(kind, body))
        except SipError as error:
            return error.status
        return 200

    application.take = take
    async with serving(application) as service:
        await phone.call("info_in", port_of(service), type=kind, key=key, status=str(status))
        await until(lambda: application.ended == ["bye"])
        assert pressed == heard


@pytest.mark.parametrize("status", ["200 OK", "415 Unsupported Media Type"])
async def test_a_digit_of_ours(phone: Sipp, status: str) -> None:
    async with serving() as service, phone.answer("info_out", status=status) as uri:
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)
        results: list[int] = []

        def told(status: int) -> None:
            results.append(status)
            call.hang_up()

        story.then = lambda call: call.info(*info.body("#"), told)
        await until(lambda: story.over)
        assert (results, story.heard) == ([int(status[:3])], ["answered", "hung_up"])
