"""What the steps of a script do to a session: speech, responses and faults that nobody asked for."""

from typing import Protocol

from bridge.agent.answering import Answering
from bridge.agent.configuration import Configuration
from bridge.agent.conversation import Conversation
from bridge.agent.events import Event
from bridge.agent.identifiers import Identifiers
from bridge.agent.items import Item
from bridge.agent.listening import Listening
from bridge.agent.outbox import Outgoing
from bridge.agent.patterns import make
from bridge.agent.plans import Plan, Request
from bridge.agent.refusal import Refusal


class Scene(Protocol):
    """The session as the steps see it."""

    ids: Identifiers
    conversation: Conversation
    configuration: Configuration
    answering: Answering
    listening: Listening
    notes: list[str]
    now: float

    def put(self, outgoing: Outgoing) -> None: ...
    def emit(self, event: Event) -> None: ...
    def refuse(self, refusal: Refusal, event_id: str | None = None) -> None: ...
    def tell(self, item: Item, text: str | None) -> None: ...


class Acting:
    """Carries out steps. Its fields overrule the session while one of them is at work."""

    def __init__(self, scene: Scene) -> None:
        # Deltas still to come after speech_started; None: chosen by chance.
        self.in_flight: int | None = None
        self.interrupt = True
        self.respond = True
        self._scene = scene

    def put(self, outgoing: Outgoing) -> None:
        self._scene.put(outgoing)

    def emit_raw(self, event: Event) -> None:
        """An event as the script wrote it, with an event_id unless it has one."""
        self._scene.put({"event_id": self._scene.ids.make("event")} | event)

    def refuse(self, refusal: Refusal) -> None:
        self._scene.refuse(refusal)

    def say(self, plan: Plan) -> str | None:
        """Start a response; None when another one is active (the client gets the error)."""
        scene = self._scene
        try:
            response = scene.answering.begin(Request(None, scene.configuration), scene.now, plan)
        except Refusal as refusal:
            scene.refuse(refusal)
            return None
        return response.id

    def cancel_active(self, reason: str, in_flight: int) -> None:
        if self._scene.answering.active is not None:
            self._scene.answering.cancel(None, reason, in_flight)

    def start_speech(self, audio_start_ms: int | None, in_flight: int | None, interrupt: bool) -> None:
        self.in_flight, self.interrupt = in_flight, interrupt
        self._scene.listening.speech_started(audio_start_ms)
        self.in_flight, self.interrupt = None, True

    def stop_speech(self, audio_end_ms: int | None, respond: bool) -> None:
        self.respond = respond
        self._scene.listening.speech_stopped(audio_end_ms)
        self.respond = True

    def transcribe(self, item_id: str | None, text: str | None) -> None:
        """Transcription events of an item, the last one of the caller without an id; None: it failed."""
        item = self._scene.conversation.get(item_id or self.last_ids()["user"] or "")
        if item is not None:
            self._scene.tell(item, text)

    def extra_audio(self, item_id: str | None, pattern: str, ms: int) -> None:
        """One more delta of an item of the latest response, going on where its audio ended."""
        latest = self._scene.answering.latest
        if latest is None:
            return
        form = latest.request.format
        for index, item in reversed(list(enumerate(latest.output))):
            if item.role == "assistant" and item_id in (None, item.id):
                total = item.sent_bytes // form.bytes_per_ms + ms
                data = make(pattern, total, item.number, form)[item.sent_bytes :]
                self._scene.emit(latest.extra_delta(item, index, data))
                return

    def new_item_id(self) -> str:
        return self._scene.ids.make("item")

    def last_ids(self) -> dict[str, str | None]:
        """The newest item of either side and the newest response, for placeholders."""
        newest: dict[str | None, str] = {item.role: item.id for item in self._scene.conversation}
        latest = self._scene.answering.latest
        return {
            "user": newest.get("user"),
            "item": newest.get("assistant"),
            "response": None if latest is None else latest.id,
        }

    def note(self, text: str) -> None:
        self._scene.notes.append(text)
