"""The alarms of the protocol object on a real clock: nobody asks, and the answer comes."""

from __future__ import annotations

import asyncio

from bridge.agent.script import Script
from bridge.agent.server import AgentServer
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.dialer import Address, Dialer
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import SessionOptions
from bridge.realtime.session import Session
from tests.realtime.wire import VAD

LIMITED = """
vad: false
rules:
  - on: response_create
    nth: 1
    do: [{response: {items: [], error: {code: rate_limit_exceeded, message: "Please try again in 20ms."}}}]
  - on: response_create
    nth: 2
    do: [{response: {items: [{audio_ms: 100}]}}]
"""


async def test_after_a_rate_limit_the_answer_comes_without_anybody_asking() -> None:
    server = AgentServer(script=Script.parse(LIMITED), journal=True)
    url = await server.start()
    heard = asyncio.Event()

    def on_event(event: ev.Event) -> None:
        if isinstance(event, ev.AudioDelta):
            heard.set()

    protocol = OpenAIProtocol(SessionOptions(Law.PCMU, greeting="Hello.", turn_detection=VAD))
    session = Session(protocol, Dialer(Address(url)), on_event=on_event)
    await session.open(5)
    reader = asyncio.create_task(session.run())
    protocol.greet()
    session.flush()
    await asyncio.wait_for(heard.wait(), 5)
    await session.close()
    await reader
    await server.close()
