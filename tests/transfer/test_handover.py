"""How a caller is handed over: each method, each answer of the PBX, each end of the second call."""

from __future__ import annotations

import asyncio

import pytest

from bridge.legs.leg import LegRefused
from bridge.sip.uri import Uri
from bridge.transfer.handover import JOINED, TRANSFERRED, Handover, Method, Outcome, Plan
from tests.transfer.wooden import DESK, Party, Second


class Bench:
    def __init__(self, method: Method = "auto", timeout_s: float = 5) -> None:
        self.caller = Party()
        self.seconds: list[Second] = []
        self.dialled: list[tuple[Uri, float]] = []
        self.handover = Handover(self.caller, Plan(DESK, method, timeout_s), self.dial)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.handover.run())

    def dial(self, target: Uri, timeout_s: float) -> Second:
        self.dialled.append((target, timeout_s))
        self.seconds.append(Second())
        return self.seconds[-1]

    async def begun(self) -> Bench:
        for _ in range(5):
            await asyncio.sleep(0)
        return self

    async def outcome(self) -> Outcome:
        return await asyncio.wait_for(self.task, 2)


@pytest.mark.parametrize("method", ["auto", "refer"])
async def test_the_pbx_takes_him(method: Method) -> None:
    bench = await Bench(method).begun()
    assert bench.caller.referred == [(DESK, None)] and not bench.handover.accepted
    bench.caller.progress(100, False)
    assert bench.handover.accepted and not bench.task.done()
    bench.caller.progress(200, True)
    assert await bench.outcome() == Outcome(TRANSFERRED)
    assert bench.dialled == [] and bench.caller.stopped == 1


@pytest.mark.parametrize(
    ("told", "word"),
    [((486,), "busy"), ((180, 480), "no_answer"), ((180, 487), "no_answer"), ((603,), "rejected"), ((408,), "timeout")],
)
@pytest.mark.parametrize("method", ["auto", "refer"])
async def test_what_the_pbx_tries_in_vain_is_not_tried_again(method: Method, told: tuple[int, ...], word: str) -> None:
    bench = await Bench(method).begun()
    for status in (100, *told):
        bench.caller.progress(status, status >= 200)
    assert await bench.outcome() == Outcome(word)
    assert not bench.handover.accepted, "a BYE is no end of a transfer any more"
    assert bench.dialled == []


async def test_a_pbx_that_will_not_is_left_out() -> None:
    bench = await Bench("auto").begun()
    bench.caller.progress(405, True)
    await bench.begun()
    (target, timeout_s), second = bench.dialled[0], bench.seconds[0]
    assert target == DESK and 0 < timeout_s <= 5
    second.word.set_result("")
    assert await bench.outcome() == Outcome(JOINED, second)  # type: ignore[arg-type]
    assert second.given_up == 0


@pytest.mark.parametrize("status", [400, 403, 405, 481, 501])
async def test_a_pbx_that_finds_out_late_that_it_cannot_is_left_out_too(status: int) -> None:
    bench = await Bench("auto").begun()
    bench.caller.progress(100, False)
    bench.caller.progress(status, True)
    await bench.begun()
    assert [target for target, _ in bench.dialled] == [DESK]
    assert not bench.handover.accepted
    bench.seconds[0].word.set_result("")
    assert (await bench.outcome()).word == JOINED


async def test_a_pbx_that_will_not_is_the_end_where_nothing_else_is_wanted() -> None:
    bench = await Bench("refer").begun()
    bench.caller.progress(603, True)
    assert await bench.outcome() == Outcome("refused")
    assert bench.dialled == []


@pytest.mark.parametrize(("told", "word"), [((), "timeout"), ((100,), "timeout"), ((100, 180), "no_answer")])
async def test_time_runs_whatever_the_pbx_says(told: tuple[int, ...], word: str) -> None:
    bench = await Bench("auto", timeout_s=0.05).begun()
    for status in told:
        bench.caller.progress(status, False)
    assert await bench.outcome() == Outcome(word)
    assert bench.caller.stopped == 1, "nobody listens to the PBX any more"
    assert bench.dialled == []


async def test_the_second_call_has_what_the_first_try_left_of_the_time() -> None:
    bench = await Bench("auto", timeout_s=0.3).begun()
    await asyncio.sleep(0.1)
    bench.caller.progress(405, True)
    await bench.begun()
    assert bench.dialled[0][1] < 0.25


async def test_bridged_without_asking_the_pbx() -> None:
    bench = await Bench("bridge").begun()
    bench.seconds[0].word.set_result("busy")
    assert await bench.outcome() == Outcome("busy")
    assert bench.caller.referred == []


async def test_who_left_between_answer_and_join_is_not_joined() -> None:
    bench = await Bench("bridge").begun()
    bench.seconds[0].is_over = True
    bench.seconds[0].word.set_result("")
    assert await bench.outcome() == Outcome("hung_up")


async def test_attended_names_the_second_call() -> None:
    bench = await Bench("attended").begun()
    second = bench.seconds[0]
    assert bench.caller.referred == []
    second.word.set_result("")
    await bench.begun()
    assert bench.caller.referred == [(DESK, second.replaces)]
    bench.caller.progress(200, True)
    assert await bench.outcome() == Outcome(TRANSFERRED, second)  # type: ignore[arg-type]


@pytest.mark.parametrize(("is_over", "word"), [(False, JOINED), (True, "hung_up")])
async def test_attended_and_refused(is_over: bool, word: str) -> None:
    bench = await Bench("attended").begun()
    bench.seconds[0].word.set_result("")
    await bench.begun()
    bench.seconds[0].is_over = is_over
    bench.caller.progress(603, True)
    assert (await bench.outcome()).word == word


@pytest.mark.parametrize("answered", [False, True], ids=["ringing", "answered"])
async def test_a_call_that_ends_lets_go_of_the_second_one(answered: bool) -> None:
    bench = await Bench("attended").begun()
    if answered:
        bench.seconds[0].word.set_result("")
        await bench.begun()
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
    assert bench.seconds[0].given_up == 1
    assert bench.caller.stopped == int(answered)


async def test_a_call_that_cannot_be_placed_is_the_owners_affair() -> None:
    bench = Bench("bridge")

    def refuse(target: Uri, timeout_s: float) -> Second:
        raise LegRefused(503, "no_rtp_port", "all are taken")

    bench.handover._dial = refuse  # type: ignore[assignment]
    with pytest.raises(LegRefused):
        await bench.outcome()
