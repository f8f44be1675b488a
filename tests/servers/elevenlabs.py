"""ElevenLabs agents for tests: the socket and the signed URL on one port, written from the reference (section 4).

A test gives a script, which is the agent: it speaks, hears, calls tools and hangs up by the methods of `Talk`. What the
client sends is checked strictly, and what is wrong with it stands in `problems`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import WSMsgType, web

Json = dict[str, Any]

_SHAPES: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "client_tool_result": {"tool_call_id": str, "result": str, "is_error": bool},
    "contextual_update": {"text": str},
    "mcp_tool_approval_result": {"tool_call_id": str, "is_approved": bool},
    "pong": {"event_id": int},
    "user_activity": {},
    "user_message": {"text": str},
}
"""The messages of a client after its first one, and the types of their members; all of them must be there."""
_INITIATION = {
    "conversation_config_override",
    "custom_llm_extra_body",
    "dynamic_variables",
    "source_info",
    "type",
    "user_id",
}


@dataclass(frozen=True)
class Settings:
    """How the agent is set up at ElevenLabs."""

    agent_id: str = "agent_1"
    key: str = "xi-secret"
    private: bool = False
    audio_in: str = "ulaw_8000"
    audio_out: str = "ulaw_8000"
    allowed: frozenset[str] = frozenset({"agent", "asr", "conversation", "tts", "text_only"})
    """Members of `conversation_config_override` that a client may set."""


class Talk:
    """One conversation, from the agent's side. Event ids grow with everything that is said, as on the wire."""

    def __init__(self, settings: Settings, socket: web.WebSocketResponse, url: str) -> None:
        self.settings = settings
        self.url = url
        """Path and query under which the client came."""
        self.initiation: Json = {}
        self.messages: list[Json] = []
        """All that came after the initiation, but audio."""
        self.audio = b""
        """Of the caller, decoded."""
        self.problems: list[str] = []
        self.event_id = 0
        self.closed: int | None = None
        """The close code the client sent; None: it has not."""
        self._socket = socket
        self._news = asyncio.Condition()

    # What the agent does

    async def raw(self, frame: str | bytes) -> None:
        """Any frame, sense or nonsense."""
        if isinstance(frame, bytes):
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_str(frame)

    async def send(self, kind: str, member: str, **fields: Any) -> None:
        """One event with its member."""
        await self.raw(orjson.dumps({"type": kind, member: fields}).decode())

    async def say(self, words: str, *pieces: bytes) -> int:
        """A text, then its audio in pieces, each with an id of its own; the last id."""
        await self.send("agent_response", "agent_response_event", agent_response=words, event_id=self.next_id())
        return await self.speak(*pieces)

    async def speak(self, *pieces: bytes, event_id: int | None = None) -> int:
        """Audio alone; `event_id` instead of the next ones."""
        for piece in pieces:
            number = self.next_id() if event_id is None else event_id
            audio = base64.b64encode(piece).decode()
            await self.send("audio", "audio_event", audio_base_64=audio, event_id=number)
        return self.event_id

    async def complete(self) -> None:
        """The answer is over."""
        await self.send("agent_response_complete", "agent_response_complete_event", event_id=self.event_id)

    async def understand(self, words: str) -> None:
        """The caller's words."""
        await self.send("user_transcript", "user_transcription_event", user_transcript=words, event_id=self.next_id())

    async def interrupt(self, original: str = "", heard: str = "") -> int:
        """The caller speaks over the agent; the id up to which nothing must be played any more."""
        await self.send("interruption", "interruption_event", event_id=self.event_id)
        interrupted = self.event_id
        if original:
            await self.send(
                "agent_response_correction",
                "agent_response_correction_event",
                original_agent_response=original,
                corrected_agent_response=heard,
            )
        return interrupted

    async def ping(self, ms: int | None = None) -> int:
        """Ask for a pong, and wait for it."""
        number = self.next_id()
        await self.send("ping", "ping_event", event_id=number, ping_ms=ms)
        await self.told("pong", event_id=number)
        return number

    async def call(self, name: str, parameters: Json, call_id: str = "tc_1") -> Json:
        """A client tool; its result."""
        await self.send(
            "client_tool_call",
            "client_tool_call",
            tool_name=name,
            tool_call_id=call_id,
            parameters=parameters,
            event_id=self.next_id(),
        )
        return await self.told("client_tool_result", tool_call_id=call_id)

    async def close(self, code: int, reason: str = "") -> None:
        """Close the socket."""
        await self._socket.close(code=code, message=reason.encode())

    def next_id(self) -> int:
        """The next event id."""
        self.event_id += 1
        return self.event_id

    # What the client did

    async def told(self, kind: str, **fields: Any) -> Json:
        """Wait for a message of the client; the first one that fits."""
        return await self._until(
            lambda: next(
                (m for m in self.messages if m["type"] == kind and all(m.get(k) == v for k, v in fields.items())), None
            )
        )

    async def heard(self, size: int) -> bytes:
        """Wait until so many bytes of the caller's audio have come."""
        return await self._until(lambda: self.audio if len(self.audio) >= size else None)

    async def left(self) -> None:
        """Wait until the client has closed."""
        await self._until(lambda: True if self.closed is not None else None)

    async def _until(self, look: Callable[[], Any]) -> Any:
        async with asyncio.timeout(10), self._news:
            while (found := look()) is None:
                await self._news.wait()
            return found

    # The wire

    async def begin(self) -> bool:
        """The first message of the client, and what is answered; False: refused."""
        try:
            self.initiation = orjson.loads(await self._socket.receive_str(timeout=10))
        except TypeError:  # it has left without a word
            return False
        if self.initiation.get("type") != "conversation_initiation_client_data":
            return await self._refuse("the first message must be conversation_initiation_client_data")
        if unknown := self.initiation.keys() - _INITIATION:
            return await self._refuse(f"unknown members {sorted(unknown)}")
        if extra := self.initiation.get("conversation_config_override", {}).keys() - self.settings.allowed:
            return await self._refuse(f"Override for field {sorted(extra)[0]} is not allowed by config.")
        await self.send(
            "conversation_initiation_metadata",
            "conversation_initiation_metadata_event",
            conversation_id="conv_1",
            agent_output_audio_format=self.settings.audio_out,
            user_input_audio_format=self.settings.audio_in,
        )
        return True

    async def read(self) -> None:
        """Everything the client sends, until it leaves."""
        async for frame in self._socket:
            if frame.type is WSMsgType.TEXT:
                self._take(orjson.loads(frame.data))
            else:
                self.problems.append(f"a frame of type {frame.type}")
            await self._tell()
        self.closed = self._socket.close_code
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _take(self, message: Json) -> None:
        if "user_audio_chunk" in message:
            if len(message) != 1:
                self.problems.append("user_audio_chunk has company")
            self.audio += base64.b64decode(message["user_audio_chunk"], validate=True)
            return
        shape = _SHAPES.get(str(message.get("type")))
        if shape is None:
            self.problems.append(f"unknown message {message}")
            return
        fits = all(type(message.get(name)) is kind for name, kind in shape.items())
        if not fits or message.keys() - shape.keys() != {"type"}:
            self.problems.append(f"malformed message {message}")
        self.messages.append(message)

    async def _refuse(self, reason: str) -> bool:
        self.problems.append(reason)
        await self.close(1008, reason)
        return False


