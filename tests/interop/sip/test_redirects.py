"""3xx answers to a call of ours: followed where that is allowed, never in a circle (RFC 3261 section 8.1.3.4)."""

from __future__ import annotations

import pytest

from bridge.sip.uri import Uri
from tests.sip.phone import OFFER, until

from .scenario import Sipp
from .serving import Story, serving

pytestmark = pytest.mark.phone

TAKEN = """<send retrans="500"><![CDATA[
SIP/2.0 200 OK
@ANSWER@
@BODY@
@SDP@
]]></send>
<recv request="ACK"/>
@HEARS_BYE@"""
SECOND = "Contact: <sip:second@@HERE@@OVER@>"
BUSY = """<send retrans="500"><![CDATA[
SIP/2.0 486 Busy Here
@ANSWER@
@EMPTY@
]]></send>
<recv request="ACK"/>"""
BACK = """<send retrans="500"><![CDATA[
SIP/2.0 302 Moved
[last_Via:]
[last_From:]
[last_To:];tag=again
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:600@@HERE@@OVER@>, <sip:second@@HERE@@OVER@>
@EMPTY@
]]></send>
<recv request="ACK"/>"""


async def played(phone: Sipp, name: str, allowed: str = "", **slots: str) -> list[object]:
    """What a call tells that may be sent on to users that begin with `allowed`."""

    def redirects(target: Uri) -> bool:
        return bool(allowed) and (target.user or "").startswith(allowed)

    async with serving() as service, phone.answer(name, **slots) as uri:
        story = Story(service.invite(uri, sdp=OFFER, redirects=redirects))
        await until(lambda: story.over)
        return story.heard


async def test_we_follow(phone: Sipp) -> None:
    slots = {"contacts": SECOND, "next": "sip:second@@HERE@@OVER@", "then": TAKEN}
    assert await played(phone, "redirected", "s", **slots) == ["answered", "hung_up"]


async def test_the_better_target_comes_first(phone: Sipp) -> None:
    contacts = "Contact: <sip:s1@@HERE@@OVER@>;q=0.3, <sip:s2@@HERE@@OVER@>;q=0.7"
    slots = {"contacts": contacts, "next": "sip:s2@@HERE@@OVER@", "then": TAKEN}
    assert await played(phone, "redirected", "s", **slots) == ["answered", "hung_up"]


async def test_where_we_are_sent_is_busy(phone: Sipp) -> None:
    slots = {"contacts": SECOND, "next": "sip:second@@HERE@@OVER@", "then": BUSY}
    assert await played(phone, "redirected", "s", **slots) == [(486, "busy")]


async def test_a_circle_is_left(phone: Sipp) -> None:
    slots = {"contacts": SECOND, "next": "sip:second@@HERE@@OVER@", "then": BACK}
    heard = await played(phone, "redirected", "s", **slots)
    assert [status for status, _ in heard] == [302]  # type: ignore[misc]


@pytest.mark.parametrize(
    "contacts",
    [SECOND, "Contact: <tel:+4930>", "Contact: <mailto:a@h>, <sip:h?Subject=x>", "Contact: nonsense", "X: y"],
    ids=["not allowed", "tel", "no telephone", "malformed", "none"],
)
async def test_we_do_not_follow(phone: Sipp, contacts: str) -> None:
    heard = await played(phone, "redirected_once", "x", contacts=contacts)
    assert [status for status, _ in heard] == [302]  # type: ignore[misc]
