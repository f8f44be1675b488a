"""A Live server for tests, written from the Live reference alone ("What a fake Live server should do").

Its clock is the input audio. What happens in a session is a script of steps at times of that clock; whatever it sends
is checked by the published types, but for what a step sends raw on purpose.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bridge.audio._audioop import audioop
from tests.servers.live_types import APPENDS, classes, problems

DELTA_MS = 100
INJECTION_MS = 600
LOUD_RMS = 1000
Json = dict[str, Any]


@dataclass(frozen=True)
class Say:
    """The model speaks: a tone of `ms`, and its words in fragments."""

    text: str
    ms: int = 1000
    level: int = 8000


@dataclass(frozen=True)
class Hear:
    """The caller's words arrive, as said between two times."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Delegate:
    """The voice hands work over; the backend makes these calls (id, name, arguments), and answers with the results."""

    calls: tuple[tuple[str, str, str], ...] = ()
    answer: str = "Done."
    identity: str = "item_1"


@dataclass(frozen=True)
class Send:
    """An event or a text as it stands, unchecked."""

    what: Json | str


@dataclass(frozen=True)
class Stall:
    """Output waits for so long, and then comes all at once."""

    ms: int


@dataclass(frozen=True)
class Close:
    """The session ends for this reason."""

    reason: str


@dataclass(frozen=True)
class Drop:
    """The connection breaks, without a word."""


class End(Enum):
    """How a connection ends."""

    WITHOUT_STATUS = "without status"
    BROKEN = "broken"


Step = Say | Hear | Delegate | Send | Stall | Close | Drop


@dataclass
class Behaviour:
    """What is special about a server's sessions."""

    script: tuple[tuple[int, Step], ...] = ()
    """Steps at milliseconds of the session's clock."""
    on_instructions: Step | None = None
    """What follows the first instructions, when they are injected."""
    time_limit_ms: int | None = None
    """Of the session's clock, after which it expires, whatever it said of its end."""
    lasts_s: int = 7200
    """From now to `expires_at`."""
    answers_close: bool = True
    error_before_start: Json | None = None
    echo_format: Json | None = None
    omits_silence: bool = False


