"""What the fast server says, ready-made: a turn of the caller and a response, in the service's order of events.

All of it is made once for each number and shared by all sessions. Only the head of a delta is fresh: it says when it
was written, in 24 bytes of audio, which are 32 characters of Base64.
"""

import base64
import functools
import json
import random
import struct
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.bench.websocket_frames import frame, header

Event = dict[str, Any]

FRAME_MS = 20
HEAD = struct.Struct(">4sIIIQ")
"""Of every 20 ms of G.711: magic, response, frame of that response, 0, time in ns since the epoch (0: not told)."""
MAGIC = b"SBdn"
WORDS_AHEAD = 3
"""Pieces of the transcript that come before the first audio."""
USER_SPEECH_MS = 400
"""From `speech_started` to `speech_stopped`."""
FIRST_AUDIO_MS = 100
"""From `response.created` to the first audio."""
KEPT_RESPONSES = 128
"""Ready-made responses that are kept; one of 8 s takes 90 kB."""
_SAID = ("we", "open", "at", "nine", "and", "the", "bicycles", "are", "in", "the", "yard", "behind", "the", "house")


class Encoding(Enum):
    """What a session's audio is: name on the wire, bytes per ms."""

    PCMU = "audio/pcmu"
    PCMA = "audio/pcma"
    PCM = "audio/pcm"

    @property
    def bytes_per_ms(self) -> int:
        return 48 if self is Encoding.PCM else 8


@dataclass(frozen=True, slots=True)
class Delta:
    """An audio delta, and the piece of the transcript behind it."""

    begin: bytes
    """Frame header and JSON up to the audio."""
    rest: bytes
    """Base64 of what is behind the head, the end of the JSON, the transcript's frame."""
    response: int
    first_frame: int
    """Number of its first 20 ms frame in the response; -1: PCM, which has no head."""

    def written(self, t_ns: int) -> bytes:
        """The bytes for the socket; `t_ns` since the epoch is now."""
        if self.first_frame < 0:
            return self.begin + self.rest
        head = base64.b64encode(HEAD.pack(MAGIC, self.response, self.first_frame, 0, t_ns))
        return b"".join((self.begin, head, self.rest))


