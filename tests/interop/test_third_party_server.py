"""Calls through LiteLLM's proxy (PyPI `litellm[proxy]`): a third party's Realtime server between us and a model.

It passes OpenAI Realtime and Live on, reading what it passes; for Gemini it is a Realtime server of its own making.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from websockets.asyncio.server import ServerConnection

from bridge.agent.script import Script
from bridge.agent.server import AgentServer
from tests.phones.processes import NotReady, Program, free_port
from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, in_order
from tests.servers import gemini
from tests.service.calling import Line, call_each
from tests.service.foreign import Gemini, Live
from tests.service.rig import Service, assert_valid, ended
from tests.service.sines import linear, sine, sounds, ulaw
from tests.service.test_barge_in import check_ledger, on_wire
from tests.service.transfers import ENDED

pytestmark = pytest.mark.interop

_HOME = Path(__file__).parents[2] / ".cache" / "litellm"
if not (_HOME / ".ready").exists():
    pytest.skip("no LiteLLM here (scripts/peers says why)", allow_module_level=True)
KEY = f"sk-{'0a1b2c3d' * 6}"
"""It refuses to start with a short one."""


class LiteLLM(Program):
    """The running proxy; `port` is where it listens."""

    port: int

    @classmethod
    async def started(cls, folder: Path, model: str, **backend: str) -> LiteLLM:
        """With one model, `agent`, which is `model` at this back end."""
        parameters = {"model": model} | backend
        entry = {"model_name": "agent", "litellm_params": parameters, "model_info": {"mode": "realtime"}}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(
            json.dumps({"model_list": [entry], "general_settings": {"master_key": KEY}})
        )
        port = free_port(socket.SOCK_STREAM)
        command = [
            str(_HOME / "bin" / "litellm"),
            "--config",
            "config.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        # Else it looks for prices in the Internet, and sets Gemini up before it is told what is wanted.
        offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_GEMINI_LIVE_DEFER_SETUP": "true"}
        proxy = cls([*command, "--port", str(port)], folder, environment=dict(os.environ) | offline)
        proxy.port = port
        try:
            await asyncio.to_thread(proxy.wait_for_port, port, socket.SOCK_STREAM, 60)
            await proxy._until_alive()
        except NotReady:
            proxy.stop()
            raise
        return proxy

    async def _until_alive(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(100):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(opener.open, f"http://127.0.0.1:{self.port}/health/liveliness", timeout=2)
                return
            await asyncio.sleep(0.2)
        raise NotReady(self.said())

    def agent(self, path: str) -> dict[str, Any]:
        """What the service needs to reach the model through it."""
        return {"provider": f"ws://127.0.0.1:{self.port}{path}", "key": KEY, "model": "agent"}


SCRIPT = """
heard: ["Stop."]
rules:
  - on: response_create
    nth: 1
    do: [{response: {items: [{audio_ms: 5000}], speed: 10}}]