class LiveSession:
    """One session, without I/O: client events in; server events, raw texts, or the end of the connection out."""

    def __init__(self, behaviour: Behaviour, number: int) -> None:
        self.behaviour = behaviour
        self.id = f"live_{number}"
        self.config: Json = {}
        self.received: list[Json] = []
        self.sent: list[Json | str] = []
        self.audio = b""
        self.state = "new"
        self._expires_at = int(time.time()) + behaviour.lasts_s
        self._serial = 0
        self._steps = sorted(behaviour.script, key=lambda step: step[0])
        self._position = 0
        self._out: list[Json | str | End] = []
        self._speech: list[tuple[int, int, str]] = []  # ms left, level, words left
        self._pending: list[tuple[int, Json]] = []  # when to acknowledge which append
        self._instructed = False
        self._stalled_until = 0
        self._held: list[Json] = []
        self._delegations: set[str] = set()
        self._waiting: dict[str, bool] = {}  # call → answered
        self._answer = ""
        self._responses = 0

    @property
    def clock_ms(self) -> int:
        return len(self.audio) // self._per_ms

    @property
    def usage(self) -> Json:
        return {"seconds": self.clock_ms / 1000}

    def of_type(self, kind: str) -> list[Json]:
        return [event for event in self.received if event["type"] == kind]

    def receive(self, text: str) -> list[Json | str | End]:
        event = json.loads(text)
        self.received.append(event)
        kind = event.get("type")
        if self.behaviour.error_before_start is not None:
            self._send({"type": "error", "error": self.behaviour.error_before_start}, raw=True)
            self._out.append(End.WITHOUT_STATUS)
        elif kind not in classes("client"):
            self._error(event, "unknown_event", f"known events: {', '.join(sorted(classes('client')))}")
        elif wrong := problems(event, "client"):
            self._error(event, "unknown_parameter", "; ".join(wrong))
        elif self.state == "new":
            self._start(event)
        elif self.state == "closed":
            self._error(event, "session_closed", "no more commands")
        else:
            self._command(kind, event)
        out, self._out = self._out, []
        return out

    # Commands

    def _start(self, event: Json) -> None:
        if event["type"] != "session.start":
            self._error(event, "session_not_started", "session.start comes first")
            return
        self.config = event["session"]
        audio = {"format": {"type": "audio/pcm", "rate": 24000}} | self.config.get("audio", {})
        audio["format"] = self.behaviour.echo_format or audio["format"]
        self.format = audio["format"]
        self.state = "active"
        self._send({"type": "session.started", "session": self._snapshot(), **_echo(event)})

    def _command(self, kind: str, event: Json) -> None:
        delegation = event.get("delegation_id")
        if kind == "session.start":
            self._error(event, "already_started", "only once")
        elif kind == "session.input_audio.append":
            self._hear(event)
        elif kind in APPENDS:
            if delegation is not None and (delegation not in self._delegations or self._has_backend):
                self._error(event, "unknown_delegation", str(delegation))
            elif len(event["content"]) > 1500 or not event["content"]:
                self._error(event, "content_too_long", "500 tokens at most")
            else:
                self._pending.append((self.clock_ms + INJECTION_MS, event))
        elif kind == "session.update":
            self._update(event)
        elif kind == "session.close":
            self._close("close_requested", event)
        elif kind.startswith("response."):
            self._backend(kind, event)
        elif kind.endswith(("mute", "unmute")):
            self._send({"type": f"{kind}d", **_echo(event)})

    def _update(self, event: Json) -> None:
        named = (event["session"].get("delegation") or {}).get("type", self._delegation["type"])
        if named != self._delegation["type"]:
            self._error(event, "immutable_field_update", "the delegation type is fixed")
        else:
            self._send({"type": "session.updated", "session": self._snapshot(), **_echo(event)})

    def _backend(self, kind: str, event: Json) -> None:
        if not self._has_backend:
            self._error(event, "invalid_request", "requires Responses delegation")
        elif kind == "response.item.create":
            item = event["item"]
            if item["type"] == "function_call_output":
                if item["call_id"] not in self._waiting:
                    self._error(event, "unknown_call", item["call_id"])
                self._waiting[item["call_id"]] = True
        elif not all(self._waiting.values()):
            self._error(event, "missing_output", "No tool output found for function call")
        else:
            self._respond((), "item_1", event)
            self._act(Say(self._answer))

    # Time

    def _hear(self, event: Json) -> None:
        audio = base64.b64decode(event["audio"], validate=True)
        loud = audioop.rms(self._decoded(audio), 2) > LOUD_RMS if audio else False
        if loud:
            self._speech.clear()
        self.audio += audio
        while self.state == "active" and self._position + DELTA_MS <= self.clock_ms:
            self._tick()
            self._position += DELTA_MS

    def _tick(self) -> None:
        now = self._position
        for due, event in [pending for pending in self._pending if pending[0] <= now]:
            self._pending.remove((due, event))
            self._send({"type": f"{event['type']}ed", "start_ms": now, "end_ms": now + 200, **_echo(event)})
            if (
                event["type"] == "session.instructions.append"
                and not self._instructed
                and self.behaviour.on_instructions
            ):
                self._instructed = True
                self._act(self.behaviour.on_instructions)
        while self._steps and self._steps[0][0] <= now and self.state == "active":
            self._act(self._steps.pop(0)[1])
        if self.state == "active":
            self._speak(now)
            if now and now % 15000 == 0:
                self._send({"type": "session.usage.updated", "usage": self.usage})
            if self.behaviour.time_limit_ms is not None and now >= self.behaviour.time_limit_ms:
                self._close("expired")

    def _act(self, step: Step) -> None:
        match step:
            case Say(text, ms, level):
                self._speech.append((ms, level, text))
            case Hear(text, start_ms, end_ms):
                self._send(
                    {"type": "session.input_transcript.delta", "delta": text, "start_ms": start_ms, "end_ms": end_ms}
                )
            case Delegate():
                self._delegate(step)
            case Send(what):
                self._send(what, raw=True)
            case Stall(ms):
                self._stalled_until = self._position + ms
            case Close(reason):
                self._close(reason)
            case Drop():
                self.state = "closed"
                self._out.append(End.BROKEN)

    def _delegate(self, work: Delegate) -> None:
        self._delegations.add(work.identity)
        target = "responses" if self._has_backend else "client"
        delegation = {"id": work.identity, "type": "delegation", "target": target}
        if self._has_backend:
            delegation["response_id"] = f"resp_{self._responses + 1}"
        self._send({"type": "session.delegation.created", "offset_ms": self._position, "delegation": delegation})
        if self._has_backend:
            self._answer = work.answer
            self._respond(work.calls, work.identity)

    def _respond(self, calls: tuple[tuple[str, str, str], ...], delegation: str, event: Json | None = None) -> None:
        self._responses += 1
        response = {"id": f"resp_{self._responses}", "output": []}
        nested: list[Json] = [{"type": "response.created", "response": response}]
        for index, (call_id, name, arguments) in enumerate(calls):
            self._waiting[call_id] = False
            item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
            item |= {"arguments": arguments, "status": "completed"}
            nested.append({"type": "response.output_item.done", "output_index": index, "item": item})
        usage = {"input_tokens": 310, "output_tokens": 25, "total_tokens": 335}
        usage["input_tokens_details"] = {"cached_tokens": 10}  # type: ignore[assignment]
        nested.append({"type": "response.completed", "response": response | {"usage": usage}})
        for number, each in enumerate(nested):
            each["sequence_number"] = number
            self._send({"type": "response.event", "delegation_id": delegation, "event": each, **_echo(event or {})})

    def _speak(self, now: int) -> None:
        level, fragment = 0, ""
        if self._speech:
            ms, level, words = self._speech[0]
            share = -(-len(words) * DELTA_MS // ms) if ms > DELTA_MS else len(words)
            fragment = words[:share]
            self._speech[0] = (ms - DELTA_MS, level, words[share:])
            if ms <= DELTA_MS:
                self._speech.pop(0)
        if fragment:
            times = {"start_ms": now, "end_ms": now + DELTA_MS}
            self._send({"type": "session.output_transcript.delta", "delta": fragment, **times})
        if level or not self.behaviour.omits_silence:
            delta = {"type": "session.output_audio.delta", "delta": base64.b64encode(self._sound(level)).decode()}
            self._held.append(delta)
        if now >= self._stalled_until:
            for delta in self._held:
                self._send(delta)
            self._held.clear()

    # End

    def _close(self, reason: str, event: Json | None = None) -> None:
        if not self.behaviour.answers_close:
            return
        for _, pending in self._pending:
            self._error(pending, "context_injection_incomplete", "closing")
        self.state = "closed"
        closed = {"type": "session.closed", "reason": reason, "usage": self.usage, "session": self._snapshot()}
        self._send(closed | _echo(event or {}))
        self._out.append(End.WITHOUT_STATUS)

    def _error(self, event: Json, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message}
        if isinstance(event.get("event_id"), str):
            error["client_event_id"] = event["event_id"]
        self._send({"type": "error", "error": error})

    def _send(self, event: Json | str, *, raw: bool = False) -> None:
        if isinstance(event, dict) and event["type"] != "session.output_audio.delta":
            self._serial += 1
            event = {"event_id": f"ev_{self._serial}"} | event
        if not raw:
            assert isinstance(event, dict) and problems(event, "server") == [], event
        self.sent.append(event)
        self._out.append(event)

    # What it is made of

    @property
    def _delegation(self) -> Json:
        return self.config.get("delegation") or {"type": "client"}

    @property
    def _has_backend(self) -> bool:
        return bool(self._delegation["type"] == "responses")

    @property
    def _per_ms(self) -> int:
        return 2 * self.format["rate"] // 1000 if self.format["type"] == "audio/pcm" else 8

    def _snapshot(self) -> Json:
        audio = self.config.get("audio", {}) | {"format": self.format}
        meta = {"id": self.id, "expires_at": self._expires_at, "status": "active"}
        return {key: value for key, value in self.config.items() if key != "input"} | {"audio": audio} | meta

    def _sound(self, level: int) -> bytes:
        half = self.format["rate"] // 1000  # a square wave of 500 Hz
        wave = [level] * half + [-level] * half
        pcm = b"".join(sample.to_bytes(2, "little", signed=True) for sample in wave) * (DELTA_MS // 2)
        return {"audio/pcmu": lambda: audioop.lin2ulaw(pcm, 2), "audio/pcma": lambda: audioop.lin2alaw(pcm, 2)}.get(
            self.format["type"], lambda: pcm
        )()

    def _decoded(self, audio: bytes) -> bytes:
        if self.format["type"] == "audio/pcmu":
            return audioop.ulaw2lin(audio, 2)
        return audioop.alaw2lin(audio, 2) if self.format["type"] == "audio/pcma" else audio


@dataclass
class LiveServer:
    """Sessions over real sockets; each connection is a new session, with the next behaviour while there is one."""

    behaviours: list[Behaviour] = field(default_factory=list)
    key: str = "sk-live"
    url: str = ""
    sessions: list[LiveSession] = field(default_factory=list)

    async def talk(self, socket: ServerConnection) -> None:
        index = min(len(self.sessions), len(self.behaviours) - 1)
        session = LiveSession(self.behaviours[index] if self.behaviours else Behaviour(), len(self.sessions) + 1)
        self.sessions.append(session)
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                assert isinstance(text, str), "audio goes as Base64 in text frames"
                for event in session.receive(text):
                    if isinstance(event, End):
                        await self._end(socket, event)
                        return
                    await socket.send(event if isinstance(event, str) else json.dumps(event))

    async def _end(self, socket: ServerConnection, how: End) -> None:
        if how is End.BROKEN:
            socket.transport.abort()
        else:
            socket.protocol.send_close()
            socket.transport.write(b"".join(socket.protocol.data_to_send()))
        await socket.wait_closed()

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path != "/v1/live/sessions":  # a query too is refused
            return socket.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return socket.respond(HTTPStatus.UNAUTHORIZED, "no key\n")
        return None


@contextlib.asynccontextmanager
async def live_server(*behaviours: Behaviour) -> AsyncIterator[LiveServer]:
    """A server on a free port of 127.0.0.1."""
    server = LiveServer(list(behaviours))
    async with serve(server.talk, "127.0.0.1", 0, process_request=server.admit, compression=None, max_size=None) as on:
        port = on.sockets[0].getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/v1/live/sessions"
        yield server


def _echo(event: Json) -> Json:
    return {"client_event_id": event["event_id"]} if isinstance(event.get("event_id"), str) else {}
