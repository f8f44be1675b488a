"""A client of the sans-I/O session: its own clock, every event judged."""

from __future__ import annotations

import base64
import json
from typing import Any

from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Listen, Speak
from bridge.agent.outbox import Outgoing
from bridge.agent.patterns import tone
from bridge.agent.script import Script
from bridge.agent.session import Session
from tests.realtime_events import problems

Event = dict[str, Any]
PCMU = AudioFormat.PCMU


class Peer:
    """Talks to a `Session` in simulated time. `events` has everything that came, `faults` all that is no event.

    Ears and voice answer at once: `words` is what they hear (None: nothing), the voice makes 60 ms of tone for
    each letter.
    """

    def __init__(self, script: str | None = None, *, created: bool = True, **options: Any) -> None:
        self.now = 100.0
        self.events: list[Event] = []
        self.faults: list[Outgoing] = []
        self.times: list[float] = []
        self.words: str | None = "what time is it"
        self.spoken: list[str] = []
        # False: work orders stay where they are.
        self.working = True
        given: dict[str, Any] = {"model": "gpt-realtime-2.1", "seed": "1", "wall_time": 1_800_000_000}
        self.session = Session(**(given | options), script=None if script is None else Script.parse(script))
        self.session.open(self.now)
        self._collect()
        if created:
            assert self.take()[0]["type"] == "session.created"

    def take(self) -> list[Event]:
        """The events since the last take."""
        taken, self.events = self.events, []
        return taken

    def send(self, event: Event | str | bytes) -> list[Event]:
        """Send one event; what comes back without any time going by."""
        message = json.dumps(event) if isinstance(event, dict) else event
        self.session.receive(message, self.now)
        self._collect()
        return self.take()

    def run(self, seconds: float) -> list[Event]:
        """Let time go by; what came."""
        end = self.now + seconds
        self.session.advance(self.now)
        self._collect()
        while (due := self.session.deadline()) <= end:
            self.now = max(self.now, due)
            self.session.advance(self.now)
            self._collect()
        self.now = end
        return self.take()

    def error(self, event: Event | str | bytes) -> Event:
        """Send something that is refused; the error, alone."""
        answer = self.send(event)
        assert [each["type"] for each in answer] == ["error"], answer
        error: Event = answer[0]["error"]
        return error

    def configure(self, **session: Any) -> Event:
        """A `session.update`; the session of `session.updated`."""
        (answer,) = self.send({"type": "session.update", "session": {"type": "realtime", **session}})
        assert answer["type"] == "session.updated", answer
        updated: Event = answer["session"]
        return updated

    def telephone(self, turn_detection: Event | None = None, **more: Any) -> Event:
        """G.711 µ-law both ways, 500 ms of silence end a turn, transcripts are wanted."""
        vad = {"type": "server_vad", "silence_duration_ms": 500} if turn_detection is None else turn_detection
        audio = {
            "input": {"format": PCMU.wire(), "turn_detection": vad, "transcription": {"model": "whisper-1"}},
            "output": {"format": PCMU.wire()},
        }
        return self.configure(audio=audio, **more)

    def append(self, audio: bytes, form: AudioFormat = PCMU) -> list[Event]:
        """Audio in pieces of 20 ms, as time goes by."""
        events = []
        step = 20 * form.bytes_per_ms
        for start in range(0, len(audio), step):
            piece = base64.b64encode(audio[start : start + step]).decode()
            events += self.send({"type": "input_audio_buffer.append", "audio": piece})
            events += self.run(0.02)
        return events

    def speak(self, ms: int = 1000, pause_ms: int = 600) -> list[Event]:
        """The caller says something and waits."""
        return self.append(PCMU.from_pcm(tone(300, ms, 8000)) + PCMU.silence(pause_ms))

    def respond(self, **response: Any) -> list[Event]:
        """A response to its end."""
        events = self.send({"type": "response.create", **({"response": response} if response else {})})
        while not any(event["type"] in ("response.done", "error") for event in events):
            events += self.run(0.5)
        return events

    def user(self, text: str) -> str:
        """A typed user item; its id."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        added, done = self.send({"type": "conversation.item.create", "item": item})
        assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
        return str(added["item"]["id"])

    def _collect(self) -> None:
        session = self.session
        while session.outbox or (session.work and self.working):
            while session.outbox:
                self._judge(session.outbox.popleft())
            if session.work and self.working:
                self._work(session.work.popleft())
        session.outbox.clear()

    def _judge(self, outgoing: Outgoing) -> None:
        if not isinstance(outgoing, dict):
            self.faults.append(outgoing)
            return
        assert problems(outgoing, "server") == [], outgoing
        self.events.append(json.loads(json.dumps(outgoing)))
        self.times.append(self.now)

    def _work(self, order: Listen | Speak) -> None:
        if isinstance(order, Listen):
            self.session.heard(order.item_id, self.words, self.now)
        else:
            self.spoken.append(order.text)
            pcm = tone(500, 60 * len(order.text), order.format.rate)
            self.session.voiced(order.response_id, order.format.from_pcm(pcm), self.now)


def types(events: list[Event], *, deltas: bool = False) -> list[str]:
    """The types in order, deltas left out."""
    return [event["type"] for event in events if deltas or not event["type"].endswith(".delta")]


def only(events: list[Event], kind: str) -> Event:
    """The one event of this type."""
    (found,) = [event for event in events if event["type"] == kind]
    return found


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def audio_of(events: list[Event], item_id: str | None = None) -> bytes:
    """The audio of all deltas (of one item) together."""
    return b"".join(
        base64.b64decode(event["delta"])
        for event in of(events, "response.output_audio.delta")
        if item_id in (None, event["item_id"])
    )
