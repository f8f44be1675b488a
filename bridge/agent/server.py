"""The agent's asyncio face: a Realtime server on a real WebSocket, one session per connection."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from bridge.agent import events
from bridge.agent.connection import AgentSession, Workers
from bridge.agent.ears import Ears
from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Listen, Reply, Speak
from bridge.agent.pieces import AnswerPiece
from bridge.agent.pipeline_config import Pipeline, Pipelines
from bridge.agent.refusal import Refusal
from bridge.agent.script import Script
from bridge.agent.session import Session
from bridge.agent.voice import Voice, require_extra

if TYPE_CHECKING:
    from bridge.agent.pipeline import HttpParts

__all__ = ["AgentServer", "AgentSession", "run"]

PATH = "/v1/realtime"
# 15 MiB of audio are 20 MiB of Base64; beyond this the library closes with 1009.
MAX_MESSAGE = 32 << 20
_PLAIN = Pipelines()
_KEY_PROTOCOL = "openai-insecure-api-key."

_log = structlog.get_logger("sipbridge.agent")


class AgentServer:
    """Answers Realtime connections on `ws://host:port/v1/realtime`.

    Without a script (or with `brain: true` in it) it listens, thinks and speaks by itself and needs the extra
    `agent`; `start` raises ExtraMissing when that is not installed. `keys` and `models` None accept everything.
    `speed` is audio seconds sent per second. `echo_format` ("audio/pcm" ...) makes `session.updated` name
    another format than the one in force. `journal` keeps everything that was said: for tests. `pipelines` are
    sets of HTTP servers that listen, think or speak instead.
    """

    def __init__(
        self,
        *,
        script: Script | None = None,
        keys: set[str] | None = None,
        models: set[str] | None = None,
        seed: int = 0,
        session_seconds: float = 3600,
        journal: bool = False,
        speed: float = 6.0,
        echo_format: str | None = None,
        workers: int = 1,
        max_sessions: int = 1000,
        pipelines: Pipelines = _PLAIN,
    ) -> None:
        # All sessions with a journal, else those that are connected.
        self.sessions: list[AgentSession] = []
        self.ears: Ears | None = None
        self.voice: Voice | None = None
        self._script = script
        self._keys = keys
        self._models = models
        self._seed = seed
        self._session_seconds = session_seconds
        self._journal = journal
        self._speed = speed
        self._echo_format = None if echo_format is None else AudioFormat(echo_format)
        self._workers = workers
        self._max_sessions = max_sessions
        self._pipelines = pipelines
        self._parts: HttpParts | None = None
        self._count = 0
        self._connected = 0
        self._server: Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; gives the URL. Raises OSError, ExtraMissing."""
        if self._script is None or self._script.brain:
            await self._start_parts()
        self._server = await serve(
            self._serve,
            host,
            port,
            compression=None,
            max_size=MAX_MESSAGE,
            process_request=self._process_request,
            select_subprotocol=_subprotocol,
        )
        bound = self._server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        return f"ws://{shown}:{bound}{PATH}"

    async def close(self) -> None:
        """Close all connections (1001) and end the workers. May be called again."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()
        for part in (self.ears, self.voice):
            if part is not None:
                await part.pool.close()
        self.ears = self.voice = None
        if self._parts is not None:
            await self._parts.close()

    async def _start_parts(self) -> None:
        """Start what is built in and used, and the client of all HTTP servers."""
        pipelines = self._pipelines
        require_extra(*(package for each in pipelines.all() for package in each.packages()))
        if pipelines.uses_built_in("ears"):
            self.ears = Ears(self._workers)
        if pipelines.uses_built_in("voice"):
            self.voice = Voice(self._workers)
        await asyncio.gather(*(part.pool.warm() for part in (self.ears, self.voice) if part is not None))
        if pipelines.all():
            # aiohttp's client is loaded only where it is used.
            from bridge.agent.pipeline import HttpParts

            self._parts = HttpParts(self)

    async def listen(self, order: Listen) -> str | None:
        """The words of some audio; None when nothing was understood."""
        return None if self.ears is None else await self.ears.listen(order.audio, order.format)

    async def speak(self, order: Speak) -> bytes | None:
        """The audio of some words; None when there is no voice."""
        return None if self.voice is None else await self.voice.speak(order)

    async def reply(self, order: Reply, put: Callable[[AnswerPiece], Awaitable[None]]) -> None:
        """Without a pipeline nothing is answered in this way."""
        raise NotImplementedError

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if urlsplit(request.path).path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"The path is {PATH}\n")
        if self._connected >= self._max_sessions:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Too many sessions\n")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        """One connection. A refused one is told why after the upgrade, as the service does."""
        request = connection.request
        assert request is not None
        model = parse_qs(urlsplit(request.path).query).get("model", [""])[0]
        try:
            pipeline = self._admit(request, model)
        except Refusal as refusal:
            await _turn_away(connection, refusal)
            return
        self._count += 1
        core = Session(
            model=model or "gpt-realtime-2.1",
            seed=f"{self._seed}:{self._count}",
            wall_time=int(time.time()),
            session_seconds=self._session_seconds,
            script=self._script,
            pipeline=pipeline,
            speed=self._speed,
            echo_format=self._echo_format,
            journal=self._journal,
        )
        session = AgentSession(connection, core, self._workers_of(pipeline), self._journal)
        self.sessions.append(session)
        self._connected += 1
        _log.info("session.opened", session=core.configuration.session_id)
        try:
            await session.run()
        finally:
            self._connected -= 1
            if not self._journal:
                self.sessions.remove(session)
            _log.info("session.closed", session=core.configuration.session_id, code=connection.close_code)

    def _workers_of(self, pipeline: Pipeline | None) -> Workers:
        return self if pipeline is None or self._parts is None else self._parts.of(pipeline)

    def _admit(self, request: Request, model: str) -> Pipeline | None:
        """The pipeline of a session, None for the built-in parts. Raises Refusal."""
        if "OpenAI-Beta" in request.headers:
            raise Refusal("beta_api_shape_disabled", "The beta shape of this API is switched off.")
        if self._keys is not None and _key(request) not in self._keys:
            raise Refusal("invalid_api_key", "This API key is not known here.")
        if self._models is not None and model not in self._models:
            raise Refusal("invalid_model", "There is no such realtime model here.", "model")
        return self._pipelines.choose(model)


async def run(
    host: str = "127.0.0.1",
    port: int = 0,
    script: Script | None = None,
    *,
    ready: Callable[[str], None] = lambda url: None,
    keys: set[str] | None = None,
    seed: int = 0,
    workers: int = 1,
    pipelines: Pipelines = _PLAIN,
) -> None:
    """Serve until cancelled; `ready` gets the URL. Raises OSError, ExtraMissing."""
    server = AgentServer(script=script, keys=keys, seed=seed, workers=workers, pipelines=pipelines)
    try:
        ready(await server.start(host, port))
        await asyncio.Event().wait()
    finally:
        await server.close()


async def _turn_away(connection: ServerConnection, refusal: Refusal) -> None:
    event = {"event_id": "event_refused", **events.error(refusal, None)}
    code = 3000 if refusal.code == "invalid_api_key" else 4000
    with contextlib.suppress(ConnectionClosed):
        await connection.send(orjson.dumps(event), text=True)
        await connection.close(code, f"{refusal.kind}.{refusal.code}")


def _key(request: Request) -> str:
    """The bearer token, or the key in the sub-protocols of a browser."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for offered in ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(","):
        if offered.strip().startswith(_KEY_PROTOCOL):
            return offered.strip()[len(_KEY_PROTOCOL) :]
    return ""


def _subprotocol(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("realtime") if "realtime" in offered else None
