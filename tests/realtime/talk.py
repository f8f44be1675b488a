"""The built-in agent in script mode against the protocol object: no socket, a clock of the test's own.

`Talk` is what call and playout are to a session: audio is played in real time, an interruption tells what was heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.agent.outbox import Close, Raw
from bridge.agent.script import Script
from bridge.agent.session import Session as AgentCore
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import SessionOptions
from bridge.realtime.protocol import Alarm
from tests.realtime.wire import VAD
from tests.realtime_events import problems

STEP_S = 0.01


@dataclass(slots=True)
class _Playing:
    item_id: str
    received: int = 0
    played: int = 0

    @property
    def sent_ms(self) -> int:
        return self.played // 8


class Talk:
    """One call: `events` that the protocol gave, `sent` by it and `received` from the agent, in order."""

    def __init__(self, script: str, *, model: str = "gpt-realtime-2.1", **options: Any) -> None:
        self.now = 0.0
        self.events: list[ev.Event] = []
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.closed: Close | None = None
        self.cuts: list[ev.Truncated] = []
        self.playing: list[_Playing] = []
        wishes = SessionOptions(Law.PCMU, **{"turn_detection": VAD, "transcription": {"model": "t"}} | options)
        self.protocol = OpenAIProtocol(wishes)
        self.agent = AgentCore(model=model, seed="1", wall_time=0, script=Script.parse(script), journal=True)
        self._alarms: list[tuple[float, Alarm]] = []
        self.agent.open(self.now)
        self._exchange()

    def run(self, seconds: float) -> Talk:
        """Let time pass; audio is played meanwhile."""
        until = self.now + seconds
        while self.now < until:
            self.now = round(self.now + STEP_S, 3)
            self._play(int(STEP_S * 8000))
            self.agent.advance(self.now)
            due = [alarm for at, alarm in self._alarms if at <= self.now]
            self._alarms = [(at, alarm) for at, alarm in self._alarms if at > self.now]
            for alarm in due:
                self._take(self.protocol.rang(alarm))
            self._exchange()
        return self

    def do(self, name: str, *args: Any, **more: Any) -> Talk:
        """Call a method of the protocol object, and send what it wants to send."""
        getattr(self.protocol, name)(*args, **more)
        self._exchange()
        return self

    def interrupt(self, *, by_server: bool = True) -> None:
        """The playout is flushed."""
        heard = [each for each in self.playing if each.played < each.received]
        self.playing.clear()
        self.cuts += self.protocol.interrupted(heard, by_server=by_server)

    def of(self, kind: type[Any]) -> list[Any]:
        """The protocol's events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def told(self, type_: str) -> list[dict[str, Any]]:
        """What was sent to the agent, of one type."""
        return [event for event in self.sent if event["type"] == type_]

    def errors(self) -> list[str | None]:
        """Codes of the agent's error events."""
        return [event["error"]["code"] for event in self.received if event["type"] == "error"]

    def _exchange(self) -> None:
        moved = True
        while moved:
            moved = bool(self.agent.outbox)
            while self.agent.outbox:
                self._hear(self.agent.outbox.popleft())
            for message in self.protocol.data_to_send():
                moved = True
                event = orjson.loads(message)
                assert problems(event, "client") == [], event
                self.sent.append(event)
                self.agent.receive(message.decode(), self.now)
            self._alarms += [(self.now + alarm.after_s, alarm) for alarm in self.protocol.alarms()]

    def _hear(self, outgoing: Any) -> None:
        if isinstance(outgoing, Close):
            self.closed = outgoing
        elif isinstance(outgoing, Raw):
            payload = outgoing.payload
            frame = payload.encode() if isinstance(payload, str) else payload if isinstance(payload, bytes) else b"\0"
            self._take(self.protocol.receive(frame))
        elif isinstance(outgoing, dict):
            self.received.append(outgoing)
            self._take(self.protocol.receive(orjson.dumps(outgoing)))

    def _take(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, ev.AudioDelta):
                if not self.playing or self.playing[-1].item_id != event.item_id:
                    self.playing.append(_Playing(event.item_id))
                self.playing[-1].received += len(event.audio)
            elif isinstance(event, ev.SpeechStarted):
                self.interrupt()

    def _play(self, size: int) -> None:
        for each in self.playing:
            share = min(size, each.received - each.played)
            each.played += share
            size -= share
