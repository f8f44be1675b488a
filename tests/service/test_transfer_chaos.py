"""Twenty transfers at once, of all kinds, and whoever likes hangs up whenever he likes: nothing is left of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.agent.script import Script
from bridge.agent.server import AgentServer
from bridge.app import App
from bridge.config import Config
from tests.phones.processes import free_port_range, free_signalling_port
from tests.phones.rawpeer import ANSWERS, REPORTS
from tests.phones.rawphone import CallError
from tests.phones.wire import frames
from tests.service.transfers import RawPeer, agent, asks, sound, uri

CALLS = 20
METHODS = ("auto", "refer", "bridge", "attended")
REFER = ("202 Accepted", "202 Accepted", "405 Method Not Allowed", "603 Decline", "")
RINGING = (0, "180 Ringing")
OUTCOMES = ((*ANSWERS,), (RINGING,), (RINGING, (0.2, "486 Busy Here")), ((0, "183 Progress"), (0.3, "200 OK")), ())
REPORTED = (REPORTS, ((0, "100 Trying"),), ((0.1, "486 Busy Here"),))


def config(url: str, sip: int, rtp: int, desks: list[RawPeer]) -> Config:
    """Every desk has an agent that would connect callers to it, dialled by its number."""
    agents = {
        f"a{index}": {"provider": url} | agent(METHODS[index % 4], timeout_s=1.5, desk=uri(desk))
        for index, desk in enumerate(desks)
    }
    settings: dict[str, Any] = {
        "sip": {"listen": [f"udp://127.0.0.1:{sip}"]},
        "media": {"ports": f"{rtp}-{rtp + 199}"},
        "agents": agents,
        "routes": [{"to": str(700 + index), "agent": f"a{index}"} for index in range(CALLS)],
        "http": {"listen": "127.0.0.1:0"},
        "limits": {"calls": 100, "calls_per_second": 1000},
    }
    return Config.model_validate(settings)


async def story(chance: random.Random, caller: RawPeer, desk: RawPeer, port: int, number: str) -> None:
    """One call: perhaps somebody hangs up at some moment, perhaps the new party is asked for."""
    caller.refer, caller.reports = chance.choice(REFER), chance.choice(REPORTED)
    caller.hangs_up_when_referred = chance.random() < 0.1
    desk.answers = chance.choice(OUTCOMES)
    await asyncio.sleep(chance.uniform(0, 0.5))
    await caller.start_invite("127.0.0.1", port, number)
    if chance.random() < 0.1:
        await asyncio.sleep(chance.uniform(0, 0.05))
        await caller.cancel()
        return
    await caller.answer()
    talking = asyncio.create_task(caller.wire.play(frames(b"".join(sound(1, 150)))))
    await asyncio.sleep(chance.uniform(0, 3))
    what = chance.random()
    if what < 0.3 and not caller.ended.is_set():
        target = f"Refer-To: <{uri(desk)}>"
        await caller.in_dialog("REFER", headers=[target], within=2)
    elif what < 0.6 and desk.to_header and not desk.ended.is_set():
        await desk.bye(within=2)
    elif what < 0.8 and not caller.ended.is_set():
        await caller.bye(within=2)
    await asyncio.sleep(chance.uniform(0, 1))
    talking.cancel()
    for phone in (caller, desk):
        if phone.to_header and not phone.ended.is_set():
            await phone.bye(within=2)


async def quietly(*args: Any) -> None:
    try:
        await story(*args)
    except CallError:  # nobody answers when everybody may have left
        return


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_left_of_it(seed: int) -> None:
    chance = random.Random(seed)
    faults: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: faults.append(context))
    server = AgentServer(script=Script.parse(asks(audio_ms=100)))
    url = await server.start()
    callers = [await RawPeer(user=f"c{index}").__aenter__() for index in range(CALLS)]
    desks = [await RawPeer(user=f"d{index}").__aenter__() for index in range(CALLS)]
    port = free_signalling_port()
    before = asyncio.all_tasks()
    with capture_logs() as lines:
        app = App(config(url, port, free_port_range(200), desks), environ={})
        await app.start()
        pairs = zip(callers, desks, strict=True)
        stories = [quietly(chance, *pair, port, str(700 + index)) for index, pair in enumerate(pairs)]
        await asyncio.gather(*stories)
        for phone in (*callers, *desks):
            phone.close()
        for call in list(app.calls):
            call.leg.on_ended("bye", "")  # whose phone is gone
        async with asyncio.timeout(10):
            while app.calls or app.ports.free < app.ports.size:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        tasks = {
            task for task in asyncio.all_tasks() - before if "bridge/call" in repr(task) or "transfer" in repr(task)
        }
        assert not tasks
        outcomes = {label for label, count in app.sums.totals.sums.get("transfers", {}).items() if count}
        assert not app.sums.totals.sums["calls"]["internal_error"]
        assert app.user_agent.stats.dropped.get("internal", 0) == 0
        await app.close()
    await server.close()
    await asyncio.sleep(0)
    assert not faults
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]
    assert len(outcomes) >= 4, outcomes