answer: {items: [{audio_ms: 400}]}
"""


async def test_a_whole_call_through_it_with_the_built_in_agent(tmp_path: Path) -> None:
    server = AgentServer(script=Script.parse(SCRIPT), journal=True, keys={"sk-behind"})
    base = (await server.start()).replace("ws:", "http:").removesuffix("/v1/realtime")
    try:
        model = LiteLLM.started(tmp_path / "proxy", "openai/gpt-realtime-2.1", api_key="sk-behind", api_base=base)
        with await model as on:
            phone, metrics = await _interrupting_call(tmp_path / "service", on.agent("/v1/realtime"))
            session = await ended(server.sessions[0])
    finally:
        await server.close()
    assert_valid(session)
    assert check_ledger(session, on_wire(in_order(phone.wire.packets))) == (1, 0, 1)
    (came,) = sounds(linear(bytes(session.input_audio)), 8000)
    assert came.is_like(440, 600), came
    assert metrics["sipbridge_barge_ins_total"] == 1
    assert metrics['sipbridge_responses_total{status="completed"}'] == 2
    assert metrics["sipbridge_session_malformed_total"] == metrics["sipbridge_session_unknown_events_total"] == 0


async def _interrupting_call(folder: Path, agent: dict[str, Any]) -> tuple[RawPhone, dict[str, float]]:
    """A caller who speaks into the greeting and hears an answer; he, and the metrics afterwards."""
    with await Service.started(folder, agent | {"greeting": "Begin."}) as service:
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            quiet = b"\xff" * 160 * 40
            await phone.wire.play(frames(quiet + ulaw(sine(440, 600, 8000)) + 2 * quiet))
            await phone.bye()
        await service.until(ENDED("caller_hung_up"), 1)
        return phone, await service.metrics()


class ThroughLive(Live):
    """OpenAI Live behind the proxy, which opens another session there when the first one is over."""

    @property
    def session(self) -> Any:
        return self.server.sessions[0]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with super().running():
            base = self.agent["url"].replace("ws:", "http:").removesuffix("/v1/live/sessions")
            key = self.server.key
            with await LiteLLM.started(self.folder, "openai/gpt-live-1", api_key=key, api_base=base) as on:
                agent = on.agent("/v1/live/sessions")
                self.agent = agent | {"provider": "live", "url": agent["provider"]}
                yield


class _KeyInUrl(gemini.GeminiServer):
    """LiteLLM sends the key as a part of the URL."""

    async def _admitted(self, talk: gemini.Talk, socket: ServerConnection) -> bool:
        assert socket.request is not None
        path, _, query = socket.request.path.partition("?")
        socket.request.path, socket.request.headers["x-goog-api-key"] = path, parse_qs(query)["key"][0]
        return await super()._admitted(talk, socket)


class ThroughGemini(Gemini):
    """Gemini behind the proxy, which makes a Realtime server of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__("gemini-2.5-flash-native-audio-preview-12-2025")
        self.folder = folder

    @property
    def rate(self) -> int:
        return 24000

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def script(talk: gemini.Talk) -> None:
            return

        self.server = _KeyInUrl(script)
        async with self.server.running():
            base = f"http://127.0.0.1:{self.server.port}"
            with await LiteLLM.started(self.folder, f"gemini/{self.model}", api_key="key-1", api_base=base) as on:
                self.agent = on.agent("/v1/realtime")
                yield


async def test_open_ai_live_through_it(tmp_path: Path) -> None:
    async def story(line: Line) -> None:
        await line.far.say("Good morning.", 600, 1000)
        assert line.has_said(await line.has_heard(1), 600, 1000), line.heard()
        await line.speak(440, 1000)
        await line.hang_up()
        (came,) = sounds(line.far.pcm(), line.far.rate)
        assert came.is_like(440, 1000), came

    await call_each(tmp_path / "service", {"live": lambda: ThroughLive(tmp_path / "proxy")}, story)


async def test_gemini_as_its_own_realtime_server(tmp_path: Path) -> None:
    """Its beta names, no formats told, and usage without details. Of interruptions it tells nothing (litellm#31709)."""

    async def story(line: Line) -> None:
        far = line.far
        await far.say("Good morning.", 600, 1000)
        assert line.has_said(await line.has_heard(1), 600, 1000), line.heard()
        await line.speak(440, 800)
        await far.say("Goodbye.", 700, 800)
        assert "error" not in await far.call("hang_up")
        await far.says_no_more()
        await line.is_hung_up("agent_hung_up")
        assert line.has_said(line.heard()[-1], 700, 800), line.heard()
        (came,) = sounds(far.pcm(), far.rate)
        assert came.is_like(440, 800), came
        counted = far.tokens["text_in"], far.tokens["audio_out"]  # of which it says only how many came out
        assert line.record["tokens"] == dict(zip(("text_in", "text_out"), counted, strict=True))

    agent = {"server": {"g711": False, "greeting": "message", "truncate": "no"}}
    through = {"gemini": lambda: ThroughGemini(tmp_path / "proxy")}
    lines, _ = await call_each(tmp_path / "service", through, story, agent=agent)
    far = lines["gemini"].far
    assert isinstance(far, Gemini)
    setup = far.talk.setup
    assert setup["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert [tool["name"] for tool in setup["tools"][0]["function_declarations"]] == ["hang_up"]
