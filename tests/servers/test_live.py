"""The Live test server under the vendor's own client, and the bridge's protocol object over real sockets against it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.live.live import AsyncLiveConnection

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime import session as session_module
from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.history import AgentWords, CallerWords, History
from bridge.realtime.live.protocol import LiveProtocol
from bridge.realtime.options import SessionOptions
from bridge.realtime.session import Session
from tests.realtime.test_live import HANG_UP, audio_of, kinds, tone
from tests.servers.live import (
    Behaviour,
    Close,
    Delegate,
    Drop,
    Hear,
    LiveServer,
    LiveSession,
    Say,
    Send,
    Stall,
    live_server,
)
from tests.servers.live_types import problems

HELLO = Say("Good morning, this is Adler bicycles.", 1500)

# Under the vendor's own client


@contextlib.asynccontextmanager
async def vendor(server: LiveServer) -> AsyncIterator[AsyncLiveConnection]:
    base = server.url.removesuffix("/live/sessions")
    async with AsyncOpenAI(api_key=server.key, base_url=base.replace("ws", "http"), websocket_base_url=base) as client:
        async with client.live.connect() as connection:
            yield connection


async def heard_until(connection: AsyncLiveConnection, kind: str) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(5):
        while not found or found[-1].type != kind:
            found.append(await connection.recv())
    return found


async def test_the_vendors_client_holds_a_conversation() -> None:
    script = ((1000, Hear("Is my bike ready?", 200, 1000)), (1500, Delegate((("call_1", "look_up", "{}"),), "Yes.")))
    async with live_server(Behaviour(script, on_instructions=HELLO)) as server, vendor(server) as live:
        tool: Any = {"type": "function", "name": "look_up"}
        await live.session.start(
            event_id="start-1",
            session={
                "model": "gpt-live-1",
                "audio": {"format": {"type": "audio/pcma", "rate": 8000}},
                "delegation": {"type": "responses", "responses": {"model": "gpt-5.6-luna", "tools": [tool]}},
            },
        )
        (started,) = await heard_until(live, "session.started")
        assert started.client_event_id == "start-1"
        assert started.session.expires_at and started.session.audio.format.type == "audio/pcma"

        await live.session.instructions.append(content="Greet now.", delegation_id=None, event_id="greet-1")
        silence = base64.b64encode(silence_of(100, Law.PCMA)).decode()
        for _ in range(30):
            await live.session.input_audio.append(audio=silence)
        found = await heard_until(live, "response.event")
        acknowledged = next(event for event in found if event.type == "session.instructions.appended")
        assert (acknowledged.client_event_id, acknowledged.start_ms) == ("greet-1", 600)
        said = "".join(event.delta for event in found if event.type == "session.output_transcript.delta")
        assert HELLO.text.startswith(said) and said
        assert [event.delta for event in found if event.type == "session.input_transcript.delta"] == [
            "Is my bike ready?"
        ]

        output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "{}"}
        await live.response.item.create(item=output)
        await live.response.create()
        for _ in range(30):
            await live.session.input_audio.append(audio=silence)
        await live.session.close(event_id="bye-1")
        found = await heard_until(live, "session.closed")
        assert [event.type for event in found if event.type == "error"] == []
        assert found[-1].reason == "close_requested" and found[-1].usage.seconds == 6.0
        words = "".join(event.delta for event in found if event.type == "session.output_transcript.delta")
        assert words.endswith("Yes.")


async def test_before_the_start_nothing_comes_but_an_error_for_anything_else() -> None:
    async with live_server() as server, vendor(server) as live:
        await live.session.input_audio.append(audio="//8=", event_id="early")
        (error,) = await heard_until(live, "error")
        assert error.error.client_event_id == "early"
        await live.session.start(session={"model": "gpt-live-1"})
        (started,) = await heard_until(live, "session.started")
        assert started.session.audio.format.rate == 24000, "the default"


async def test_no_input_no_output() -> None:
    session = LiveSession(Behaviour(((0, HELLO),)), 1)
    session.receive('{"type":"session.start","session":{"model":"gpt-live-1"}}')
    append = {"type": "session.input_audio.append", "audio": base64.b64encode(bytes(4800)).decode()}
    assert len(session.receive(json.dumps(append | {"audio": ""}))) == 0
    kinds_of = [event["type"] for event in session.receive(json.dumps(append)) if isinstance(event, dict)]
    assert kinds_of == ["session.output_transcript.delta", "session.output_audio.delta"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.dance"},
        {"type": "session.thinking.append", "content": "x"},
        {"type": "session.close", "at_once": True},
        {"type": "session.update", "session": {"delegation": {"type": "responses", "responses": {"model": "m"}}}},
        {"type": "response.create"},
        {"type": "session.commentary.append", "content": "x", "delegation_id": "item_unknown"},
    ],
)
async def test_what_the_service_would_refuse_is_refused_and_the_session_goes_on(event: dict[str, Any]) -> None:
    session = LiveSession(Behaviour(), 1)
    session.receive('{"type":"session.start","session":{"model":"gpt-live-1"}}')
    (error,) = session.receive(json.dumps(event | {"event_id": "e1"}))
    assert isinstance(error, dict) and error["type"] == "error"
    assert error["error"]["client_event_id"] == "e1"
    assert problems(error, "server") == []
    assert session.state == "active"


@pytest.mark.parametrize(("path", "key", "status"), [("?model=x", "sk-live", 404), ("", "sk-wrong", 401)])
async def test_a_query_and_a_wrong_key_are_refused(path: str, key: str, status: int) -> None:
    async with live_server() as server:
        dialer = Dialer(Address(server.url + path, {"Authorization": f"Bearer {key}"}))
        with pytest.raises(SessionFailed, match=f"http_{status}"):
            await dialer.connect()


# The bridge's protocol object over real sockets


class Caller:
    """A session of the bridge with the server, and what came of it. Time is the audio that is sent."""

    def __init__(self, server: LiveServer, audio: Format = Law.PCMU, history: History | None = None, **more: Any):
        self.events: list[ev.Event] = []
        self.format = audio
        self.protocol = LiveProtocol(SessionOptions(audio, **more), history or History())
        dialer = Dialer(Address(server.url, {"Authorization": f"Bearer {server.key}"}))
        self.session = Session(self.protocol, dialer, on_event=self.hear)
        self.on_tool: Callable[[ev.ToolCall], None] = lambda call: None
        self.reader: asyncio.Task[ev.Lost] | None = None

    def hear(self, event: ev.Event) -> None:
        self.events.append(event)
        if isinstance(event, ev.ToolCall):
            self.on_tool(event)

    async def __aenter__(self) -> Caller:
        await self.session.open(5)
        assert self.session._steady is not None
        self.session._steady.stop()  # here time is what the test gives
        self.reader = asyncio.create_task(self.session.run())
        return self

    async def __aexit__(self, *gone: object) -> None:
        await self.session.close()
        assert self.reader is not None
        await asyncio.wait_for(self.reader, 5)

    async def speak(self, ms: int, *, loud: bool = False) -> None:
        """Audio up, and all that the server makes of it down again, 100 ms at a time."""
        for _ in range(ms // 100):
            for _ in range(5):
                self.session.append(tone(20, self.format) if loud else silence_of(20, self.format))
            await self.until(lambda: self.is_quiet)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)

    @property
    def is_quiet(self) -> bool:
        """Whether the server's clock has come as far as ours, and all that it sent is here."""
        server = self.server
        if server.state != "active":
            return True
        return server.clock_ms == self.protocol.clock_ms and self.protocol.events_in == len(server.sent)

    server: LiveSession

    def of(self, *wanted: type[ev.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, wanted)]


