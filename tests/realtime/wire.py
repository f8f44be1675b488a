"""A protocol object of the Realtime family with a server's voice."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Self

import orjson

from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.history import NOTHING, History
from bridge.realtime.openai.dialect import GA, Dialect
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import SessionOptions
from tests.realtime_events import problems

VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
PCM24 = {"type": "audio/pcm", "rate": 24000}


class Wire:
    """`say` feeds it, `told` gives what it wants to send, checked by the published types where the dialect is GA."""

    def __init__(
        self, *, audio: Format = Law.PCMU, history: History = NOTHING, dialect: Dialect = GA, **options: Any
    ) -> None:
        wishes = SessionOptions(audio, **{"turn_detection": VAD} | options)
        self.protocol = OpenAIProtocol(wishes, history, dialect)

    def say(self, type_: str, **members: Any) -> Sequence[ev.Event]:
        return self.protocol.receive(json.dumps({"type": type_, "event_id": "event_1", **members}).encode())

    def told(self) -> list[dict[str, Any]]:
        messages = [orjson.loads(message) for message in self.protocol.data_to_send()]
        for message in messages:
            if self.protocol.dialect.shape == "ga" and not self.protocol.options.extra:
                assert problems(message, "client") == [], message
        return messages

    def types(self) -> list[str]:
        """What it wants to send, by type."""
        return [message["type"] for message in self.told()]

    def created(self) -> dict[str, Any]:
        """The session is there; what it is asked for."""
        self.say("session.created", session={"id": "sess_1", "model": "m"})
        (update,) = self.told()
        session: dict[str, Any] = update["session"]
        return session

    def ready(self) -> Self:
        self.created()
        (ready,) = self.updated()
        assert isinstance(ready, ev.Ready)
        self.told()
        return self

    def updated(self, incoming: Any = None, outgoing: Any = None) -> Sequence[ev.Event]:
        default = {"type": "audio/pcmu"} if self.protocol.dialect.g711 else PCM24
        audio = {"input": {"format": incoming or default}, "output": {"format": outgoing or default}}
        return self.say("session.updated", session={"type": "realtime", "model": "m", "audio": audio})

    def begin(self, response: str, *items: str, audio: bytes = b"") -> None:
        """The server begins a response, with these spoken items."""
        self.say("response.created", response={"id": response})
        for item in items:
            self.item(response, item)
            if audio:
                assert self.delta(response, item, audio) == (ev.AudioDelta(item, audio),)

    def item(self, response: str, item: str, **members: Any) -> Sequence[ev.Event]:
        whole = {"id": item, "type": "message", "role": "assistant"} | members
        return self.say("response.output_item.added", response_id=response, item=whole)

    def delta(self, response: str, item: str, audio: bytes) -> Sequence[ev.Event]:
        text = base64.b64encode(audio).decode()
        return self.say("response.output_audio.delta", response_id=response, item_id=item, delta=text)

    def saying(self, response: str, item: str, words: str) -> Sequence[ev.Event]:
        return self.say("response.output_audio_transcript.delta", response_id=response, item_id=item, delta=words)

    def calls(self, response: str, call_id: str, status: str = "completed", **members: Any) -> Sequence[ev.Event]:
        """A function call, complete."""
        item = {"id": f"f_{call_id}", "type": "function_call", "status": status, "call_id": call_id}
        whole = item | {"name": "stock", "arguments": "{}"} | members
        return self.say("response.output_item.done", response_id=response, item=whole)

    def done(self, response: str, status: str = "completed", **more: Any) -> Sequence[ev.Event]:
        return self.say("response.done", response={"id": response, "status": status, **more})

    def failed(self, response: str, code: str, message: str = "") -> Sequence[ev.Event]:
        details = {"type": "failed", "error": {"code": code, "type": code, "message": message}}
        return self.done(response, "failed", status_details=details)

    def error(self, code: str | None, message: str = "", **members: Any) -> Sequence[ev.Event]:
        error = {"type": "invalid_request_error", "code": code, "message": message} | members
        return self.say("error", error=error)

    def starts(self, item: str = "u", at_ms: int = 5) -> Sequence[ev.Event]:
        return self.say("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=item)

    def stops(self, item: str = "u", at_ms: int = 900) -> Sequence[ev.Event]:
        return self.say("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item)

    def commits(self, item: str = "u", **members: Any) -> Sequence[ev.Event]:
        return self.say("input_audio_buffer.committed", item_id=item, **members)
