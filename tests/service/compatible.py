"""A small server that is compatible with OpenAI's, more or less: one of three shapes, PCM or G.711, told what to do.

It knows of the client events only what its shape knows; anything else stands in `problems`. Other-providers reference,
sections 2 (xAI) and 6 (speaches); Realtime reference, section 16 (the beta shape).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.service.far import LAWS, Far, pieces
from tests.service.sines import alaw, linear, ulaw

Json = dict[str, Any]

_BETA_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_KNOWN = {
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "conversation.item.create",
    "conversation.item.delete",
    "response.create",
}
_FLAT = {"g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma", "pcm16": "audio/pcm"}


@dataclass(frozen=True)
class Kind:
    """What kind of server it is."""

    shape: str = "ga"
    cancels: bool = True
    """It knows `response.cancel`."""
    truncates: bool = False
    """It knows `conversation.item.truncate`."""
    speaks: str | None = None
    """The format it uses and names, whatever it is asked for, but for PCM; None: what it is asked for."""
    refuses_g711: bool = False
    """It answers an update with G.711 by an error."""
    names_formats: bool = True
    """`session.updated` tells the formats."""


@dataclass
class Session:
    """One connection."""

    kind: Kind
    socket: ServerConnection
    number: int
    config: Json = field(default_factory=dict)
    format: str = "audio/pcm"
    received: list[Json] = field(default_factory=list)
    """All that came, but audio."""
    audio: bytes = b""
    """Of the caller."""
    problems: list[str] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    serial: int = 0
    response: str = ""
    """That is being made; empty: none."""
    item: str = ""
    """That was begun last."""

    def id(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}_{self.number}_{self.serial}"

    async def send(self, kind: str, **members: Any) -> None:
        name = _BETA_NAMES.get(kind, kind) if self.kind.shape == "beta" else kind
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps({"type": name, "event_id": self.id("event")} | members))

    # What the model does

    async def begin(self, words: str, *pieces: bytes) -> None:
        """An answer begins: its text, then its audio."""
        self.response, self.item = self.id("resp"), self.id("item")
        item = {"id": self.item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        names = {"response_id": self.response, "output_index": 0}
        await self.send("response.created", response={"id": self.response, "status": "in_progress"})
        await self.send("response.output_item.added", item=item, **names)
        await self.send("conversation.item.added", item=item, previous_item_id=None)
        await self._about("response.output_audio_transcript.delta", delta=words)
        await self.speak(*pieces)
        await self._about("response.output_audio_transcript.done", transcript=words)

    async def speak(self, *pieces: bytes) -> None:
        """Audio of the item that was begun last, also when it is over."""
        for piece in pieces:
            await self._about("response.output_audio.delta", delta=base64.b64encode(piece).decode())

    async def end(self, status: str = "completed", **usage: Any) -> None:
        """The answer is over."""
        await self._about("response.output_audio.done")
        item = {"id": self.item, "type": "message", "role": "assistant", "status": status}
        await self.send("response.output_item.done", response_id=self.response, output_index=0, item=item)
        await self._done(status, usage, [item])

    async def call(self, name: str, call_id: str, arguments: Json, **usage: Any) -> None:
        """A response that is one tool call."""
        self.response, item_id = self.id("resp"), self.id("item")
        item = {"id": item_id, "type": "function_call", "call_id": call_id, "name": name}
        item |= {"arguments": json.dumps(arguments), "status": "completed"}
        names = {"response_id": self.response, "output_index": 0}
        await self.send("response.created", response={"id": self.response, "status": "in_progress"})
        await self.send("response.output_item.added", item=item, **names)
        await self.send("response.output_item.done", item=item, **names)
        await self._done("completed", usage, [item])

    async def hear(self, words: str) -> None:
        """The caller's turn, from his first sound to his words."""
        item_id = self.id("item")
        item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        await self.send("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)
        if self.response:
            await self._done("cancelled", {}, [])
        await self.send("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=500)
        await self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        await self.send("conversation.item.added", item=item, previous_item_id=None)
        if self.kind.shape == "xai":  # a guess first
            await self._transcribed(item_id, words[:3], status="in_progress")
        await self._transcribed(item_id, words, **({"status": "completed"} if self.kind.shape == "xai" else {}))

    async def _transcribed(self, item_id: str, words: str, **more: str) -> None:
        name = "conversation.item.input_audio_transcription.completed"
        await self.send(name, item_id=item_id, content_index=0, transcript=words, **more)

    async def _about(self, kind: str, **members: Any) -> None:
        named = {"response_id": self.response, "item_id": self.item, "output_index": 0, "content_index": 0}
        await self.send(kind, **named, **members)

    async def _done(self, status: str, usage: Json, output: list[Json]) -> None:
        response: Json = {"id": self.response, "status": status, "output": output}
        beside: Json = {}
        if self.kind.shape == "xai":  # other-providers reference, section 2
            response |= {"status_details": "unimplemented", "usage": {}}
            beside = {"usage": usage}
        else:
            response["usage"] = usage
        self.response = ""
        await self.send("response.done", response=response, **beside)

    # What the client says

    async def run(self) -> None:
        await self.send("session.created", session={"id": "sess_1", "model": "m"})
        if self.kind.shape == "xai":
            await self.send("conversation.created", conversation={"id": "conv_1"})
            await self.send("ping", timestamp=1)
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                await self._take(json.loads(text))

    async def _take(self, event: Json) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self.audio += base64.b64decode(event["audio"], validate=True)
            return
        self.received.append(event)
        can = {"response.cancel": self.kind.cancels, "conversation.item.truncate": self.kind.truncates}
        if kind not in _KNOWN and not can.get(kind, False):
            self.problems.append(f"{kind} is not known here")
        elif kind == "session.update":
            await self._update(event)

    async def _update(self, event: Json) -> None:
        session = event["session"]
        self.problems += _misplaced(session, self.kind.shape)
        asked = _asked(session, self.kind.shape)
        if self.kind.refuses_g711 and asked in ("audio/pcmu", "audio/pcma"):
            error: Json = {
                "type": "invalid_request_error",
                "code": "invalid_value",
                "message": f"{asked} is not supported",
            }
            param = "session.input_audio_format" if self.kind.shape == "beta" else "session.audio.input.format.type"
            error |= {"param": param, "event_id": event.get("event_id")}
            await self.send("error", error=error)
            return
        self.config = session
        self.format = asked if asked == "audio/pcm" else self.kind.speaks or asked
        await self.send("session.updated", session={"id": "sess_1", "model": "m"} | self._formats())
        self.ready.set()

    async def _refuse(self, update: Json, message: str) -> None:
        param = "session.input_audio_format" if self.kind.shape == "beta" else "session.audio.input.format.type"
        error: Json = {"type": "invalid_request_error", "code": "invalid_value", "message": message, "param": param}
        await self.send("error", error=error | {"event_id": update.get("event_id")})

    def _formats(self) -> Json:
        if not self.kind.names_formats:
            return {}
        if self.kind.shape == "beta":
            flat = next(name for name, wire in _FLAT.items() if wire == self.format)
            return {"input_audio_format": flat, "output_audio_format": flat}
        wire: Json = {"type": self.format} | ({"rate": 24000} if self.format == "audio/pcm" else {})
        told: Json = {"audio": {"input": {"format": wire}, "output": {"format": wire}}}
        return told | ({"input_audio_format": "not specified"} if self.kind.shape == "xai" else {})


def _asked(session: Json, shape: str) -> str:
    if shape == "beta":
        return _FLAT[session.get("input_audio_format", "pcm16")]
    return str(session["audio"]["input"].get("format", {}).get("type", "audio/pcm"))


def _misplaced(session: Json, shape: str) -> list[str]:
    """Members that stand where this shape has none."""
    foreign = {
        "ga": {"modalities", "voice", "turn_detection", "input_audio_format", "output_audio_format"},
        "beta": {"type", "audio", "output_modalities", "max_output_tokens"},
        "xai": {"type", "output_modalities", "input_audio_format", "output_audio_format"},
    }[shape]
    return [f"session.{name} in the shape {shape}" for name in sorted(foreign & session.keys())]


@dataclass
class CompatibleServer:
    """Listening; each connection is a session."""

    kind: Kind = Kind()
    sessions: list[Session] = field(default_factory=list)
    url: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CompatibleServer]:
        """On a free port of the loopback."""
        async with serve(self._talk, "127.0.0.1", 0, compression=None, max_size=None) as on:
            self.url = f"ws://127.0.0.1:{on.sockets[0].getsockname()[1]}/v1/realtime"
            yield self

    async def _talk(self, socket: ServerConnection) -> None:
        session = Session(self.kind, socket, len(self.sessions) + 1)
        self.sessions.append(session)
        await session.run()


class Compatible(Far):
    """A server of one of the shapes. `provider` empty: it is named by its URL."""

    def __init__(self, kind: Kind, provider: str = "", **server: Any) -> None:
        super().__init__()
        self.kind = kind
        self.provider = provider
        self.more = server

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.server = CompatibleServer(self.kind)
        async with self.server.running():
            named: Json = {"provider": self.provider, "url": self.server.url, "model": "m"}
            self.agent = (named if self.provider else {"provider": self.server.url}) | {"key": "key-1"}
            self.agent |= {"server": self.more} if self.more else {}
            yield

    @property
    def session(self) -> Session:
        return self.server.sessions[-1]

    @property
    def is_linear(self) -> bool:
        return self.session.format == "audio/pcm"

    @property
    def rate(self) -> int:
        return 24000 if self.is_linear else 8000

    def count(self) -> int:
        return sum(session.ready.is_set() for session in self.server.sessions)

    def told(self) -> str:
        return json.dumps(self.session.received)

    def pcm(self) -> bytes:
        session = self.session
        return session.audio if self.is_linear else linear(session.audio, LAWS[session.format])

    def _pieces(self, hz: float, ms: int) -> Iterator[bytes]:
        ways: dict[str, Callable[[bytes], bytes]] = {"audio/pcmu": ulaw, "audio/pcma": alaw, "audio/pcm": bytes}
        encode = ways[self.session.format]
        return pieces(hz, ms, self.rate, encode)

    async def say(self, words: str, hz: float, ms: int, *, whole: bool = True) -> None:
        await self.session.begin(words, *self._pieces(hz, ms))
        if whole:
            self.uses(text_in=10, audio_out=5)
            await self.session.end(input_tokens=10, output_tokens=5, output_token_details={"audio_tokens": 5})

    async def interrupt(self, words: str) -> int:
        now = time.time_ns()
        await self.session.hear(words)
        return now

    async def late(self, hz: float, ms: int) -> None:
        await self.session.speak(*self._pieces(hz, ms))

    async def hear(self, words: str) -> None:
        await self.session.hear(words)

    async def call(self, name: str, **arguments: Any) -> Any:
        await self.session.call(name, f"call_{name}", arguments)
        return await self.until(lambda: self._results().get(f"call_{name}"))

    def _results(self) -> dict[str, Any]:
        items = [event["item"] for event in self.session.received if event["type"] == "conversation.item.create"]
        return {item["call_id"]: json.loads(item["output"]) for item in items if item["type"] == "function_call_output"}

    async def drop(self) -> None:
        self.session.socket.transport.abort()

    async def forsake(self) -> None:
        await self.session.socket.close(1000)

    def problems(self) -> list[str]:
        return [problem for session in self.server.sessions for problem in session.problems]
