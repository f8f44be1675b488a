"""`sipbridge agent` as a process, and the real service's own client at the other end of a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from bridge.agent.brain import GREETING
from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Speak
from bridge.agent.voice import Voice
from tests.agent.http_servers import Servers, answers, http_servers, sounds
from tests.realtime_events import problems

pytest.importorskip("pocketsphinx", reason="the extra 'agent' is not installed")
pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")

PCMU = AudioFormat.PCMU
HANG_UP: dict[str, Any] = {"type": "function", "name": "hang_up", "parameters": {"type": "object", "properties": {}}}


@contextlib.asynccontextmanager
async def agent(*options: str) -> AsyncIterator[str]:
    """A running `sipbridge agent`; its base URL."""
    command = (sys.executable, "-m", "bridge", "agent", "--listen", "127.0.0.1:0", *options)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        assert url.startswith("ws://")
        yield url.removesuffix("/realtime")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[AsyncRealtimeConnection]:
    async with AsyncOpenAI(api_key="sk-any", websocket_base_url=url, base_url=url) as client:
        async with client.realtime.connect(model="gpt-realtime") as connection:
            assert (await connection.recv()).type == "session.created"
            yield connection


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    """The events to the first of this type, as the client's types; the raw ones are judged besides."""
    events: list[Any] = []
    async with asyncio.timeout(60):
        while not events or events[-1].type != kind:
            data = await connection.recv_bytes()
            assert problems(json.loads(data), "server") == []
            events.append(connection.parse_event(data))
    return events


async def telephone(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(
        session={
            "type": "realtime",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                },
                "output": {"format": {"type": "audio/pcmu"}},
            },
            "tools": [HANG_UP],  # type: ignore[list-item]
        }
    )
    await until(connection, "session.updated")


async def speech(words: str) -> bytes:
    """Words and the silence around them, as a telephone brings them."""
    voice = Voice()
    try:
        spoken = await voice.speak(Speak("", words, PCMU, "marin", 1.0))
    finally:
        await voice.pool.close()
    assert spoken is not None
    return PCMU.silence(300) + spoken + PCMU.silence(800)


async def speak(connection: AsyncRealtimeConnection, audio: bytes) -> None:
    for start in range(0, len(audio), 160):
        piece = base64.b64encode(audio[start : start + 160]).decode()
        await connection.input_audio_buffer.append(audio=piece)


def transcript(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_audio_transcript.delta")


def sound(events: list[Any]) -> bytes:
    deltas = (event.delta for event in events if event.type == "response.output_audio.delta")
    return b"".join(map(base64.b64decode, deltas))


async def test_the_client_talks_to_the_built_in_agent(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("brain: true\nspeed: max\n")
    question = await speech("what can you do")
    async with agent("--script", str(script)) as url, session(url) as connection:
        await telephone(connection)
        await connection.response.create()
        greeting = await until(connection, "response.done")
        assert transcript(greeting) == GREETING
        assert len(sound(greeting)) > 8000
        await speak(connection, question)
        answer = await until(connection, "response.done")
        (heard,) = [each for each in answer if each.type == "conversation.item.input_audio_transcription.completed"]
        assert heard.transcript == "what can you do"
        assert transcript(answer).startswith("I can tell you the time")
        item_id = next(each.item_id for each in answer if each.type == "response.output_audio.delta")
        await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=300)
        (*_, truncated) = await until(connection, "conversation.item.truncated")
        assert truncated.audio_end_ms == 300
        await say(connection, "Goodbye.")
        done = (await until(connection, "response.done"))[-1].response
        assert [item.type for item in done.output] == ["message", "function_call"]
        assert done.output[1].name == "hang_up"


async def say(connection: AsyncRealtimeConnection, text: str) -> None:
    """Type something and ask for the answer."""
    content: Any = [{"type": "input_text", "text": text}]
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await connection.response.create()


async def test_the_client_talks_to_the_pipeline(tmp_path: Path) -> None:
    question = await speech("what time is it")
    async with http_servers() as servers:
        file = tmp_path / "pipeline.yaml"
        file.write_text(json.dumps(servers.pipeline() | {"turns": "webrtcvad", "aggressiveness": 2}))
        servers.hear = lambda each: each.reply(200, {"text": "What time is it?"})
        servers.think, servers.speak = answers("Hello there. How are you?", "It is noon. Anything else?"), sounds
        async with agent("--pipeline", str(file)) as url, session(url) as connection:
            await telephone(connection)
            await connection.response.create()
            assert transcript(await until(connection, "response.done")) == "Hello there. How are you?"
            await speak(connection, question)
            answer = await until(connection, "response.done")
            kinds = [event.type for event in answer]
            assert kinds.count("input_audio_buffer.speech_started") == 1
            assert kinds.count("input_audio_buffer.speech_stopped") == 1
            assert transcript(answer) == "It is noon. Anything else?"
            assert len(sound(answer)) == 50 * 8 * len("It is noon.Anything else?")
            await interrupt(connection, servers, question)
            await use_a_tool(connection, servers)


async def interrupt(connection: AsyncRealtimeConnection, servers: Servers, audio: bytes) -> None:
    """The caller speaks into a long answer: its requests are closed, and only what was heard is remembered."""
    servers.think = None
    await connection.response.create()
    brain = await servers.brain.get()
    brain.say("Once upon a time there was a telephone. It")
    begun = (await until(connection, "response.output_audio.delta"))[-1]
    await speak(connection, audio)
    events = await until(connection, "response.done")
    assert (events[-1].response.status, events[-1].response.status_details.reason) == ("cancelled", "turn_detected")
    await asyncio.wait_for(brain.gone.wait(), 20)
    await connection.conversation.item.truncate(item_id=begun.item_id, content_index=0, audio_end_ms=50 * 15)
    again = await asyncio.wait_for(servers.brain.get(), 20)
    again.say("Yes?")
    again.stop()
    await until(connection, "response.done")


async def use_a_tool(connection: AsyncRealtimeConnection, servers: Servers) -> None:
    await say(connection, "Goodbye.")
    brain = await asyncio.wait_for(servers.brain.get(), 20)
    told = [message["content"] for message in brain.body["messages"] if message["role"] == "assistant"]
    assert told[-2:] == ["It is noon. Anything else?\nOnce upon a", "Yes?"]
    assert [tool["function"]["name"] for tool in brain.body["tools"]] == ["hang_up"]
    brain.chunk(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "hang_up", "arguments": "{}"}}])
    brain.stop("tool_calls")
    (call,) = (await until(connection, "response.done"))[-1].response.output
    assert (call.type, call.name, call.call_id) == ("function_call", "hang_up", "c1")
