"""Gemini Live for tests, written from the provider reference (section 3).

A test gives a script, which is the model: it speaks, hears, calls tools and says goodbye by the methods of `Talk`. What
the client sends is checked by the published types of `google-genai`, and what is wrong with it stands in `problems`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pydantic
from google.genai import types
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Json = dict[str, Any]

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
MAIN_KEYS = ("setup", "clientContent", "realtimeInput", "toolResponse")


@dataclass(frozen=True)
class Settings:
    """What the service knows."""

    key: str = "key-1"
    models: tuple[str, ...] = (
        "models/gemini-2.5-flash-native-audio-preview-12-2025",
        "models/gemini-3.1-flash-live-preview",
    )
    handles: frozenset[str] = frozenset()
    """Sessions that can be resumed."""
    binary: bool = False
    """Frames are binary messages."""


def problems(message: Json) -> list[str]:
    """What is wrong with a message of a client: foreign members, wrong types, more than one thing at once."""
    keys = [key for key in MAIN_KEYS if key in message]
    if len(keys) != 1 or len(message) != 1:
        return [f"one main key, not {sorted(message)}"]
    (key,) = keys
    found = _wrong(types.LiveClientMessage, {key: {} if key == "setup" else message[key]}, key)
    return found + (_setup_problems(message["setup"]) if key == "setup" else [])


def _setup_problems(setup: Json) -> list[str]:
    """Member by member: the class of the whole takes some for unions, and has no `realtimeInputConfig`."""
    parts = {
        "systemInstruction": types.Content,
        "realtimeInputConfig": types.RealtimeInputConfig,
        "generationConfig": types.GenerationConfig,
    }
    found = _wrong(types.LiveClientSetup, {k: v for k, v in setup.items() if k not in (*parts, "tools")}, "setup")
    for name, model in parts.items():
        found += _wrong(model, setup.get(name, {}), name)
    for tool in setup.get("tools", []):
        found += _wrong(types.Tool, tool, "tools")
        for declared in tool.get("functionDeclarations", []):
            found += _wrong(types.FunctionDeclaration, declared, "functionDeclarations")
    return found


def _wrong(model: type[pydantic.BaseModel], value: Json, name: str) -> list[str]:
    try:
        model.model_validate(value)
    except pydantic.ValidationError as wrong:
        return [f"{name}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors()]
    return []


class Closed(Exception):
    """The client is gone."""


class Talk:
    """One session, from the model's side."""

    def __init__(self, settings: Settings, socket: ServerConnection) -> None:
        self.settings = settings
        self.setup: Json = {}
        self.messages: list[Json] = []
        """All that came after the setup, but audio."""
        self.audio = b""
        """Of the caller, decoded."""
        self.problems: list[str] = []
        self.cancelled: set[str] = set()
        self.closed: int | None = None
        """The close code; None: the session stands."""
        self._socket = socket
        self._news = asyncio.Condition()
        self._seen = 0

    # What the model does

    async def raw(self, frame: str | bytes) -> None:
        """Any frame, sense or nonsense."""
        await self._socket.send(frame)

    async def send(self, **members: Any) -> None:
        """One frame, perhaps with several main keys."""
        frame = orjson.dumps(members)
        await self.raw(frame if self.settings.binary else frame.decode())

    async def content(self, **members: Any) -> None:
        """One `serverContent`."""
        await self.send(serverContent=members)

    async def speak(self, *pieces: bytes) -> None:
        """Audio."""
        for piece in pieces:
            await self.content(**audio(piece))

    async def say(self, words: str, *pieces: bytes) -> None:
        """A text, then its audio."""
        await self.content(outputTranscription={"text": words})
        await self.speak(*pieces)

    async def hear(self, words: str) -> None:
        """A piece of the caller's words."""
        await self.content(inputTranscription={"text": words})

    async def complete(self, **usage: int) -> None:
        """The end of a turn, as it comes on the wire."""
        await self.content(generationComplete=True)
        tokens = {"usageMetadata": usage} if usage else {}
        await self.send(serverContent={"turnComplete": True}, **tokens)

    async def interrupt(self) -> None:
        """The caller speaks over the model."""
        await self.content(interrupted=True)
        await self.content(turnComplete=True)

    async def call(self, name: str, call_id: str, **arguments: Any) -> None:
        """A tool call."""
        await self.send(toolCall={"functionCalls": [{"id": call_id, "name": name, "args": arguments}]})

    async def cancel(self, *ids: str) -> None:
        """Calls that must not be answered any more."""
        self.cancelled |= set(ids)
        await self.send(toolCallCancellation={"ids": list(ids)})

    async def handle(self, handle: str, *, resumable: bool = True) -> None:
        """The session can be resumed from here."""
        await self.send(sessionResumptionUpdate={"newHandle": handle, "resumable": resumable})

    async def close(self, code: int, reason: str = "") -> None:
        """The service ends the session."""
        await self._socket.close(code, reason)

    # What the client does

    async def next(self, key: str) -> Json:
        """The content of the client's next message of a kind; others before it are passed over."""
        async with self._news:
            while True:
                while self._seen < len(self.messages):
                    message = self.messages[self._seen]
                    self._seen += 1
                    if key in message:
                        return dict(message[key])
                if self.closed is not None:
                    raise Closed
                await self._news.wait()

    async def hears(self, size: int) -> None:
        """So many bytes of the caller's audio have come."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.audio) >= size or self.closed is not None)

    async def gone(self) -> None:
        """The client has closed."""
        async with self._news:
            await self._news.wait_for(lambda: self.closed is not None)

    async def read(self) -> None:
        """Read until the socket is closed."""
        try:
            async for frame in self._socket:
                self._take(orjson.loads(frame))
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            pass
        async with self._news:
            self.closed = self._socket.close_code or 1006
            self._news.notify_all()

    def _take(self, message: Json) -> None:
        # The official client writes some main keys with an underscore, which the service takes as well.
        message = {_camel(key): value for key, value in message.items()}
        self.problems += problems(message)
        if "setup" in message:
            self.problems.append("a second setup")
        spoken = message.get("realtimeInput", {}).get("audio")
        if spoken is not None:
            self.audio += base64.urlsafe_b64decode(spoken["data"].replace("+", "-").replace("/", "_"))
            return
        for answer in message.get("toolResponse", {}).get("functionResponses", []):
            if answer.get("id") in self.cancelled:
                self.problems.append(f"an answer to the cancelled call {answer['id']}")
        self.messages.append(message)


def audio(piece: bytes, rate: int = 24000) -> Json:
    """A `serverContent` with audio."""
    data = {"mimeType": f"audio/pcm;rate={rate}", "data": base64.b64encode(piece).decode()}
    return {"modelTurn": {"parts": [{"inlineData": data}]}}


def _camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(other.capitalize() for other in others)


Script = Callable[[Talk], Awaitable[None]]


class GeminiServer:
    """The service. One script per session, in order; the last one serves all others too."""

    def __init__(self, *scripts: Script, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.talks: list[Talk] = []
        self.port = 0
        self._scripts = scripts

    @property
    def url(self) -> str:
        """Of the socket."""
        return f"ws://127.0.0.1:{self.port}{PATH}"

    @property
    def problems(self) -> list[str]:
        """What was wrong with the messages of all clients."""
        return [problem for talk in self.talks for problem in talk.problems]

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[GeminiServer]:
        """Listening on a free port of the loopback."""
        async with serve(self._serve, "127.0.0.1", 0, compression=None, ssl=tls) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, socket: ServerConnection) -> None:
        talk = Talk(self.settings, socket)
        script = self._scripts[min(len(self.talks), len(self._scripts) - 1)]
        self.talks.append(talk)
        with contextlib.suppress(ConnectionClosed):
            if await self._admitted(talk, socket):
                reader = asyncio.create_task(talk.read())
                with contextlib.suppress(Closed, ConnectionClosed):
                    await script(talk)
                    await talk.gone()
                await reader

    async def _admitted(self, talk: Talk, socket: ServerConnection) -> bool:
        """Key, model and handle are refused by close codes, as the service does."""
        first = orjson.loads(await socket.recv())
        assert socket.request is not None
        path = socket.request.path.replace("//", "/")  # the official client doubles a slash
        if socket.request.headers.get("x-goog-api-key") != self.settings.key or path != PATH:
            await socket.close(1007, "API key not valid. Please pass a valid API key.")
            return False
        talk.setup = first.get("setup", {})
        talk.problems += problems(first)
        handle = talk.setup.get("sessionResumption", {}).get("handle")
        if not talk.setup:
            await socket.close(1007, "setup must be the first message")
        elif talk.setup.get("model") not in self.settings.models:
            await socket.close(1008, "model is not found for API version v1beta, or is not supported for bidi")
        elif handle and handle not in self.settings.handles:
            await socket.close(1007, "Request contains an invalid argument.")
        else:
            await talk.send(setupComplete={"sessionId": f"session-{id(talk)}"})
            return True
        return False
