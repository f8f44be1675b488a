"""SIGTERM: no new calls, running ones finish within the grace, then BYE."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, silence
from tests.service.rig import Service, bench, ended

SILENT = "vad: false"


async def test_a_running_call_may_finish_and_no_new_one_begins(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, limits={"drain_s": 30}) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        service.process.send_signal(signal.SIGTERM)
        async with RawPhone() as late:
            while True:
                refused = await late.invite("127.0.0.1", service.sip_port)
                if refused.status == 503:
                    break
                await late.bye()  # the signal was not there yet
        assert refused.header("Retry-After") == "30"
        assert (await service.get("/readyz")) == (503, "draining\n")
        assert (await late_options(service.sip_port)) == 503
        assert (await service.metrics())["sipbridge_draining"] == 1
        before = len(phone.wire.packets)
        await phone.wire.play(frames(silence(0.3)))
        assert len(phone.wire.packets) > before, "the running call goes on"
        await phone.bye()
        assert await service.ended(10) == 0
        await ended(server.sessions[0])
    assert service.events("service.stopped")


async def test_a_signal_to_every_process_lets_calls_to_the_built_in_agent_finish(tmp_path: Path) -> None:
    """As systemd and a terminal send it."""
    agent = {"provider": "builtin", "greeting": "Greet the caller."}
    with await Service.started(tmp_path, agent, limits={"drain_s": 30}) as service:
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            for pid in (service.process.pid, *children(service.process.pid)):
                os.kill(pid, signal.SIGTERM)
            while not service.events("service.draining"):
                await asyncio.sleep(0.02)
            await phone.wire.play(frames(silence(1.0)))
            assert not phone.ended.is_set() and not service.events("builtin.died")
            await phone.bye()
            assert await service.ended(10) == 0


def children(pid: int) -> list[int]:
    """All processes below one."""
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return below + [deeper for child in below for deeper in children(child)]


async def late_options(port: int) -> int:
    async with RawPhone() as phone:
        return (await phone.options("127.0.0.1", port)).status


async def test_after_the_grace_the_call_is_ended_with_bye(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, limits={"drain_s": 0.3}) as (service, server), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(phone.ended.wait(), 10)
        assert await service.ended(10) == 0
        assert (await ended(server.sessions[0])).done.is_set()
    assert service.events("call.ended")[0]["reason"] == "shutdown"


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async with bench(tmp_path, SILENT, limits={"drain_s": 600}) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        service.process.send_signal(signal.SIGTERM)
        while not service.events("service.draining"):
            await asyncio.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(phone.ended.wait(), 10)
        assert await service.ended(10) == 0
