"""UPDATE from either side (RFC 3311): hold without a three-way handshake, the target with it."""

from __future__ import annotations

import pytest

from bridge.sip.sdp import SessionDescription
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, serving
from .test_offers import AUDIO, HEAD

pytestmark = pytest.mark.phone


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (f"{HEAD}{AUDIO}\na=sendonly", "m=audio [1-9].*a=recvonly"),
        (f"{HEAD}{AUDIO}\na=inactive", "m=audio [1-9].*a=inactive"),
        (f"{HEAD}{AUDIO.replace('6000', '7000')}", "m=audio [1-9].*a=sendrecv"),
    ],
    ids=["hold", "inactive", "another port"],
)
async def test_updates_of_the_peer(phone: Sipp, offer: str, expected: str) -> None:
    application = Answering()
    async with serving(application) as service:
        hang_up = application.calls

        def describe(description: SessionDescription | None) -> bytes | int:
            # The second UPDATE comes at once; the call ends when both are answered.
            service.core.after(0.1, hang_up[0].hang_up)
            return application.describe(description)

        take = application.take
        application.take = lambda call: (setattr(call, "on_offer", describe), take(call))[0]
        await phone.call("updated", port_of(service), offer=offer, expect=expected)
        await until(lambda: application.ended == ["hung_up"])


async def test_an_update_of_ours(phone: Sipp) -> None:
    async with serving() as service, phone.answer("updates", direction="sendonly") as uri:
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)
        answers: list[tuple[int, str]] = []

        def answered(status: int, answer: SessionDescription | None) -> None:
            assert answer is not None
            answers.append((status, answer.media[0].direction or ""))
            call.hang_up()

        held = OFFER.replace(b"a=sendrecv", b"a=sendonly")
        story.then = lambda call: call.update(held, answered)
        await until(lambda: story.over)
        assert answers == [(200, "recvonly")]
