"""OpenAI Live, Gemini and ElevenLabs as far ends of calls: the test servers of `tests/servers`, commanded by a test."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any
from unittest.mock import patch

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.servers import elevenlabs, gemini
from tests.servers.live import Behaviour, Close, Delegate, Drop, End, Hear, LiveServer, LiveSession, Say, Step
from tests.service.far import LAWS, Far, pieces
from tests.service.sines import alaw, linear, sine, ulaw

# OpenAI Live


class _LiveSession(LiveSession):
    """Says sines: the level of what it says is their Hz. `do` it at the next tick."""

    sounded_ns = 0
    """When it said anything last."""

    def do(self, *steps: Step) -> None:
        self._steps[:0] = [(0, step) for step in steps]

    def _sound(self, level: int) -> bytes:
        if not level:
            return super()._sound(0)
        self.sounded_ns = time.time_ns()
        encode = {"audio/pcmu": ulaw, "audio/pcma": alaw}[self.format["type"]]
        return encode(sine(level, 100, 8000))


class _LiveServer(LiveServer):
    async def talk(self, socket: ServerConnection) -> None:
        session = _LiveSession(Behaviour(), len(self.sessions) + 1)
        self.sessions.append(session)
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                assert isinstance(text, str)
                for event in session.receive(text):
                    if isinstance(event, End):
                        await self._end(socket, event)
                        return
                    await socket.send(event if isinstance(event, str) else json.dumps(event))


class Live(Far):
    """It speaks at the pace of the caller's audio, tells no interruptions, and lets a model behind it use tools."""

    keeps_pace = True
    is_said_ms = 1100
    final_reason = "session_failed"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.server = _LiveServer()
        listening = serve(
            self.server.talk, "127.0.0.1", 0, process_request=self.server.admit, compression=None, max_size=None
        )
        async with listening as on:
            port = on.sockets[0].getsockname()[1]
            self.agent = {"provider": "live", "url": f"ws://127.0.0.1:{port}/v1/live/sessions", "key": self.server.key}
            yield

    @property
    def session(self) -> _LiveSession:
        found = self.server.sessions[-1]
        assert isinstance(found, _LiveSession)
        return found

    def count(self) -> int:
        return sum(session.state != "new" for session in self.server.sessions)

    def told(self) -> str:
        return json.dumps([e for e in self.session.received if e["type"] != "session.input_audio.append"])

    def pcm(self) -> bytes:
        return linear(self.session.audio, LAWS[self.session.format["type"]])

    async def say(self, words: str, hz: float, ms: int, *, whole: bool = True) -> None:
        self.session.do(Say(words, ms, level=round(hz)))

    def stopped_ns(self) -> int:
        """When it said the last of what it has said."""
        return self.session.sounded_ns

    async def interrupt(self, words: str) -> int:
        raise NotImplementedError

    async def late(self, hz: float, ms: int) -> None:
        raise NotImplementedError

    async def hear(self, words: str) -> None:
        now = self.session.clock_ms
        self.session.do(Hear(words, max(0, now - 300), now))

    async def call(self, name: str, **arguments: Any) -> Any:
        self.uses(text_in=300, text_cached=10, text_out=25)
        self.session.do(Delegate(((f"call_{name}", name, json.dumps(arguments)),), "Yes."))
        return await self.until(lambda: self._results().get(f"call_{name}"))

    def _results(self) -> dict[str, Any]:
        items = [event["item"] for event in self.session.of_type("response.item.create")]
        return {item["call_id"]: json.loads(item["output"]) for item in items if item["type"] == "function_call_output"}

    async def drop(self) -> None:
        self.session.do(Drop())

    async def forsake(self) -> None:
        self.session.do(Close("content"))

    def problems(self) -> list[str]:
        sent = [event for session in self.server.sessions for event in session.sent if isinstance(event, dict)]
        return [str(event) for event in sent if event["type"] == "error"]


# Google Gemini Live