@contextlib.asynccontextmanager
async def calling(*behaviours: Behaviour, **options: Any) -> AsyncIterator[Caller]:
    async with live_server(*behaviours) as server:
        async with Caller(server, **options) as caller:
            caller.server = server.sessions[-1]
            yield caller
        assert not [event for event in caller.server.received if problems(event, "client")]


@pytest.mark.parametrize("audio", [Law.PCMU, Law.PCMA, Linear(24000)])
async def test_a_conversation(audio: Format) -> None:
    script = ((3000, Hear("Is my", 2000, 2500)), (3100, Hear(" bike ready?", 2500, 3000)), (3500, Say("It is.", 1000)))
    async with calling(Behaviour(script, on_instructions=HELLO), audio=audio, greeting="Good morning.") as caller:
        caller.protocol.greet()
        caller.session.flush()
        await caller.speak(8000)
    ready = caller.session.ready
    assert ready is not None and (ready.audio_in, ready.audio_out, ready.fell_back) == (audio, audio, "")
    first, caller_line, second = (placed.item_id for placed in caller.of(ev.Placed))
    assert caller.of(ev.AgentSaid) == [ev.AgentSaid(first, HELLO.text), ev.AgentSaid(second, "It is.")]
    assert caller.of(ev.CallerSaid) == [ev.CallerSaid(caller_line, "Is my bike ready?")]
    for item_id, ms in ((first, 1500), (second, 1000)):
        spoken = audio_of([event for event in caller.of(ev.AudioDelta) if event.item_id == item_id])
        assert len(spoken) == (ms + 60 + 800) * audio.bytes_per_ms
    assert caller.of(ev.AudioEnd) == [ev.AudioEnd(first), ev.AudioEnd(second)]
    assert kinds(caller.of(ev.SessionError)) == []
    assert (caller.protocol.malformed, caller.protocol.unknown) == (0, 0)


