"""The agent on a real WebSocket: who is let in, what a session looks like from outside, bad clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.agent import server as server_module
from bridge.agent import voice
from bridge.agent.patterns import locate
from bridge.agent.script import Script
from bridge.agent.server import AgentServer, run
from tests.agent.peer import audio_of, only, types
from tests.realtime_events import problems

ANSWER = "answer: {items: [{audio_ms: 500}], speed: max}\nheard: null"
Event = dict[str, Any]


@contextlib.asynccontextmanager
async def serving(script: str | None = ANSWER, **options: Any) -> AsyncIterator[tuple[AgentServer, str]]:
    server = AgentServer(script=None if script is None else Script.parse(script), **options)
    url = await server.start()
    try:
        yield server, url
    finally:
        await server.close()


def dial(url: str, **options: Any) -> connect:
    return connect(url, max_size=None, compression=None, proxy=None, **options)


async def send(client: ClientConnection, **event: Any) -> None:
    await client.send(json.dumps(event))


async def until(client: ClientConnection, kind: str) -> list[Event]:
    """The events up to the first of this type, all judged."""
    events: list[Event] = []
    async with asyncio.timeout(20):
        while not events or events[-1]["type"] != kind:
            events.append(json.loads(await client.recv()))
            assert problems(events[-1], "server") == [], events[-1]
    return events


async def closed(client: ClientConnection) -> tuple[list[Event], int | None, str | None]:
    """The rest of a connection: events, close code and reason."""
    events = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(20):
            while True:
                events.append(json.loads(await client.recv()))
    return events, client.close_code, client.close_reason


TELEPHONE = {
    "type": "realtime",
    "audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}},
}


async def test_a_whole_answer() -> None:
    async with serving(journal=True) as (server, url):
        async with dial(f"{url}?model=gpt-realtime-2.1") as client:
            created = (await until(client, "session.created"))[0]["session"]
            assert created["model"] == "gpt-realtime-2.1"
            assert abs(created["expires_at"] - time.time() - 3600) < 60
            await send(client, type="session.update", session=TELEPHONE)
            await until(client, "session.updated")
            await send(client, type="input_audio_buffer.append", audio=base64.b64encode(b"\xff" * 160).decode())
            await send(client, type="response.create")
            events = await until(client, "rate_limits.updated")
            assert len(locate(audio_of(events))) == 1
        (session,) = server.sessions
        await asyncio.wait_for(session.done.wait(), 5)
        assert [event["type"] for _, event in session.received] == [
            "session.update",
            "input_audio_buffer.append",
            "response.create",
        ]
        assert types([event for _, event in session.sent])[:2] == ["session.created", "session.updated"]
        assert bytes(session.input_audio) == b"\xff" * 160
        assert [(item.number, item.sent_bytes) for item in session.items] == [(1, 4000)]
        stamps = [stamp for stamp, _ in sorted(session.received + session.sent, key=lambda entry: entry[0])]
        assert stamps[0] > time.time_ns() - 60 * 10**9


async def test_the_address_is_as_the_service_has_it() -> None:
    async with serving() as (_, url):
        assert url.startswith("ws://127.0.0.1:")
        assert url.endswith("/v1/realtime")
        with pytest.raises(InvalidStatus) as refused:
            await dial(url.replace("/v1/realtime", "/v1/other"))
        assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("options", "model", "headers", "code", "close"),
    [
        ({"keys": {"sk-right"}}, "m", {"Authorization": "Bearer sk-wrong"}, "invalid_api_key", 3000),
        ({"keys": {"sk-right"}}, "m", {}, "invalid_api_key", 3000),
        ({"models": {"m"}}, "n", {}, "invalid_model", 4000),
        ({}, "m", {"OpenAI-Beta": "realtime=v1"}, "beta_api_shape_disabled", 4000),
    ],
)
async def test_who_is_turned_away_is_told_after_the_upgrade(
    options: dict[str, Any], model: str, headers: dict[str, str], code: str, close: int
) -> None:
    async with serving(**options) as (server, url):
        async with dial(f"{url}?model={model}", additional_headers=headers) as client:
            events, close_code, reason = await closed(client)
        (error,) = events
        assert problems(error, "server") == []
        assert error["error"]["code"] == code
        assert (close_code, reason) == (close, f"invalid_request_error.{code}")
        assert server.sessions == []


async def test_the_right_key_and_model_are_let_in() -> None:
    async with serving(keys={"sk-right"}, models={"m"}) as (_, url):
        async with dial(f"{url}?model=m", additional_headers={"Authorization": "Bearer sk-right"}) as client:
            await until(client, "session.created")
        names = ["realtime", "openai-insecure-api-key.sk-right"]
        async with dial(f"{url}?model=m", subprotocols=names) as client:  # type: ignore[arg-type]
            await until(client, "session.created")
            assert client.subprotocol == "realtime"


async def test_a_session_expires() -> None:
    async with serving(session_seconds=0.05) as (_, url), dial(url) as client:
        events, code, reason = await closed(client)
        assert [event["type"] for event in events] == ["session.created", "error"]
        assert events[1]["error"]["code"] == "session_expired"
        assert (code, reason) == (1001, "The session has reached its time limit.")


async def test_too_many_sessions_are_refused_at_the_door() -> None:
    async with serving(max_sessions=1) as (_, url):
        async with dial(url) as client:
            await until(client, "session.created")
            with pytest.raises(InvalidStatus) as refused:
                await dial(url)
            assert refused.value.response.status_code == 503
            await send(client, type="response.create")
            await until(client, "response.done")


async def test_sessions_without_a_journal_are_forgotten() -> None:
    async with serving() as (server, url):
        async with dial(url) as client:
            await until(client, "session.created")
            (session,) = server.sessions
        await asyncio.wait_for(session.done.wait(), 5)
        assert server.sessions == []
        assert session.received == session.sent == []


async def test_another_format_may_be_echoed() -> None:
    async with serving(echo_format="audio/pcm") as (_, url), dial(url) as client:
        await send(client, type="session.update", session=TELEPHONE)
        updated = only(await until(client, "session.updated"), "session.updated")
        assert updated["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


async def test_run_says_when_it_is_ready_and_ends_when_cancelled() -> None:
    urls: list[str] = []
    serving = asyncio.create_task(run(script=Script.parse(""), ready=urls.append))
    async with asyncio.timeout(5):
        while not urls:
            await asyncio.sleep(0.01)
    async with dial(urls[0]) as client:
        await until(client, "session.created")
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        assert (await closed(client))[1] == 1001
    with pytest.raises(OSError):
        await dial(urls[0])


async def test_a_missing_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "find_spec", lambda name: None)
    with pytest.raises(voice.ExtraMissing, match="sipbridge"):
        await AgentServer().start()
    await AgentServer(script=Script.parse(ANSWER)).close()


# Faults on the wire, by script.


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("send_text: '{'", "{"),
        ("send_binary: 00ff", b"\x00\xff"),
        ("send_filler: 3000000", 3_000_000),
    ],
)
async def test_frames_that_are_no_events(step: str, expected: Any) -> None:
    script = f"{ANSWER}\nrules: [{{on: connect, do: [{{{step}}}]}}]"
    async with serving(script) as (_, url), dial(url) as client:
        await until(client, "session.created")
        got = await client.recv()
        if isinstance(expected, int):
            assert isinstance(got, str)
            assert len(got) == expected
            assert json.loads(got)["type"] == "filler"
        else:
            assert got == expected
        await send(client, type="response.create")
        await until(client, "response.done")


async def test_close_and_drop() -> None:
    async with serving("rules: [{on: connect, do: [{close: {code: 1011, reason: oh}}]}]") as (_, url):
        async with dial(url) as client:
            assert (await closed(client))[1:] == (1011, "oh")
    async with serving("rules: [{on: connect, do: [{drop: {}}]}]") as (_, url):
        async with dial(url) as client:
            assert (await closed(client))[1] in (None, 1006)


async def test_a_stall_of_sending_delays_what_follows() -> None:
    script = f"{ANSWER}\nrules: [{{on: session_update, do: [{{stall_send_ms: 300}}]}}]"
    async with serving(script) as (_, url), dial(url) as client:
        await send(client, type="session.update", session=TELEPHONE)
        await until(client, "session.updated")
        began = time.monotonic()
        await send(client, type="input_audio_buffer.clear")
        await until(client, "input_audio_buffer.cleared")
        assert time.monotonic() - began > 0.15


async def test_a_stall_of_reading_delays_the_answer() -> None:
    script = f"{ANSWER}\nrules: [{{on: session_update, do: [{{stall_read_ms: 300}}]}}]"
    async with serving(script) as (_, url), dial(url) as client:
        await send(client, type="session.update", session=TELEPHONE)
        await until(client, "session.updated")
        began = time.monotonic()
        for _ in range(2):
            await send(client, type="input_audio_buffer.clear")
            await until(client, "input_audio_buffer.cleared")
        assert time.monotonic() - began > 0.15


# Bad clients.


async def answers(client: ClientConnection) -> None:
    """The session is alive: it says something."""
    await send(client, type="response.create")
    await until(client, "response.done")


async def test_garbage_hurts_nobody_else() -> None:
    async with serving() as (server, url), dial(url) as good, dial(url) as bad:
        for _ in range(300):
            await bad.send(os.urandom(20))
            await bad.send('{"type": "' + "x" * 50)
        await answers(good)
        await answers(bad)
        assert len(server.sessions) == 2


async def test_a_message_beyond_all_bounds_ends_only_its_own_session() -> None:
    async with serving() as (server, url), dial(url) as good:
        bad = await dial(url)
        await until(bad, "session.created")
        (session,) = [one for one in server.sessions if one is not server.sessions[0]]
        with contextlib.suppress(ConnectionClosed):
            await bad.send("x" * (server_module.MAX_MESSAGE + 1))
        await asyncio.wait_for(session.done.wait(), 20)
        await answers(good)
        await bad.wait_closed()


async def test_broken_handshakes_and_frames_hurt_nobody() -> None:
    async with serving() as (_, url), dial(url) as good:
        host, port = url.split("/")[2].split(":")
        for junk in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(500), b"", b"\x16\x03\x01" * 40):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(junk)
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        bad = await dial(url)
        bad.transport.write(os.urandom(400))
        await closed(bad)
        await answers(good)


def resident_kib() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the memory")
async def test_who_never_reads_costs_bounded_memory() -> None:
    script = "answer: {items: [{audio_ms: 600000, pattern: silence}], speed: max}\nheard: null"
    async with serving(script) as (server, url), dial(url) as good:
        await until(good, "session.created")
        bad = await dial(url, max_queue=1)
        await send(bad, type="response.create")
        flood = json.dumps({"type": "conversation.item.retrieve", "item_id": "none"})
        before = resident_kib()

        async def pester() -> None:
            for _ in range(200_000):
                await bad.send(flood)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await pester()
        waiting = max(len(session.core.outbox) for session in server.sessions)
        assert waiting < 1000
        # The audio itself (28 MB in PCM) is made once; nothing grows with what the client asks for.
        assert resident_kib() - before < 200_000
        await send(good, type="input_audio_buffer.clear")
        await until(good, "input_audio_buffer.cleared")
        bad.transport.abort()


async def test_fifty_sessions_beside_each_other() -> None:
    async with serving("answer: {items: [{audio_ms: 400}], speed: 10}\nheard: null", journal=True) as (server, url):

        async def call() -> None:
            async with dial(url) as client:
                await send(client, type="session.update", session=TELEPHONE)
                for _ in range(3):
                    await answers(client)

        await asyncio.gather(*(call() for _ in range(50)))
        assert len(server.sessions) == 50
        ids = {event["session"]["id"] for one in server.sessions for _, event in one.sent[:1]}
        assert len(ids) == 50


# By itself: ears, brain and voice.


async def test_it_answers_a_spoken_question_and_survives_its_workers() -> None:
    pytest.importorskip("pocketsphinx", reason="the extra 'agent' is not installed")
    pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")
    from bridge.agent.formats import AudioFormat
    from bridge.agent.orders import Speak

    form = AudioFormat.PCMU
    async with serving(None, speed=50) as (server, url):
        assert server.voice is not None
        assert server.ears is not None
        question = await server.voice.speak(Speak("", "what time is it", form, "marin", 1.0))
        assert question is not None
        workers = server.voice.pool.workers + server.ears.pool.workers
        for round_number in range(2):
            async with dial(url) as client:
                session = TELEPHONE | {
                    "audio": {
                        "input": {"format": form.wire(), "transcription": {"model": "whisper-1"}},
                        "output": {"format": form.wire()},
                    }
                }
                await send(client, type="session.update", session=session)
                await send(client, type="response.create")
                greeting = await until(client, "response.done")
                assert "built-in agent" in only(greeting, "response.output_audio_transcript.done")["transcript"]
                if round_number == 0:
                    for worker in workers:
                        assert worker.pid is not None
                        os.kill(worker.pid, 9)
                audio = form.silence(200) + question + form.silence(600)
                for start in range(0, len(audio), 800):
                    chunk = base64.b64encode(audio[start : start + 800]).decode()
                    await send(client, type="input_audio_buffer.append", audio=chunk)
                events = await until(client, "response.done")
                heard = only(events, "conversation.item.input_audio_transcription.completed")
                assert heard["transcript"] == "what time is it"
                assert only(events, "response.output_audio_transcript.done")["transcript"].startswith("It is")
                assert len(audio_of(events)) > 8000
        assert [worker.restarts for worker in workers] == [1, 1]
    assert server.voice is None
