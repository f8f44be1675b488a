"""One session of the fast server: what it says when, and what it makes of the client's events. No socket inside."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.bench.realtime_traffic import (
    USER_SPEECH_MS,
    Encoding,
    Event,
    Response,
    Traffic,
    encoded,
    format_object,
)
from tests.bench.server_figures import Figures

SESSION_S = 3600
_APPEND = "input_audio_buffer.append"


@dataclass(frozen=True, slots=True)
class Course:
    """How all sessions go. Times in seconds."""

    traffic: Traffic
    speed: float = 3.0
    """Audio leaves so many times faster than it is played."""
    barge_in_s: float = float("inf")
    """From a response's first delta to the caller's interruption; inf: never."""


class Session:
    """Takes the client's events; what it has to say goes to `write`, when it must be woken to `wake_at`.

    `wake_at` is given monotonic seconds and the story that is to be continued then: `next` of it gives the next time.
    """

    def __init__(
        self,
        number: int,
        course: Course,
        figures: Figures,
        write: Callable[[bytes], None],
        wake_at: Callable[[float, Iterator[float]], None],
    ) -> None:
        self.encoding = Encoding.PCM
        self.story: Iterator[float] | None = None
        """What is said by and by; another one takes its place when the client asks for a response."""
        self.call: Callable[[], int | None] = lambda: None
        """The number of the call, once it is known."""
        self._course = course
        self._figures = figures
        self._write = write
        self._wake_at = wake_at
        self._object = _session_object(number)
        self._number = 0
        self._active: int | None = None
        self._deltas = 0
        self._answers = 0

    def opened(self) -> None:
        """The connection is there: `session.created`."""
        self._tell({"type": "session.created", "session": self._object})

    def receive(self, payload: bytes, now: float) -> None:
        """An event of the client. Raises ValueError for what is none."""
        event = json.loads(payload)
        kind = event["type"]
        if kind == _APPEND:
            self._figures.sizes[len(payload)] = self._figures.sizes.get(len(payload), 0) + 1
            return
        self._figures.events[kind] += 1
        if (reaction := self._REACTIONS.get(kind)) is not None:
            reaction(self, event, now)

    # The client's events

    def _update(self, event: Event, now: float) -> None:
        _merge(self._object, event["session"])
        self.encoding = Encoding(self._object["audio"]["output"]["format"]["type"])
        self._tell({"type": "session.updated", "session": self._object})

    def _create_response(self, event: Event, now: float) -> None:
        if self._active is not None:
            self._refuse(event, "conversation_already_has_active_response", f"resp_{self._active} is active")
            return
        self.story = self._talk(now)
        self._wake_at(now, self.story)

    def _cancel(self, event: Event, now: float) -> None:
        if self._active is None:
            self._refuse(event, "response_cancel_not_active", "Cancellation failed: no active response found")
            return
        self._cut("client_cancelled")

    def _truncate(self, event: Event, now: float) -> None:
        told = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        response = int(told["item_id"].removeprefix("item_a"))
        self._figures.truncates.append((self.call(), response, told["audio_end_ms"], told["content_index"]))
        self._tell({"type": "conversation.item.truncated", **told})

    def _delete(self, event: Event, now: float) -> None:
        self._tell({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _create_item(self, event: Event, now: float) -> None:
        item = {"id": f"item_c{self._answers}", "status": "completed"} | event["item"]
        self._tell({"type": "conversation.item.added", "previous_item_id": None, "item": item})
        self._tell({"type": "conversation.item.done", "previous_item_id": None, "item": item})

    def _clear(self, event: Event, now: float) -> None:
        self._tell({"type": "input_audio_buffer.cleared"})

    _REACTIONS: ClassVar[dict[str, Callable[["Session", Event, float], None]]] = {
        "session.update": _update,
        "response.create": _create_response,
        "response.cancel": _cancel,
        "conversation.item.truncate": _truncate,
        "conversation.item.delete": _delete,
        "conversation.item.create": _create_item,
        "input_audio_buffer.clear": _clear,
    }

    # The story

    def _talk(self, at: float) -> Iterator[float]:
        """Responses and the caller's turns between them, for ever; each value is when it goes on."""
        course, traffic = self._course, self._course.traffic
        after_turn = False
        while True:
            self._number += 1
            response = traffic.response(self._number, self.encoding, after_turn=after_turn)
            self._figures.responses += 1
            self._active, self._deltas = response.number, 0
            self._write(response.opening)
            first = at + traffic.first_audio_ms / 1000
            interrupted_at = first + course.barge_in_s
            yield from self._say(response, first, interrupted_at)
            at = min(interrupted_at, first + (traffic.say_ms + traffic.pause_ms) / 1000)
            yield at
            turn = traffic.turn(self._number + 1)
            if at == interrupted_at:
                self._figures.interrupted(self.call(), response.number, time.time_ns())
            self._write(turn.started)
            if self._active is not None:
                self._cut("turn_detected")
            at += USER_SPEECH_MS / 1000
            yield at
            self._write(turn.stopped)
            after_turn = True

    def _say(self, response: Response, first: float, until: float) -> Iterator[float]:
        step = self._course.traffic.delta_ms / 1000 / self._course.speed
        for index, delta in enumerate(response.deltas):
            due = first + index * step
            if due >= until:
                return
            yield due
            if self._active is None:  # the client has cancelled it
                return
            self._write(delta.written(time.time_ns()))
            self._deltas += 1
            self._figures.deltas += 1
        self._active = None
        self._write(response.closing)

    def _cut(self, reason: str) -> None:
        active, self._active = self._active, None
        if active is not None:
            self._write(self._course.traffic.cut(active, self.encoding, self._deltas, reason))

    # Answers

    def _tell(self, event: Event) -> None:
        self._answers += 1
        self._write(encoded([event], f"a{self._answers}"))

    def _refuse(self, event: Event, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        self._tell({"type": "error", "error": error | {"event_id": event.get("event_id")}})


def _session_object(number: int) -> Event:
    detection = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    heard = {"format": format_object(Encoding.PCM), "transcription": None, "noise_reduction": None}
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{number}",
        "model": "gpt-realtime-2.1",
        "output_modalities": ["audio"],
        "instructions": "You answer the phone.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": int(time.time()) + SESSION_S,
        "audio": {
            "input": heard | {"turn_detection": detection},
            "output": {"format": format_object(Encoding.PCM), "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def _merge(base: dict[str, Any], given: dict[str, Any]) -> None:
    """Apply an update; an audio format is replaced as a whole."""
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict) and name != "format":
            _merge(base[name], value)
        else:
            base[name] = value