async def test_the_conversation_before_goes_into_the_new_session() -> None:
    history = History((CallerWords("a", "Hello"), AgentWords("b", "Good day")))
    async with calling(history=history) as caller:
        await caller.speak(100)
        said = [item["content"][0]["text"] for item in caller.server.config["input"]]
    assert said == ["Hello", "Good day"]


async def test_delegation_with_tools() -> None:
    calls = (("call_1", "hang_up", "{}"), ("call_2", "hang_up", '{"why":"x"}'))
    behaviour = Behaviour(((500, Delegate(calls, "Both are done.")),))
    async with calling(behaviour, tools=(HANG_UP,)) as caller:
        caller.on_tool = lambda call: caller.protocol.tool_result(call.call_id, {"ok": True})
        await caller.speak(1000)
        await caller.until(lambda: len(caller.server.of_type("response.create")) == 1)
        await caller.speak(5000)
    assert [call.call_id for call in caller.of(ev.ToolCall)] == ["call_1", "call_2"]
    order = [event["type"] for event in caller.server.received if event["type"].startswith("response.")]
    assert order == ["response.item.create", "response.item.create", "response.create"]
    assert [said.text for said in caller.of(ev.AgentSaid)] == ["Both are done."]
    assert caller.of(ev.Usage)[0].tokens == {"text_in": 300, "text_cached": 10, "text_out": 25}
    assert caller.of(ev.SessionError) == []
    assert len(caller.of(ev.ResponseEnded)) >= 1


async def test_delegation_to_nobody_is_answered() -> None:
    async with calling(Behaviour(((500, Delegate()),))) as caller:
        await caller.speak(1000)
        await caller.until(lambda: bool(caller.server.of_type("session.commentary.append")))
        await caller.speak(1000)
        acknowledged = [event for event in caller.server.sent if isinstance(event, dict)]
    assert "session.commentary.appended" in [event["type"] for event in acknowledged]
    assert caller.of(ev.SessionError) == []


async def test_the_model_falls_silent_by_itself_when_the_caller_speaks() -> None:
    async with calling(Behaviour(((0, Say("A long story.", 5000)),))) as caller:
        await caller.speak(1000)
        await caller.speak(200, loud=True)
        await caller.speak(2000)
    assert len(caller.of(ev.AudioEnd)) == 1
    assert len(audio_of(caller.of(ev.AudioDelta))) <= (1100 + 60 + 800) * 8


async def test_a_key_press_silences_the_agent_until_its_next_pause() -> None:
    script = ((0, Say("A long story.", 2000)), (3000, Say("Something new.", 1000)))
    async with calling(Behaviour(script)) as caller:
        await caller.speak(1000)
        (placed,) = caller.of(ev.Placed)
        cuts = caller.protocol.interrupted([ev.Unheard(placed.item_id, 700)], by_server=False)
        caller.session.flush()
        heard = len(audio_of(caller.of(ev.AudioDelta)))
        await caller.speak(1900)
        assert len(audio_of(caller.of(ev.AudioDelta))) == heard
        await caller.speak(3000)
    assert cuts == [ev.Truncated(placed.item_id, 700)]
    assert caller.protocol.late_deltas == 10
    assert len({delta.item_id for delta in caller.of(ev.AudioDelta)}) == 2
    assert caller.server.of_type("session.instructions.append") == []


async def test_a_connection_that_drops_without_session_closed_is_lost() -> None:
    async with calling(Behaviour(((1000, HELLO), (2000, Drop())))) as caller:
        await caller.speak(3000)
        assert caller.reader is not None
        lost = await asyncio.wait_for(asyncio.shield(caller.reader), 5)
    assert lost.code == 1006
    assert not caller.protocol.is_final_close(lost.code, lost.reason)
    assert caller.of(ev.GoingAway) == [], "nobody said so"
    assert [type(event) for event in caller.protocol._end_all()] == [ev.AudioEnd, ev.AgentSaid]


async def test_an_expired_session_says_so_and_another_goes_on() -> None:
    first, second = Behaviour(time_limit_ms=2000), Behaviour(((500, Say("Where were we?", 500)),))
    async with live_server(first, second) as server:
        async with Caller(server) as caller:
            caller.server = server.sessions[0]
            await caller.speak(3000)
            assert caller.reader is not None
            lost = await asyncio.wait_for(asyncio.shield(caller.reader), 5)
        assert lost.code == 1005
        assert not caller.protocol.is_final_close(lost.code, lost.reason)
        assert caller.events[-2:] == [ev.Usage("gpt-live-1", seconds=2.1), ev.GoingAway(0.0)]
        async with Caller(server, history=History((CallerWords("a", "Hello"),))) as again:
            again.server = server.sessions[1]
            await again.speak(4000)
        assert [said.text for said in again.of(ev.AgentSaid)] == ["Where were we?"]


