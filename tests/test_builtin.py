"""The built-in agent as a child: it gets its pipelines, and nobody else sees their keys."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from bridge import builtin
from bridge.builtin import BuiltinAgent
from bridge.config.pipeline import Pipeline
from tests.agent.http_servers import answers, http_servers, sounds


async def greeting(url: str) -> dict[str, Any]:
    """The response to the first response.create."""
    async with connect(f"{url}?model=pipeline-desk", proxy=None) as client, asyncio.timeout(20):
        await client.send('{"type": "response.create"}')
        while True:
            event = json.loads(await client.recv())
            if event["type"] == "response.done":
                response: dict[str, Any] = event["response"]
                return response


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
async def test_a_child_speaks_by_its_pipeline_and_keys_stand_in_no_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builtin, "RESTART_PAUSE_S", 0.01)
    async with http_servers() as servers:
        servers.think, servers.speak = answers("Hello. I am here.", "I am back."), sounds
        revealed = Pipeline.model_validate(servers.pipeline()).revealed()
        child = BuiltinAgent("error", {"desk": revealed}, plain=False)
        url = await child.start()
        try:
            response = await greeting(url)
            assert response["output"][0]["content"][0]["transcript"] == "Hello. I am here."
            assert servers.asked["brain"][0].headers["Authorization"] == "Bearer sk-brain"
            pid = the_child()
            for name in ("cmdline", "environ"):
                assert b"sk-brain" not in Path(f"/proc/{pid}/{name}").read_bytes()
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                while not child.restarts:
                    await asyncio.sleep(0.02)
                while True:
                    try:
                        response = await greeting(url)
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
            assert response["output"][0]["content"][0]["transcript"] == "I am back."
        finally:
            await child.close()


def the_child() -> int:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    (pid,) = [pid for pid in children if b"bridge\0agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(pid)
