"""The protocol object on a real socket against the test server: whole conversations, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.audio.format import Linear
from bridge.realtime import events as ev
from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.gemini.protocol import GeminiProtocol
from bridge.realtime.gemini.setup import KEY_HEADER, URL
from bridge.realtime.history import NOTHING, CallerWords, History
from bridge.realtime.options import SessionOptions
from bridge.realtime.session import Session
from tests.servers.gemini import PATH, GeminiServer, Settings, Talk, audio

STOCK = {"type": "function", "name": "stock", "parameters": {"type": "object", "properties": {}}}
TOLD = (CallerWords("c", "I am Alice."),)
VOICE = b"\1\0" * 240


class Line:
    """An open session and what it has said."""

    def __init__(self, server: GeminiServer, history: History = NOTHING, key: str = "key-1", **options: Any) -> None:
        self.events: list[ev.Event] = []
        self.protocol = GeminiProtocol(
            SessionOptions(Linear(24000), greeting="Begin.", tools=(STOCK,), turn_detection={}, **options), history
        )
        self._news = asyncio.Event()
        dialer = Dialer(Address(server.url, {KEY_HEADER: key}))
        self.session = Session(self.protocol, dialer, on_event=self._on_event)
        self.reader: asyncio.Task[ev.Lost]

    def _on_event(self, event: ev.Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def got(self, kind: type[Any], count: int = 1) -> Any:
        """The latest event of a kind, once there are so many."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def lost(self) -> ev.Lost:
        """How the session ended."""
        return await asyncio.wait_for(asyncio.shield(self.reader), 5)

    @property
    def heard(self) -> bytes:
        return b"".join(event.audio for event in self.of(ev.AudioDelta))

    def ask(self, ask: Callable[[GeminiProtocol], object]) -> None:
        ask(self.protocol)
        self.session.flush()


@asynccontextmanager
async def talking(server: GeminiServer, history: History = NOTHING, **options: Any) -> AsyncIterator[Line]:
    line = Line(server, history, **options)
    await line.session.open(5)
    line.reader = asyncio.create_task(line.session.run())
    await asyncio.sleep(0)
    try:
        yield line
    finally:
        await line.session.close()
        await line.lost()


async def whole_story(talk: Talk) -> None:
    await talk.next("clientContent")
    await talk.say("Hello.", VOICE)
    await talk.complete(promptTokenCount=10, responseTokenCount=5)
    await talk.hears(6400)
    await talk.hear("How many are there?")
    await talk.call("stock", "fc_1", article="4711")
    assert (await talk.next("toolResponse"))["functionResponses"][0]["response"] == {"output": "4"}
    await talk.say("There are four, and in the other shop", VOICE, VOICE)
    await talk.interrupt()
    await talk.hear("Stop.")
    await talk.call("stock", "fc_2", article="1")
    await talk.cancel("fc_2")
    await talk.call("stock", "fc_3", article="2")
    await talk.next("toolResponse")
    await talk.say("Two.", VOICE)
    await talk.complete()


@pytest.mark.parametrize("binary", [False, True])
async def test_a_conversation_with_a_tool_an_interruption_and_a_cancellation(binary: bool) -> None:
    server = GeminiServer(whole_story, settings=Settings(binary=binary))
    async with server.running(), talking(server) as line:
        line.ask(lambda protocol: protocol.greet())
        await line.got(ev.Usage)
        line.session.append(b"\5\0" * 3200)
        first = await line.got(ev.ToolCall)
        assert (first.name, first.arguments) == ("stock", '{"article":"4711"}')
        line.ask(lambda protocol: protocol.tool_result("fc_1", {"output": "4"}))
        await line.got(ev.SpeechStarted)
        cuts = line.session.protocol.interrupted([ev.Unheard("x")])
        assert [cut.heard_ms for cut in cuts] == [0]
        await line.got(ev.ToolCancelled)
        line.ask(lambda protocol: protocol.tool_result("fc_2", {"output": "1"}))
        await line.got(ev.ToolCall, 3)
        line.ask(lambda protocol: protocol.tool_result("fc_3", {"output": "2"}))
        await line.until(lambda: "Two." in [said.text for said in line.of(ev.AgentSaid)])
        assert server.talks[0].audio == b"\5\0" * 3200
        assert line.heard == VOICE * 4
    assert server.problems == []
    assert [said.text for said in line.of(ev.CallerSaid)] == ["How many are there?", "Stop."]
    assert [said.text for said in line.of(ev.AgentSaid)][:2] == ["Hello.", "There are four, and in the other shop"]
    assert (line.protocol.malformed, line.protocol.unknown) == (0, 0)
    assert server.talks[0].closed == 1000