async def test_after_the_safety_filter_the_call_is_over() -> None:
    async with calling(Behaviour(((500, Close("content")),))) as caller:
        await caller.speak(1000)
        await caller.until(lambda: bool(caller.of(ev.SessionError)))
    assert [(error.code, error.fatal) for error in caller.of(ev.SessionError)] == [("content", True)]


@pytest.mark.parametrize("code", ["insufficient_quota", None])
async def test_an_error_before_the_start_is_no_session(code: str | None) -> None:
    error = {"type": "quota_error", "code": code, "message": "no credit"}
    async with live_server(Behaviour(error_before_start=error)) as server:
        caller = Caller(server)
        with pytest.raises(SessionFailed, match="no credit") as failed:
            await caller.session.open(5)
        await caller.session.close()
    assert failed.value.reason == (code or "quota_error")


async def test_another_format_in_the_echo_is_what_the_session_speaks() -> None:
    behaviour = Behaviour(((0, Say("Hi", 500)),), echo_format={"type": "audio/pcm", "rate": 24000})
    async with live_server(behaviour) as server:
        caller = Caller(server)
        ready = await caller.session.open(5)
        await caller.session.close()
    assert (ready.audio_in, ready.audio_out) == (Linear(24000), Linear(24000))
    assert ready.fell_back


async def test_what_goes_wrong_in_mid_call_leaves_the_session_running() -> None:
    moderation = {"type": "error", "event_id": "m", "error": {"type": "moderation", "code": None, "message": "cut"}}
    script = (
        (100, Send({"type": "session.weather.updated", "event_id": "w", "rain": True})),
        (200, Send(moderation)),
        (300, Send("{ no JSON")),
        (400, Send({"type": "session.output_audio.delta", "delta": "no Base64!"})),
        (500, Send({"type": "session.output_audio.delta", "delta": None})),
        (1000, Say("All is well.", 500)),
    )
    async with calling(Behaviour(script)) as caller:
        await caller.speak(5000)
    assert (caller.protocol.malformed, caller.protocol.unknown) == (3, 1)
    assert caller.of(ev.SessionError) == [ev.SessionError("moderation", "cut")]
    assert [said.text for said in caller.of(ev.AgentSaid)] == ["All is well."]
    assert len(audio_of(caller.of(ev.AudioDelta))) == (500 + 60 + 800) * 8


async def test_a_burst_of_late_deltas_loses_nothing() -> None:
    async with calling(Behaviour(((500, Stall(2000)), (600, Say("After the stall.", 1000))))) as caller:
        await caller.speak(5000)
    assert len(caller.of(ev.AudioEnd)) == 1
    assert len(audio_of(caller.of(ev.AudioDelta))) == (1000 + 60 + 800) * 8


async def test_where_the_server_leaves_silence_out_items_still_end() -> None:
    script = ((0, Say("One.", 500)), (4000, Say("Two.", 500)))
    async with calling(Behaviour(script, omits_silence=True)) as caller:
        for _ in range(80):
            await caller.speak(100)
    assert len({delta.item_id for delta in caller.of(ev.AudioDelta)}) == 2
    assert len(caller.of(ev.AudioEnd)) >= 1


async def test_closing_asks_for_the_end_of_the_session() -> None:
    async with calling() as caller:
        await caller.speak(1000)
        await caller.session.close()
        await caller.until(lambda: caller.server.state == "closed")
    assert [event["type"] for event in caller.server.received][-1] == "session.close"


async def test_a_server_that_never_answers_the_close_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GOODBYE_S", 0.01)
    async with calling(Behaviour(answers_close=False)) as caller:
        await caller.speak(100)
        await asyncio.wait_for(caller.session.close(), 5)
    assert len(caller.server.of_type("session.close")) == 1


async def test_appends_are_acknowledged_by_the_sessions_clock_and_fail_at_its_end() -> None:
    async with calling() as caller:
        caller.protocol.instruct("One.")
        caller.session.flush()
        await caller.speak(700)
        caller.protocol.instruct("Two.")
        caller.session.flush()
        await caller.speak(100)
        await caller.session.close()
        await caller.until(lambda: caller.server.state == "closed")
    sent = [event for event in caller.server.sent if isinstance(event, dict)]
    assert [event["start_ms"] for event in sent if event["type"] == "session.instructions.appended"] == [600]
    assert [event["error"]["code"] for event in sent if event["type"] == "error"] == ["context_injection_incomplete"]