Script = Callable[[Talk], Awaitable[None]]


@dataclass
class Server:
    """Listening. `base` is for the REST API, `url` the socket of the public agent."""

    settings: Settings
    port: int = 0
    talks: list[Talk] = field(default_factory=list)
    signed: int = 0
    """Signed URLs given out."""
    failure: BaseException | None = None
    """What went wrong in a script."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """The script has come to its end."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/convai/conversation?agent_id={self.settings.agent_id}"

    @property
    def talk(self) -> Talk:
        """The newest conversation."""
        return self.talks[-1]

    async def get_signed_url(self, request: web.Request) -> web.Response:
        if request.headers.get("xi-api-key") != self.settings.key:
            detail = {"status": "invalid_api_key", "message": "Invalid API key"}
            return web.json_response({"detail": detail}, status=401)
        if request.query.get("agent_id") != self.settings.agent_id:
            detail = {"status": "agent_not_found", "message": "Agent not found"}
            return web.json_response({"detail": detail}, status=404)
        self.signed += 1
        return web.json_response({"signed_url": f"{self.url}&conversation_signature=cvtkn_{self.signed}"})

    async def converse(self, request: web.Request, script: Script) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        talk = Talk(self.settings, socket, request.path_qs)
        self.talks.append(talk)
        signature = request.query.get("conversation_signature", "")
        if request.query.get("agent_id") != self.settings.agent_id or (self.settings.private and not signature):
            await talk.close(1008, "Could not authorize")
        elif await talk.begin():
            await self._perform(talk, script)
        return socket

    async def _perform(self, talk: Talk, script: Script) -> None:
        reader = asyncio.create_task(talk.read())
        try:
            await script(talk)
            self.finished.set()
            await reader
        except (AssertionError, TimeoutError, ConnectionError) as error:
            self.failure = error
        finally:
            reader.cancel()
            self.finished.set()


@contextlib.asynccontextmanager
async def serving(script: Script, settings: Settings | None = None) -> AsyncIterator[Server]:
    """A server whose agent follows `script`; what goes wrong there fails the test."""
    server = Server(settings or Settings())

    async def converse(request: web.Request) -> web.WebSocketResponse:
        return await server.converse(request, script)

    app = web.Application()
    app.router.add_get("/v1/convai/conversation/get-signed-url", server.get_signed_url)
    app.router.add_get("/v1/convai/conversation", converse)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
    if server.failure is not None:
        raise server.failure
