"""Route sets, loose and strict, both ways (RFC 3261 sections 12.1, 12.2.1.1 and 16.12)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, serving, when_confirmed

pytestmark = pytest.mark.phone

GAP = "[[:space:]]"  # SIPp leaves no carriage return in a pattern.
NEXT = f"({GAP}+Route:|,){GAP}*"
HERE = "@HERE@"
CONTACT = f"sip:sipp@{HERE};transport=[a-zA-Z]*"


LOOSE = {
    "routes": f"Record-Route: <sip:{HERE}@OVER@;lr;x=1%2B>, <sip:p2.example.com;lr>\nrecord-route:<sip:p3;lr>",
    "echo": f"Record-Route: .sip:{HERE}@OVER@;lr;x=1%2B., .sip:p2.example.com;lr.{GAP}+record-route:.sip:p3;lr.",
    "target": CONTACT,
    "way": f"Route: .sip:{HERE}@OVER@;lr;x=1%2B.{NEXT}.sip:p2.example.com;lr.{NEXT}.sip:p3;lr.{GAP}",
}
STRICT = {
    "routes": f"Record-Route: <sip:old@{HERE}@OVER@;x=1>, <sip:p2.example.com;lr>",
    "echo": f"Record-Route: .sip:old@{HERE}@OVER@;x=1., .sip:p2.example.com;lr.",
    "target": f"sip:old@{HERE}@OVER@;x=1",
    "way": f"Route: .sip:p2.example.com;lr.{NEXT}.{CONTACT}.{GAP}",
}


@pytest.mark.parametrize("slots", [LOOSE, STRICT], ids=["loose", "strict"])
async def test_our_bye_goes_back_by_the_way_of_the_invite(phone: Sipp, slots: dict[str, str]) -> None:
    application = Answering()
    when_confirmed(application, Invitation.hang_up)
    async with serving(application) as service:
        await phone.call("routes_in", port_of(service), **slots)
        await until(lambda: application.ended == ["hung_up"])


OUT = {
    "loose": {
        "routes": f"Record-Route: <sip:p2.example.com;lr>, <sip:{HERE}@OVER@;lr;x=1%2B>",
        "target": CONTACT,
        "way": f"Route: .sip:{HERE}@OVER@;lr;x=1%2B.{NEXT}.sip:p2.example.com;lr.{GAP}",
    },
    "strict": {
        "routes": f"Record-Route: <sip:p2.example.com;lr>, <sip:old@{HERE}@OVER@;x=1>",
        "target": f"sip:old@{HERE}@OVER@;x=1",
        "way": f"Route: .sip:p2.example.com;lr.{NEXT}.{CONTACT}.{GAP}",
    },
}


@pytest.mark.parametrize("kind", OUT)
async def test_ack_and_bye_of_our_call_go_by_the_way_of_the_answer(phone: Sipp, kind: str) -> None:
    async with serving() as service, phone.answer("routes_out", **OUT[kind]) as uri:
        story = Story(service.invite(uri, sdp=OFFER))
        await until(lambda: story.over)
        assert story.heard == [180, "answered", "hung_up"]
