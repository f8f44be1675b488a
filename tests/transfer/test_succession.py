"""Who takes a caller's place, with a call made of wood; the whole of it is in tests/service/test_taken_over.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.legs.leg import LegRefused
from bridge.records import Counts, EndReason
from bridge.sip.outgoing import Failure
from bridge.sip.referral import Referral
from bridge.sip.uri import Uri
from bridge.transfer import taken_over
from bridge.transfer.succession import MOST_PARTIES, Succession
from bridge.transfer.targets import Targets
from tests.transfer.wooden import DESK, Party, Second


class Call:
    """What a succession uses of a call."""

    def __init__(self) -> None:
        self.leg: Any = Party()
        self.former: list[Any] = []
        self.base = Uri.parse("sip:pbx.example")
        self.counts = Counts()
        self.is_talking = True
        self.heard: list[str] = []
        self.hearing = SimpleNamespace(close=lambda: self.heard.append("close"))
        transfer = SimpleNamespace(timeout_s=5)
        self.profile = SimpleNamespace(targets=Targets({"desk": str(DESK)}), transfer=transfer)
        self.second = Second()
        self.refuses: Exception | None = None
        self.dialled: list[tuple[Uri, list[tuple[str, str]]]] = []
        self.ends: list[EndReason] = []
        self.succession = Succession(self)  # type: ignore[arg-type]

    def dial(self, target: Uri, timeout_s: float, headers: list[tuple[str, str]]) -> Second:
        self.dialled.append((target, headers))
        if self.refuses is not None:
            raise self.refuses
        return self.second

    def adopt(self, leg: Any) -> Any:
        former, self.leg = self.leg, leg
        self.former.append(former)
        return former

    def end(self, reason: EndReason) -> None:
        self.ends.append(reason)


class Asked:
    """A REFER of the peer; `told` are the statuses that it is told."""

    def __init__(self, target: Uri = DESK, **more: Any) -> None:
        self.referral = Referral(target, **more)
        self.told: list[int] = []

    def progress(self, status: int) -> None:
        self.told.append(status)


async def referred(call: Call, asked: Any) -> bool:
    taken = call.succession.referred(asked)
    await turns()
    return taken


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_new_party_has_the_call_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_over, "PATIENCE_S", 0)
    call, asked, old = Call(), Asked(referred_by="<sip:a@b>"), None
    old = call.leg
    assert await referred(call, asked)
    assert call.dialled == [(DESK, [("Referred-By", "<sip:a@b>")])]
    call.second.on_ringing(180)
    call.second.word.set_result("")
    await turns()
    assert asked.told == [180, 200] and call.leg is call.second and call.ends == []
    await asyncio.sleep(0.01)
    assert old.closed == [EndReason.TRANSFERRED]
    assert call.counts.transfers == {"taken_over": 1} and not call.succession.is_pending


@pytest.mark.parametrize(
    "asked",
    [Asked(Uri.parse("sip:boss@pbx.example")), Asked(method="BYE"), Asked(Uri.parse(f"{DESK};maddr=192.0.2.1"))],
    ids=["not listed", "no call", "elsewhere"],
)
async def test_what_is_not_done(asked: Asked) -> None:
    call = Call()
    assert not await referred(call, asked)
    assert call.dialled == [] and asked.told == []


async def test_nobody_is_called_while_caller_and_agent_do_not_talk() -> None:
    call = Call()
    call.is_talking = False
    assert not await referred(call, Asked())
    call.is_talking = True
    call.former = [Party()] * MOST_PARTIES
    assert not await referred(call, Asked())
    assert call.dialled == []


@pytest.mark.parametrize("left", [False, True])
async def test_a_failure_is_told_and_ends_only_a_call_that_nobody_is_left_in(left: bool) -> None:
    call, asked = Call(), Asked()
    await referred(call, asked)
    caller = call.leg
    assert call.succession.is_pending
    if left:
        assert call.succession.outlives_caller()
        assert call.heard == ["close"], "the agent speaks to nobody"
        assert caller.closed == [EndReason.TRANSFERRED]
    call.second.failure = Failure(486, "Busy Here", "busy")
    call.second.word.set_result("busy")
    await turns()
    assert asked.told == [486] and call.counts.transfers == {"busy": 1}
    assert call.ends == ([EndReason.CALLER_HUNG_UP] if left else [])
    assert not call.succession.outlives_caller()


async def test_a_call_that_cannot_be_placed() -> None:
    call, asked = Call(), Asked()
    call.refuses = LegRefused(503, "no_rtp_port", "all are taken")
    assert await referred(call, asked)
    assert asked.told == [503] and call.counts.transfers == {"unreachable": 1}


async def test_the_end_of_the_call_lets_go_of_the_new_party() -> None:
    call = Call()
    await referred(call, Asked())
    call.succession.close()
    await turns()
    assert call.second.given_up == 1 and call.ends == []


# INVITE with Replaces


class Comer(Party):
    """The leg of an INVITE with Replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.session = SimpleNamespace(is_over=False)
        self.answered = 0

    def answer(self) -> None:
        self.answered += 1


async def test_who_replaces_has_the_call_once_it_is_connected() -> None:
    call, comer = Call(), Comer()
    old = call.leg
    call.succession.replace(comer)  # type: ignore[arg-type]
    assert comer.answered == 1 and call.leg is old
    comer.on_connected()
    assert call.leg is comer and old.closed == [EndReason.TRANSFERRED]
    assert call.counts.transfers == {"replaced": 1}


async def test_who_replaces_and_leaves_before_it_is_connected_gives_its_port_back() -> None:
    call, comer = Call(), Comer()
    call.succession.replace(comer)  # type: ignore[arg-type]
    comer.on_ended("ack_timeout", "")
    assert comer.closed and call.former == []


@pytest.mark.parametrize("why", ["the call is over", "the leg is over"])
async def test_what_ended_in_between_is_not_joined(why: str) -> None:
    call, comer = Call(), Comer()
    old = call.leg
    call.succession.replace(comer)  # type: ignore[arg-type]
    call.is_talking = why != "the call is over"
    comer.session.is_over = why == "the leg is over"
    comer.on_connected()
    assert call.leg is old and comer.closed and not old.closed