@dataclass(frozen=True, slots=True)
class Response:
    """A response as frames."""

    number: int
    opening: bytes
    """From `response.created` to the first pieces of the transcript."""
    deltas: tuple[Delta, ...]
    closing: bytes
    """All that comes behind the last delta of a completed one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the caller is said to have done before a response, as frames."""

    started: bytes
    stopped: bytes
    """With all that follows up to the response."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Responses of `say_ms` in deltas of `delta_ms`, both multiples of 20 ms, with pauses of `pause_ms` between."""

    say_ms: int = 8000
    delta_ms: int = 200
    pause_ms: int = 500
    first_audio_ms: int = FIRST_AUDIO_MS
    """From a response's beginning to its first delta."""
    _noise: dict[Encoding, bytes] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.say_ms % FRAME_MS or self.delta_ms % FRAME_MS or not 0 < self.delta_ms <= self.say_ms:
            raise ValueError("say_ms and delta_ms must be multiples of 20 ms, and a delta no longer than a response")
        for encoding in Encoding:
            self._noise[encoding] = random.Random("down").randbytes(self.say_ms * encoding.bytes_per_ms)

    def turn(self, number: int) -> Turn:
        """The caller's turn before the response of that number."""
        return _turn(number, (number - 1) * (self.say_ms + self.pause_ms + USER_SPEECH_MS + self.first_audio_ms))

    def response(self, number: int, encoding: Encoding, *, after_turn: bool) -> Response:
        """The response of that number; `after_turn` of the caller."""
        return _response(self, number, encoding, after_turn)

    def cut(self, number: int, encoding: Encoding, deltas: int, reason: str) -> bytes:
        """The end of a response of which so many deltas were sent: `turn_detected` or `client_cancelled`."""
        return _cut(self, number, encoding, deltas, reason)

    def words(self) -> list[str]:
        """The transcript's pieces: one for each delta, and those that come ahead."""
        count = -(-self.say_ms // self.delta_ms) + WORDS_AHEAD
        return [f"{' ' if index else ''}{_SAID[index % len(_SAID)]}" for index in range(count)]

    def audio(self, number: int, encoding: Encoding) -> bytes:
        """A response's audio; G.711 with the head in each frame, without times."""
        noise = self._noise[encoding]
        if encoding is Encoding.PCM:
            return noise
        size = FRAME_MS * encoding.bytes_per_ms
        heads = (HEAD.pack(MAGIC, number, index, 0, 0) for index in range(len(noise) // size))
        return b"".join(head + noise[index * size + HEAD.size : (index + 1) * size] for index, head in enumerate(heads))


def encoded(events: list[Event], about: str) -> bytes:
    """Events as frames, each with an id: `about` names their place in the session."""
    made = (
        {"type": event["type"], "event_id": f"event_{about}_{index}", **event} for index, event in enumerate(events)
    )
    return b"".join(frame(json.dumps(event, separators=(",", ":")).encode()) for event in made)


@functools.lru_cache(KEPT_RESPONSES)
def _turn(number: int, at_ms: int) -> Turn:
    item = f"item_u{number}"
    previous = f"item_a{number - 1}" if number > 1 else None
    wire = _message(item, "user", "completed", [{"type": "input_audio", "transcript": None}])
    started: Event = {"type": "input_audio_buffer.speech_started", "audio_start_ms": at_ms, "item_id": item}
    stopped: list[Event] = [
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms + USER_SPEECH_MS, "item_id": item},
        {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item},
        {"type": "conversation.item.added", "previous_item_id": previous, "item": wire},
        {"type": "conversation.item.done", "previous_item_id": previous, "item": wire},
    ]
    return Turn(encoded([started], f"s{number}"), encoded(stopped, f"u{number}"))


@functools.lru_cache(KEPT_RESPONSES)
def _response(traffic: Traffic, number: int, encoding: Encoding, after_turn: bool) -> Response:
    words = traffic.words()
    opening = _opening(number, encoding, after_turn) + [
        _delta_event(number, "output_audio_transcript", word) for word in words[:WORDS_AHEAD]
    ]
    closing = _ending(number, encoding, "completed", None, "".join(words))
    return Response(
        number,
        encoded(opening, f"o{number}"),
        _deltas(traffic, number, encoding, words[WORDS_AHEAD:]),
        encoded(closing, f"c{number}"),
    )


@functools.lru_cache(KEPT_RESPONSES)
def _cut(traffic: Traffic, number: int, encoding: Encoding, deltas: int, reason: str) -> bytes:
    said = "".join(traffic.words()[: deltas + WORDS_AHEAD])
    details = {"type": "cancelled", "reason": reason}
    return encoded(_ending(number, encoding, "cancelled", details, said), f"x{number}")


def _opening(number: int, encoding: Encoding, after_turn: bool) -> list[Event]:
    item = _message(f"item_a{number}", "assistant", "in_progress", [])
    previous = f"item_u{number}" if after_turn else f"item_a{number - 1}" if number > 1 else None
    place = _place(number)
    events: list[Event] = [
        {"type": "response.created", "response": _response_object(number, encoding, "in_progress", None, [], None)},
        {"type": "response.output_item.added", "response_id": f"resp_{number}", "output_index": 0, "item": item},
        {"type": "conversation.item.added", "previous_item_id": previous, "item": item},
        {"type": "response.content_part.added", **place, "part": {"type": "audio", "transcript": ""}},
    ]
    return events + ([_transcription(number)] if after_turn else [])


def _transcription(number: int) -> Event:
    details = {"text_tokens": 0, "audio_tokens": 18}
    tokens = {"total_tokens": 24, "input_tokens": 18, "output_tokens": 6, "input_token_details": details}
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": f"item_u{number}",
        "content_index": 0,
        "transcript": "When do you open?",
        "usage": {"type": "tokens", **tokens},
    }


def _deltas(traffic: Traffic, number: int, encoding: Encoding, words: list[str]) -> tuple[Delta, ...]:
    audio = traffic.audio(number, encoding)
    size = traffic.delta_ms * encoding.bytes_per_ms
    return tuple(
        _delta(number, encoding, index, traffic.delta_ms // FRAME_MS, audio[index * size : (index + 1) * size], word)
        for index, word in enumerate(words)
    )


def _delta(number: int, encoding: Encoding, index: int, frames: int, audio: bytes, word: str) -> Delta:
    marked = 0 if encoding is Encoding.PCM else HEAD.size
    event = {"event_id": f"event_d{number}_{index}"} | _delta_event(number, "output_audio", "|")
    before, _, after = json.dumps(event, separators=(",", ":")).encode().partition(b"|")
    body = base64.b64encode(audio[marked:]) + after
    begin = header(len(before) + marked * 4 // 3 + len(body)) + before
    text = encoded([_delta_event(number, "output_audio_transcript", word)], f"t{number}_{index}")
    return Delta(begin, body + text, number, index * frames if marked else -1)


def _delta_event(number: int, kind: str, delta: str) -> Event:
    return {"type": f"response.{kind}.delta", **_place(number), "delta": delta}


def _ending(number: int, encoding: Encoding, status: str, details: Event | None, said: str) -> list[Event]:
    place = _place(number)
    part = {"type": "audio", "transcript": said}
    state = "completed" if status == "completed" else "incomplete"
    item = _message(f"item_a{number}", "assistant", state, [{"type": "output_audio", "transcript": said}])
    done = _response_object(number, encoding, status, details, [item], _usage(said))
    limit = {"name": "tokens", "limit": 40_000, "remaining": 39_790, "reset_seconds": 0.315}
    return [
        {"type": "response.output_audio.done", **place},
        {"type": "response.output_audio_transcript.done", **place, "transcript": said},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "conversation.item.done", "previous_item_id": None, "item": item},
        {"type": "response.output_item.done", "response_id": f"resp_{number}", "output_index": 0, "item": item},
        {"type": "response.done", "response": done},
        {"type": "rate_limits.updated", "rate_limits": [limit]},
    ]


def _place(number: int) -> Event:
    return {"response_id": f"resp_{number}", "item_id": f"item_a{number}", "output_index": 0, "content_index": 0}


def _message(item_id: str, role: str, status: str, content: list[Event]) -> Event:
    return {"id": item_id, "type": "message", "status": status, "role": role, "content": content}


def _response_object(
    number: int, encoding: Encoding, status: str, details: Event | None, output: list[Event], usage: Event | None
) -> Event:
    return {
        "object": "realtime.response",
        "id": f"resp_{number}",
        "status": status,
        "status_details": details,
        "output": output,
        "conversation_id": "conv_1",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": format_object(encoding), "voice": "marin"}},
        "usage": usage,
        "metadata": None,
    }


def format_object(encoding: Encoding) -> Event:
    """How a format stands in a session or a response."""
    return {"type": encoding.value} | ({"rate": 24_000} if encoding is Encoding.PCM else {})


def _usage(said: str) -> Event:
    text, audio = len(said) // 4, len(said) // 2
    cached = {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0}
    heard = {"text_tokens": 120, "audio_tokens": 40, "image_tokens": 0, "cached_tokens": 64}
    return {
        "total_tokens": 160 + text + audio,
        "input_tokens": 160,
        "output_tokens": text + audio,
        "input_token_details": heard | {"cached_tokens_details": cached},
        "output_token_details": {"text_tokens": text, "audio_tokens": audio},
    }
