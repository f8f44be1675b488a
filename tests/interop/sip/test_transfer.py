"""Transfer by REFER in both roles, and INVITE with Replaces (RFC 3515, RFC 3891, RFC 3892, RFC 4488)."""

from __future__ import annotations

import asyncio

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.replaces import Replaces
from bridge.sip.session import Session
from bridge.sip.transfer import Referred
from bridge.sip.uri import Uri
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, described, serving, when_confirmed

pytestmark = pytest.mark.phone

REFER = "Refer-To: <sip:200@example.com>\nReferred-By: <sip:sipp@example.com>"
TARGET = Uri.parse("sip:200@example.com")


def follows(application: Answering, *, allows: bool = True) -> list[Referred]:
    """Make the application agree to each REFER; what was asked for."""
    asked: list[Referred] = []

    def refer(task: Referred) -> bool:
        asked.append(task)
        return allows

    def take(call: Invitation) -> None:
        call.on_refer = refer
        application.answer(call)

    application.take = take
    return asked


@pytest.mark.parametrize("last", [200, 486])
async def test_the_peer_asks_for_a_transfer(phone: Sipp, last: int) -> None:
    application = Answering()
    asked = follows(application)
    async with serving(application) as service:
        slots = {"refer": REFER, "last": str(last)}
        playing = asyncio.create_task(phone.call("transfer_in", port_of(service), **slots))
        await until(lambda: playing.done() or service.stats.responses.get(200) == 1)
        asked[0].progress(180)
        await until(lambda: playing.done() or service.stats.responses.get(200) == 2)
        asked[0].progress(last)
        asked[0].progress(200)
        await playing
        await until(lambda: application.ended == ["bye"])
        assert str(asked[0].referral.target) == "sip:200@example.com"
        assert service.stats.sent["NOTIFY"] == 3


@pytest.mark.parametrize(
    ("refer", "allows", "status", "expect"),
    [
        (REFER, False, 603, "SIP/2.0 603"),
        ("X: y", True, 400, "SIP/2.0 400"),
        ("Refer-To: <nonsense>", True, 400, "SIP/2.0 400"),
        (f"{REFER}\nRefer-To: <sip:300@example.com>", True, 400, "SIP/2.0 400"),
        (f"{REFER}\nRefer-Sub: false", True, 202, "Refer-Sub: false"),
    ],
    ids=["not allowed", "nobody", "nonsense", "two", "without subscription"],
)
async def test_a_transfer_without_a_notify(phone: Sipp, refer: str, allows: bool, status: int, expect: str) -> None:
    application = Answering()
    follows(application, allows=allows)
    async with serving(application) as service:
        await phone.call("transfer_refused", port_of(service), refer=refer, status=str(status), expect=expect)
        await until(lambda: application.ended == ["bye"])
        assert "NOTIFY" not in service.stats.sent


IN = {"setup": "@CALLS@", "uri": "sip:[service]@[remote_ip]:[remote_port]", "who": "@CALLER@"}
OUT = {"setup": "@TAKES@", "uri": "[$target]", "who": "@CALLED@"}


@pytest.mark.parametrize(("last", "status"), [("200 OK", 200), ("486 Busy Here", 486)])
async def test_we_transfer_a_caller(phone: Sipp, last: str, status: int) -> None:
    application = Answering()
    told: list[tuple[int, bool]] = []
    when_confirmed(application, lambda call: call.refer(TARGET, lambda *words: told.append(words)))
    async with serving(application) as service:
        slots = {"last": last, "replaces": "", **IN}
        playing = asyncio.create_task(phone.call("transfer_out", port_of(service), **slots))
        await until(lambda: playing.done() or service.stats.answers.get(481))
        application.calls[0].hang_up()
        await playing
        assert told == [(100, False), (180, False), (status, True)]


async def test_we_transfer_whom_we_called_to_another_call(phone: Sipp) -> None:
    told: list[tuple[int, bool]] = []
    replaces = Replaces("a+b@h", "to%", "from*")
    shown = "[?]Replaces=a(%2B|[+])b%40h%3Bto-tag%3Dto%25%3Bfrom-tag%3Dfrom(%2A|[*])"
    slots = {"last": "200 OK", "replaces": shown, **OUT}
    async with serving() as service, phone.answer("transfer_out", **slots) as uri:
        call = service.invite(uri, sdp=OFFER)
        story = Story(call)
        story.then = lambda call: call.refer(TARGET, lambda *words: told.append(words), replaces)
        await until(lambda: service.stats.answers.get(481))
        call.hang_up()
        await until(lambda: story.over)
        assert told == [(100, False), (180, False), (200, True)]


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "603 Decline"])
async def test_the_peer_will_not_be_transferred(phone: Sipp, status: str) -> None:
    application = Answering()
    told: list[tuple[int, bool]] = []

    def ask(call: Invitation) -> None:
        call.refer(TARGET, lambda *words: (told.append(words), call.hang_up())[0])

    when_confirmed(application, ask)
    async with serving(application) as service:
        await phone.call("transfer_out_refused", port_of(service), status=status)
        assert told == [(int(status[:3]), True)]


async def test_a_call_takes_the_place_of_another(phone: Sipp) -> None:
    application = Answering()
    replaced: list[Session | None] = []

    def take(call: Invitation) -> None:
        replaced.append(call.replaces)
        call.answer(described(application, call))
        if call.replaces is not None:
            call.replaces.hang_up()

    application.take = take
    async with serving(application) as service:
        first = asyncio.create_task(phone.call("hung_up", port_of(service)))
        await until(lambda: first.done() or application.confirmed)
        dialog = application.calls[0].dialog
        words = f"Replaces: {dialog.call_id};from-tag={dialog.remote_tag};to-tag={dialog.local_tag}"
        second = phone.another()
        refused = {"status": "486", "expect": "SIP/2.0 486", "headers": f"{words};early-only"}
        await second.call("refused_in", port_of(service), **refused)
        await second.call("plain", port_of(service), headers=words)
        await first
        await until(lambda: len(application.ended) == 2)
        assert replaced == [None, application.calls[0]]
        assert application.ended == ["hung_up", "bye"]


async def test_a_call_takes_the_place_of_none(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        for header, status in (("Replaces: gone;to-tag=a;from-tag=b", "481"), ("Replaces: x", "400")):
            await phone.call("refused_in", port_of(service), headers=header, status=status, expect=f"SIP/2.0 {status}")
        assert application.calls == []