class Gemini(Far):
    """PCM of 16000 Hz in and of 24000 Hz out; it is resumed with its handle."""

    def __init__(self, model: str = "gemini-3.1-flash-live-preview") -> None:
        super().__init__()
        self.model = model
        self._turns = 0

    @property
    def rate(self) -> int:
        return 16000

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def script(talk: gemini.Talk) -> None:
            await talk.handle(f"handle-{len(self.server.talks)}")

        settings = gemini.Settings(handles=frozenset({"handle-1"}), binary=True)
        self.server = gemini.GeminiServer(script, settings=settings)
        async with self.server.running():
            self.agent = {
                "provider": "gemini",
                "url": self.server.url,
                "key": settings.key,
                "model": self.model,
            }
            yield

    @property
    def talk(self) -> gemini.Talk:
        return self.server.talks[-1]

    def count(self) -> int:
        return sum(bool(talk.setup) for talk in self.server.talks)

    def told(self) -> str:
        return json.dumps([self.talk.setup, *self.talk.messages])

    def pcm(self) -> bytes:
        return self.talk.audio

    async def say(self, words: str, hz: float, ms: int, *, whole: bool = True) -> None:
        await self.talk.say(words, *pieces(hz, ms, 24000))
        if whole:
            self._turns += 1  # each turn's prompt is the whole conversation so far
            self.uses(text_in=10 * self._turns, audio_out=5)
            await self.talk.complete(promptTokenCount=10 * self._turns, responseTokenCount=5)

    async def interrupt(self, words: str) -> int:
        now = time.time_ns()
        await self.talk.content(interrupted=True)
        return now

    async def late(self, hz: float, ms: int) -> None:
        await self.talk.speak(*pieces(hz, ms, 24000))
        await self.talk.content(turnComplete=True)

    async def hear(self, words: str) -> None:
        await self.talk.hear(words)

    async def call(self, name: str, **arguments: Any) -> Any:
        await self.talk.call(name, f"fc_{name}", **arguments)
        return await self.until(lambda: self._results().get(f"fc_{name}"))

    def _results(self) -> dict[str, Any]:
        told = [message["toolResponse"] for message in self.talk.messages if "toolResponse" in message]
        return {answer["id"]: answer["response"] for one in told for answer in one["functionResponses"]}

    async def says_no_more(self) -> None:
        await self.talk.content(turnComplete=True)

    async def drop(self) -> None:
        await self.talk.close(1011, "Deadline expired before operation could complete.")

    async def forsake(self) -> None:
        await self.talk.close(1011, "You exceeded your current quota, please check your plan and billing details.")

    def problems(self) -> list[str]:
        return self.server.problems


# ElevenLabs

_conversations = count(1)


class _Talk(elevenlabs.Talk):
    """Each conversation has an id of its own."""

    async def send(self, kind: str, member: str, **fields: Any) -> None:
        if "conversation_id" in fields:
            fields["conversation_id"] = f"conv_{next(_conversations)}"
        await super().send(kind, member, **fields)


class ElevenLabs(Far):
    """The agent lives there: public, or private and reached by signed URLs; µ-law, or PCM of 16000 Hz."""

    def __init__(self, *, private: bool, audio: str = "ulaw_8000") -> None:
        super().__init__()
        self.settings = elevenlabs.Settings(private=private, audio_in=audio, audio_out=audio)
        self.is_linear = audio != "ulaw_8000"

    @property
    def rate(self) -> int:
        return 16000 if self.is_linear else 8000

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def script(talk: elevenlabs.Talk) -> None:
            return

        with patch.object(elevenlabs, "Talk", _Talk):
            async with elevenlabs.serving(script, self.settings) as self.server:
                base = f"ws://127.0.0.1:{self.server.port}/v1/convai/conversation"
                self.agent = {"provider": "elevenlabs", "url": base, "model": self.settings.agent_id}
                self.agent |= {"key": self.settings.key} if self.settings.private else {}
                yield

    @property
    def talk(self) -> elevenlabs.Talk:
        return self.server.talk

    def count(self) -> int:
        return sum(bool(talk.initiation) for talk in self.server.talks)

    def told(self) -> str:
        return json.dumps([self.talk.initiation, *self.talk.messages])

    def pcm(self) -> bytes:
        return self.talk.audio if self.is_linear else linear(self.talk.audio)

    def _pieces(self, hz: float, ms: int) -> Iterator[bytes]:
        return pieces(hz, ms, self.rate, bytes if self.is_linear else ulaw)

    async def say(self, words: str, hz: float, ms: int, *, whole: bool = True) -> None:
        await self.talk.say(words, *self._pieces(hz, ms))
        if whole:
            await self.talk.complete()

    async def interrupt(self, words: str) -> int:
        now = time.time_ns()
        self.interrupted = await self.talk.interrupt()
        return now

    async def late(self, hz: float, ms: int) -> None:
        await self.talk.speak(*self._pieces(hz, ms), event_id=self.interrupted)

    async def hear(self, words: str) -> None:
        await self.talk.understand(words)

    async def call(self, name: str, **arguments: Any) -> Any:
        return json.loads((await self.talk.call(name, arguments, f"tc_{name}"))["result"])

    async def drop(self) -> None:
        await self.talk.close(1011, "internal error")

    async def forsake(self) -> None:
        await self.talk.close(1000, "the agent has hung up")

    def problems(self) -> list[str]:
        return [problem for talk in self.server.talks for problem in talk.problems]
