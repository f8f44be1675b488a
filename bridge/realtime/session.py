"""The asyncio face of one Realtime session: the WebSocket under a protocol object.

Everything the call asks for is sent in the same loop turn, by `websockets.broadcast`, which writes without waiting: no
task per packet, and an interruption is on its way before anything else runs. What a slow server cannot take is held in
a bounded queue of audio, oldest dropped and counted; the phone never waits.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from bridge.realtime import events as ev
from bridge.realtime.messages import append_message
from bridge.realtime.openai import OpenAIProtocol

log = structlog.get_logger("sipbridge.realtime")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest event that is read; the library's default of 1 MiB is less than a long delta (quirk E10)."""
WRITE_LIMIT_BYTES = 64 * 1024
"""With more than this unsent, audio waits in the queue: some six seconds of G.711."""
HELD_AUDIO_MS = 5000
"""Audio kept for a slow server; older audio is dropped, because late audio makes a late answer."""
STUCK_BYTES = 4 * 1024 * 1024
"""With more than this unsent the server has stopped reading for good."""
TURN_EVENTS = 16
"""Events read before others get their turn: a server that floods must not hold up the calls."""
CLOSE_TIMEOUT_S = 2.0


class SessionFailed(Exception):
    """A session could not be had. `reason` is a code of the service, `http_4xx`, `unreachable` or `timeout`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Session:
    """One session. `open` it, `run` its reader until the end, `close` it; all else returns at once."""

    def __init__(
        self,
        protocol: OpenAIProtocol,
        *,
        url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        append_ms: int = 20,
        bytes_per_ms: int = 8,
        on_event: Callable[[ev.Event], None],
    ) -> None:
        self.protocol = protocol
        self.on_event = on_event
        self.audio_in_bytes = 0
        """Bytes of the caller's audio handed to the socket."""
        self.audio_dropped_bytes = 0
        """Bytes of the caller's audio dropped because the server did not read."""
        self._url = url
        self._headers = dict(headers)
        self._tls = (tls or ssl.create_default_context()) if url.startswith("wss:") else None
        self._append_bytes = append_ms * bytes_per_ms
        self._held_limit = HELD_AUDIO_MS * bytes_per_ms
        self._pending = b""
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._socket: ClientConnection | None = None

    async def open(self, timeout_s: float) -> ev.Ready:
        """Connect and configure; audio may flow afterwards. Raises SessionFailed, within `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                self._socket = await self._connect()
                return await self._handshake(self._socket)
        except TimeoutError as error:
            raise SessionFailed("timeout", f"no session within {timeout_s:g} s") from error

    async def run(self) -> None:
        """Read events until the socket is gone; the last event is `Lost`."""
        assert self._socket is not None
        socket = self._socket
        try:
            while True:
                for _ in range(TURN_EVENTS):
                    self._react(await socket.recv(decode=False))
                await asyncio.sleep(0)  # `recv` does not wait while events are there
        except ConnectionClosed:
            self.on_event(ev.Lost(socket.close_code or 1006, socket.close_reason or ""))

    def append(self, audio: bytes) -> None:
        """Send the caller's audio, in events of `append_ms` (or more, when longer frames come)."""
        if self._pending:
            audio = self._pending + audio
        if len(audio) < self._append_bytes:
            self._pending = audio
            return
        self._pending = b""
        self._send_audio(audio)

    def greet(self) -> None:
        """Ask for the greeting, if one is configured."""
        self.protocol.greet()
        self._flush()

    def user_text(self, words: str) -> None:
        """Say words for the caller (pressed digits), and ask for an answer."""
        self.protocol.user_text(words)
        self._flush()

    def respond(self) -> None:
        """Ask for an answer to what the caller has said."""
        self.protocol.respond()
        self._flush()

    def forget(self, item_id: str) -> None:
        """What the caller seemed to say was noise."""
        self.protocol.forget(item_id)
        self._flush()

    def tool_result(self, call_id: str, output: dict[str, Any], *, respond: bool = True) -> None:
        """Answer a tool call."""
        self.protocol.tool_result(call_id, output, respond=respond)
        self._flush()

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """Tell the server what was heard; returns what was told."""
        cuts = self.protocol.interrupted(heard, by_server=by_server)
        self._flush()
        return cuts

    async def close(self) -> None:
        """Send what is left of the caller's audio and close with 1000; gives up after 2 s. Idempotent."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        if self._pending and socket.state is State.OPEN:
            self._write_audio(socket, self._pending)
        await socket.close()

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self._url,
                additional_headers=self._headers,
                ssl=self._tls,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                close_timeout=CLOSE_TIMEOUT_S,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise SessionFailed(f"http_{status}", f"the service answered the upgrade with {status}") from error
        except (InvalidHandshake, InvalidURI, OSError, EOFError) as error:
            raise SessionFailed("unreachable", str(error) or type(error).__name__) from error

    async def _handshake(self, socket: ClientConnection) -> ev.Ready:
        try:
            while True:
                event = self.protocol.receive(await socket.recv(decode=False))
                self._flush()
                if isinstance(event, ev.Ready):
                    return event
                if isinstance(event, ev.SessionError) and event.fatal:
                    raise SessionFailed(event.code, event.message)
        except ConnectionClosed as error:
            raise SessionFailed("closed", f"closed with {socket.close_code} {socket.close_reason}") from error

    def _react(self, frame: bytes) -> None:
        event = self.protocol.receive(frame)
        if event is not None:
            self.on_event(event)
        self._flush()

    def _flush(self) -> None:
        messages = self.protocol.data_to_send()
        socket = self._socket
        if socket is None:
            return
        for message in messages:
            broadcast((socket,), message, text=True)
        if messages and socket.transport.get_write_buffer_size() > STUCK_BYTES:
            socket.transport.abort()

    def _send_audio(self, audio: bytes) -> None:
        socket = self._socket
        if socket is None:
            return
        if socket.state is State.CLOSING:
            socket.transport.abort()  # the server said goodbye: do not wait in silence until it ends the connection
            return
        if self._held or socket.transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            self._hold(audio, socket)
            return
        self._write_audio(socket, audio)

    def _write_audio(self, socket: ClientConnection, audio: bytes) -> None:
        broadcast((socket,), append_message(audio), text=True)
        self.audio_in_bytes += len(audio)

    def _hold(self, audio: bytes, socket: ClientConnection) -> None:
        self._held.append(audio)
        self._held_bytes += len(audio)
        while self._held_bytes > self._held_limit:
            dropped = len(self._held.popleft())
            self._held_bytes -= dropped
            self.audio_dropped_bytes += dropped
        while self._held and socket.transport.get_write_buffer_size() <= WRITE_LIMIT_BYTES:
            waiting = self._held.popleft()
            self._held_bytes -= len(waiting)
            self._write_audio(socket, waiting)