async def ends(talk: Talk) -> None:
    await talk.handle("handle-1")
    await talk.send(goAway={"timeLeft": "0.5s"})
    await talk.close(1011, "Deadline expired before operation could complete.")


async def listens(talk: Talk) -> None:
    await talk.say("Back.", VOICE)
    await talk.complete()


async def test_a_session_that_goes_away_is_resumed_by_its_handle_and_told_nothing() -> None:
    server = GeminiServer(ends, listens, settings=Settings(handles=frozenset({"handle-1"})))
    async with server.running():
        async with talking(server) as line:
            assert (await line.got(ev.GoingAway)).seconds == 0.5
            lost = await line.lost()
        assert lost.code == 1011
        assert line.protocol.resumption == "handle-1"
        async with talking(server, History(TOLD, line.protocol.resumption)) as again:
            await again.got(ev.AgentSaid)
        assert server.talks[1].setup["sessionResumption"] == {"handle": "handle-1"}
        assert server.talks[1].messages == []
    assert server.problems == []


@pytest.mark.parametrize("model", ["", "gemini-3.1-flash-live-preview"])
async def test_a_handle_that_is_refused_fails_the_opening_and_the_history_does_it(model: str) -> None:
    server = GeminiServer(listens)
    async with server.running():
        line = Line(server, History(TOLD, "old"), model=model)
        with pytest.raises(SessionFailed, match="1007") as refused:
            await line.session.open(5)
        await line.session.close()
        assert refused.value.reason == "closed"
        assert line.protocol.resumption == ""
        async with talking(server, History(TOLD), model=model) as again:
            await again.got(ev.AgentSaid)
        (told,) = server.talks[1].messages
        assert told["clientContent"]["turns"][0]["parts"] == [{"text": "I am Alice."}]
    assert server.problems == []


@pytest.mark.parametrize(
    ("options", "said"), [({"key": "wrong"}, "1007 API key not valid"), ({"model": "gemini-0"}, "1008 model is not")]
)
async def test_a_wrong_key_or_model_fails_with_the_services_own_words(options: dict[str, str], said: str) -> None:
    server = GeminiServer(listens)
    async with server.running():
        line = Line(server, **options)
        with pytest.raises(SessionFailed, match=said):
            await line.session.open(5)
        await line.session.close()


async def nonsense(talk: Talk) -> None:
    for frame in ("{", "[]", "5", b"\xff\xfe\x00", '{"serverContent":5}', '{"serverContent":{}}'):
        await talk.raw(frame)
    bad = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "!!!"}}
    await talk.content(modelTurn={"parts": [bad, {"text": "Hm.", "thought": True}, {}]})
    await talk.send(
        serverContent={"outputTranscription": {"text": "Still here."}, **audio(VOICE), "turnComplete": True},
        usageMetadata={"promptTokenCount": 3},
        goAway={"timeLeft": "60s"},
    )


async def test_nonsense_between_good_frames_costs_only_itself() -> None:
    server = GeminiServer(nonsense)
    async with server.running(), talking(server) as line:
        await line.got(ev.GoingAway)
        assert line.heard == VOICE
        assert [said.text for said in line.of(ev.AgentSaid)] == ["Still here."]
        assert line.of(ev.Usage)[0].tokens == {"text_in": 3}
        assert "Hm." not in repr(line.events)
        assert line.protocol.malformed >= 6


async def closes(talk: Talk) -> None:
    await talk.close(1008, "Operation is not implemented, or supported, or enabled.")


async def test_the_close_code_and_its_reason_come_with_the_loss() -> None:
    server = GeminiServer(closes)
    async with server.running(), talking(server) as line:
        assert await line.lost() == ev.Lost(1008, "Operation is not implemented, or supported, or enabled.")


def test_the_servers_path_is_that_of_the_service() -> None:
    assert URL.endswith(PATH)
