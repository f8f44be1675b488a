"""A service whose server dies, an application whose answers take their time, and callers who count."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.service.killed_server import KilledServer
from tests.service.numbered_caller import NumberedCaller, beat
from tests.service.rig import Service
from tests.tools.application import Application
from tests.tools.wooden import own

AGENT: dict[str, Any] = {
    "greeting": "Begin.",
    "greeting_wait_ms": 0,
    "instructions": "You talk to {caller}.",
    "transcription": {"model": "whisper-1"},
    "turn_detection": {"type": "server_vad", "silence_duration_ms": 300, "prefix_padding_ms": 200},
}


@dataclass
class Bench:
    """The service, a server that dies, an application whose answers take their time, and callers."""

    service: Service
    server: KilledServer
    app: Application
    answered: dict[str, int]
    """call_id of a tool → when the application answered, in ns."""
    callers: list[NumberedCaller] = field(default_factory=list)
    """Those who talk."""

    async def ring(self, caller: NumberedCaller) -> None:
        """One more call."""
        assert await caller.call(self.service.sip_port) == 200
        self.callers.append(caller)

    async def hang_up(self, caller: NumberedCaller) -> None:
        """The caller's own BYE."""
        caller.hung_up_ns = time.time_ns()
        self.callers.remove(caller)
        await caller.phone.bye()
        caller.phone.close()


@asynccontextmanager
async def bench(
    folder: Path,
    script: str,
    *,
    agent: dict[str, Any] | None = None,
    chance: random.Random | None = None,
    **server: Any,
) -> AsyncIterator[Bench]:
    """The first server is running; the callers send a frame each 20 ms."""
    chance = chance or random.Random(1)

    answered: dict[str, int] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        call_id = (await request.json())["call_id"]
        await asyncio.sleep(chance.uniform(0.1, 3))
        answered[call_id] = time.time_ns()
        return web.json_response({"of": call_id})

    with KilledServer(folder) as killed:
        await killed.start(script, **server)
        async with Application(answers=[answer]) as app:
            whole = AGENT | {"provider": killed.url, "tools": [own(url=app.url)]} | (agent or {})
            with await Service.started(folder / "service", whole, log={"level": "info"}) as service:
                it = Bench(service, killed, app, answered)
                try:
                    async with asyncio.TaskGroup() as group:
                        beating = group.create_task(beat(it.callers))
                        yield it
                        beating.cancel()
                finally:
                    for caller in it.callers:
                        caller.phone.close()
