"""One Realtime session without its socket: client events in, server events and work orders out. No clock inside."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from bridge.agent import client_events, events
from bridge.agent.acting import Acting
from bridge.agent.answering import Answering
from bridge.agent.brain import Brain
from bridge.agent.configuration import Configuration
from bridge.agent.conversation import Conversation
from bridge.agent.events import Event
from bridge.agent.formats import AudioFormat
from bridge.agent.identifiers import Identifiers
from bridge.agent.items import Item, decode_audio, parse_item
from bridge.agent.listening import Listening
from bridge.agent.orders import Listen, Work
from bridge.agent.outbox import Close, Outgoing
from bridge.agent.pieces import AnswerPiece
from bridge.agent.pipeline_config import Pipeline
from bridge.agent.plans import Request, Stage
from bridge.agent.refusal import Refusal, wrong_value
from bridge.agent.responses import Response
from bridge.agent.script import Script
from bridge.agent.script_run import ScriptRun

MAX_APPEND_BYTES = 15 << 20


@dataclass(slots=True)
class _Late:
    """A transcript that the script lets come later."""

    due: float
    item: Item
    text: str | None


class Session:
    """The server's side of one connection.

    Call `open` once, then `receive` for each message and `advance` when `deadline` is reached; take what is in
    `outbox` and `work` after each. Times are monotonic seconds.
    """

    def __init__(
        self,
        *,
        model: str,
        seed: str,
        wall_time: int,
        session_seconds: float = 3600,
        script: Script | None = None,
        brain: Brain | None = None,
        pipeline: Pipeline | None = None,
        speed: float = 6.0,
        echo_format: AudioFormat | None = None,
        journal: bool = False,
    ) -> None:
        self.ids = Identifiers(seed)
        self.outbox: deque[Outgoing] = deque()
        self.work: deque[Work] = deque()
        self.notes: list[str] = []
        # All audio ever appended, wire bytes; None unless the journal is kept.
        self.input_audio = bytearray() if journal else None
        self.configuration = Configuration(self.ids.make("sess"), model, wall_time + int(session_seconds))
        self.conversation = Conversation(self.ids.make("conv"))
        self._chance = random.Random(f"session:{seed}")
        self._session_seconds = session_seconds
        self._echo_format = echo_format
        self.now = 0.0
        self._expires = float("inf")
        self._idle_at: float | None = None
        self._silent = False
        self._late: list[_Late] = []
        self._script = Script(brain=True) if script is None else script
        speed = speed if self._script.speed is None else self._script.speed
        self.stage = Stage(self.conversation, self.configuration, self.ids, self._chance, speed, keep_spoken=journal)
        by_itself = self._hears = self._script.brain
        self.answering = Answering(
            self.stage,
            (brain or Brain()) if by_itself and (pipeline is None or pipeline.brain is None) else None,
            self._chance,
            self.emit,
            self.work.append,
            self._response_done,
            streamed=by_itself and pipeline is not None,
        )
        self.listening = Listening(
            self.configuration,
            self.conversation,
            self.ids,
            self.emit,
            on_started=self._speech_started,
            on_turn=self._turn,
            detect=self._script.vad,
            judge=None if pipeline is None else pipeline.judge(),
        )
        self._acting = Acting(self)
        self._run = ScriptRun(self._script, self._acting, seed)
        self._transcripts = cycle(self._script.heard) if self._script.heard else None
        self._acts = self._client_events()

    # The face.

    def open(self, now: float) -> None:
        """`session.created`, the first event of a connection."""
        self.now = now
        self._expires = now + self._session_seconds
        if not self._run.fire("session.created"):
            self.emit(self._session_event("created"))
        self._pump()

    def receive(self, message: str | bytes, now: float) -> Event | None:
        """One message of the client; gives the event if it was one. Never raises."""
        self.now = now
        event: Event | None = None
        try:
            event = client_events.parse(message)
            kind = client_events.check(event)
            if not self._run.fire(kind):
                self._acts[kind](event)
        except Refusal as refusal:
            self.refuse(refusal, client_events.event_id(event))
        self._pump()
        return event

    def advance(self, now: float) -> None:
        """Do what is due."""
        self.now = now
        for late in [each for each in self._late if each.due <= now]:
            self._late.remove(late)
            self.tell(late.item, late.text)
        if self._idle_at is not None and self._idle_at <= now:
            self._idle()
        self.answering.advance(now)
        if now >= self._expires:
            self._expires = float("inf")
            self.refuse(Refusal("session_expired", "The session has reached its time limit."))
            self.put(Close(1001, "The session has reached its time limit."))
        self._pump()

    def deadline(self) -> float:
        """When `advance` is needed next."""
        times = [
            self._expires,
            self._idle_at,
            self.answering.deadline(),
            self._run.deadline(),
            *(late.due for late in self._late),
        ]
        return min(time for time in times if time is not None)

    def heard(self, item_id: str, text: str | None, now: float, code: str = "audio_unintelligible") -> None:
        """The ears' answer to a `Listen`: the words; empty: it was noise; None: they failed, and `code` tells why."""
        self.now = now
        item = self.conversation.get(item_id)
        if item is not None:
            self.tell(item, text, code)
        waiting = [each for each in self.answering.heard() if not self._waits_for_ears(each)]
        for response in waiting:
            self.answering.think(response, self._silent, now)

    def voiced(self, response_id: str, audio: bytes | None, now: float) -> None:
        """The voice's answer to a `Speak`: wire bytes, or None."""
        self.now = now
        self.answering.voiced(response_id, audio, now)
        self._pump()

    def piece(self, response_id: str, piece: AnswerPiece, now: float) -> None:
        """The next piece of the pipeline's answer to a `Reply`."""
        self.now = now
        self.answering.piece(response_id, piece)
        self._pump()

    # Outgoing.

    def put(self, outgoing: Outgoing) -> None:
        self.outbox.append(outgoing)

    def emit(self, event: Event) -> None:
        """Send an event: it gets its id, and padding where the service pads."""
        kind = event["type"]
        made = {"type": kind, "event_id": self.ids.make("event"), **event}
        if kind in events.PADDED:
            made["obfuscation"] = self.ids.letters(max(1, 16 - len(event["delta"])))
        self.outbox.append(made)
        if kind != "session.created":
            self._run.fire(kind)

    def refuse(self, refusal: Refusal, event_id: str | None = None) -> None:
        """Send an error event; `event_id` is that of the client's event, if it had one."""
        self.emit(events.error(refusal, event_id))

    # Client events.

    def _client_events(self) -> dict[str, Callable[[Event], None]]:
        return {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": self._delete,
            "response.create": self._create_response,
            "response.cancel": self._cancel,
            "output_audio_buffer.clear": self._clear_output,
        }

    def _update(self, event: Event) -> None:
        self.configuration.update(event["session"])
        self.listening.configure()
        self.emit(self._session_event("updated"))

    def _append(self, event: Event) -> None:
        audio = decode_audio(event["audio"], "audio")
        if len(audio) > MAX_APPEND_BYTES:
            raise wrong_value("audio", "at most 15 MiB")
        if self.input_audio is not None:
            self.input_audio += audio
        self.listening.append(audio)
        self._run.audio_clock(self.listening.buffer.end_ms)

    def _commit(self, _event: Event) -> None:
        self.listening.commit()

    def _clear(self, _event: Event) -> None:
        self.listening.clear()

    def _create_item(self, event: Event) -> None:
        item = parse_item(event["item"], "item", self.ids.make("item"), self.configuration.input_format)
        previous = self.conversation.create(item, event.get("previous_item_id"))
        self.emit(events.item("added", item, previous))
        self.emit(events.item("done", item, previous))
        if item.audio and self._hears:
            self._listen(item)

    def _retrieve(self, event: Event) -> None:
        self.emit(events.item_retrieved(self.conversation.retrieve(event["item_id"])))

    def _delete(self, event: Event) -> None:
        self.conversation.delete(event["item_id"])
        self.emit(events.item_deleted(event["item_id"]))

    def _truncate(self, event: Event) -> None:
        self.conversation.truncate(event["item_id"], event["content_index"], event["audio_end_ms"])
        self.emit(events.item_truncated(event["item_id"], event["audio_end_ms"]))

    def _create_response(self, event: Event) -> None:
        self._respond_to(Request(event.get("response"), self.configuration))

    def _cancel(self, event: Event) -> None:
        self.answering.cancel(event.get("response_id"))

    def _clear_output(self, _event: Event) -> None:
        raise wrong_value("type", "of use on a WebSocket: there is no output buffer here")

    # Turns.

    def _speech_started(self) -> None:
        self._idle_at = None
        turn_detection = self.configuration.turn_detection or {"interrupt_response": True}
        if self.answering.active is None or not (turn_detection["interrupt_response"] and self._acting.interrupt):
            return
        in_flight = self._chance.randint(0, 3) if self._acting.in_flight is None else self._acting.in_flight
        self.answering.cancel(None, "turn_detected", in_flight)

    def _turn(self, item: Item, automatic: bool) -> None:
        """An item of the caller was committed."""
        self._idle_at = None
        if not self._silent:
            self._hear(item)
        turn_detection = self.configuration.turn_detection
        wanted = automatic and self._acting.respond and (turn_detection is None or turn_detection["create_response"])
        if not wanted or self.answering.active is not None:
            return
        if not self._run.fire("turn"):
            self._respond_to(Request(None, self.configuration))

    def _hear(self, item: Item) -> None:
        if self._hears:
            self._listen(item)
        elif self._transcripts is not None and self.configuration.transcription is not None:
            delay = self._run.ms(self._script.heard_ms) / 1000
            self._late.append(_Late(self.now + delay, item, next(self._transcripts)))

    def _listen(self, item: Item) -> None:
        item.unheard = True
        language = (self.configuration.transcription or {}).get("language")
        self.work.append(Listen(item.id, item.audio, self.listening.buffer.format, language))

    def tell(self, item: Item, text: str | None, code: str = "audio_unintelligible") -> None:
        for event in self.listening.heard(item, text, code):
            self.emit(event)

    def _idle(self) -> None:
        self._idle_at = None
        self._silent = True
        self.listening.idle()

    # Responses.

    def _respond_to(self, request: Request) -> None:
        scripted = self._script.answer
        plan = None if scripted is None else self._run.plan(scripted)
        response = self.answering.begin(request, self.now, plan)
        self._idle_at = None
        if plan is None and not self._waits_for_ears(response):
            self.answering.think(response, self._silent, self.now)
            self._silent = False

    def _waits_for_ears(self, response: Response) -> bool:
        return response.request.input is None and any(item.unheard for item in self.conversation)

    def _response_done(self, response: Response) -> None:
        turn_detection = self.configuration.turn_detection
        idle_ms = turn_detection.get("idle_timeout_ms") if turn_detection else None
        if idle_ms and response.request.in_conversation and self.listening.speaking_item is None:
            self._idle_at = self.now + (response.audio_ms + idle_ms) / 1000

    def _session_event(self, kind: str) -> Event:
        lie = self._echo_format if kind == "updated" else None
        return events.session(kind, self.configuration.wire(lie))

    def _pump(self) -> None:
        self._run.pump(self.now)
