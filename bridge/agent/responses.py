"""One response: the events in which it leaves, and its early end."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.agent import events
from bridge.agent.bursts import Piece, Sound, Text, Wait, burst
from bridge.agent.events import Event
from bridge.agent.formats import AudioFormat
from bridge.agent.items import Item
from bridge.agent.pieces import AnswerPiece, Called, Ended, Said, Sounded, Spoken
from bridge.agent.plans import Call, Plan, Request, Speech, Stage


@dataclass(slots=True)
class _Open:
    """An output item that has begun."""

    item: Item
    index: int
    said: str = ""


class Response:
    """Makes the events of one response. `due` is when its next event may leave (monotonic s)."""

    def __init__(self, request: Request, stage: Stage, now: float) -> None:
        self.id = stage.ids.make("resp")
        self.request = request
        self.due = now
        self.status = "in_progress"
        self.status_details: Event | None = None
        self.output: list[Item] = []
        # What the audio of all its items plays for, in ms.
        self.audio_ms = 0
        # None while the words are still being found or spoken by the workers.
        self.plan: Plan | None = None
        # It leaves piece by piece as it is made, without a plan.
        self.streaming = False
        self._stage = stage
        self._open: list[_Open] = []
        self._steps: Iterator[float | Event] = iter(())
        self._burst: Iterator[Piece] = iter(())
        self._tokens_left = request.max_output_tokens

    @property
    def done(self) -> bool:
        return self.status != "in_progress"

    def created(self) -> Event:
        return {"type": "response.created", "response": self.wire()}

    def wire(self) -> Event:
        request, stage = self.request, self._stage
        usage = None
        if self.done:
            instructions = request.instructions or stage.configuration.instructions
            usage = events.response_usage(stage.conversation, instructions, self.output)
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self.status_details,
            "output": [item.wire() for item in self.output] if self.done else [],
            "conversation_id": stage.conversation.id if request.in_conversation else None,
            "output_modalities": request.modalities,
            "max_output_tokens": request.max_output_tokens,
            "audio": {"output": {"format": request.format.wire(), "voice": request.voice}},
            "usage": usage,
            "metadata": request.metadata,
        }

    def play(self, plan: Plan, now: float) -> None:
        """Begin to say `plan`."""
        self.plan = plan
        self.due = now + plan.first_byte_ms / 1000
        self._steps = self._run(plan)

    def advance(self, now: float, limit: int) -> Iterator[Event]:
        """The events that are due, at most `limit` of them."""
        while self.plan is not None and not self.done and self.due <= now and limit > 0:
            step = next(self._steps, None)
            if step is None:
                return
            if isinstance(step, float):
                self.due += step
            else:
                limit -= 1
                yield step

    def cancel(self, reason: str, in_flight: int = 0) -> Iterator[Event]:
        """End it: up to `in_flight` audio deltas that were on their way, the done events, `response.done`."""
        for piece in self._burst:
            if in_flight <= 0:
                break
            if isinstance(piece, Sound):
                in_flight -= 1
            yield from self._said(piece)
        yield from self._finish("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, code: str, message: str) -> Iterator[Event]:
        """End it with status failed."""
        fault = {"type": "server_error", "code": code, "message": message}
        yield from self._finish("failed", {"type": "failed", "error": fault})

    def stream(self, piece: AnswerPiece) -> Iterator[Event]:
        """The events of the next piece of a response without a plan."""
        match piece:
            case Said(text):
                yield from self._said_live(text)
            case Sounded(audio):
                yield from self._said(Sound(audio))
            case Spoken():
                self._open[-1].item.said_whole = True
            case Called(name, arguments, call_id):
                yield from self._close_all("completed")
                yield from self._call(Call(name, arguments, call_id))
                yield from self._close_all("completed")
            case Ended():
                yield from self._end_live(piece)

    def _said_live(self, text: str) -> Iterator[Event]:
        if not self._open:
            yield from self._begin_message(None)
        entry = self._open[-1]
        entry.item.marks.append((entry.item.sent_bytes, text))
        entry.item.said_whole = False
        yield from self._said(Text(text))

    def _end_live(self, end: Ended) -> Iterator[Event]:
        if end.code is None:
            details = None if end.reason is None else {"type": "incomplete", "reason": end.reason}
            yield from self._finish("completed" if end.reason is None else "incomplete", details)
        elif not self.output:
            yield from self.fail(end.code, end.message)
        else:
            fault = {"type": "server_error", "code": end.code, "message": end.message}
            yield from self._finish("incomplete", {"type": "incomplete", "error": fault})

    def _run(self, plan: Plan) -> Iterator[float | Event]:
        for output in plan.outputs:
            if isinstance(output, Speech):
                yield from self._say(output, plan)
            else:
                yield from self._call(output)
            if not plan.overlap:
                yield from self._close_all("completed")
            if self._tokens_left == 0:
                break
        if self._tokens_left == 0 and plan.status == "completed":
            yield from self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
        else:
            yield from self._finish(plan.status, plan.status_details)

    def _finish(self, status: str, details: Event | None) -> Iterator[Event]:
        yield from self._close_all("completed" if status == "completed" else "incomplete")
        self.status = status
        self.status_details = details
        yield {"type": "response.done", "response": self.wire()}

    # Items.

    def _begin(self, item: Item) -> Iterator[Event]:
        self.output.append(item)
        self._open.append(_Open(item, len(self.output) - 1))
        yield {
            "type": "response.output_item.added",
            "response_id": self.id,
            "output_index": len(self.output) - 1,
            "item": item.wire(),
        }
        if self.request.in_conversation:
            yield events.item("added", item, self._stage.conversation.add(item))

    def _close_all(self, status: str) -> Iterator[Event]:
        while self._open:
            entry = self._open[0]
            if entry.item.status == "in_progress":
                entry.item.status = status
            if entry.item.type == "message":
                yield from self._close_message(entry)
            del self._open[0]
            yield from self._close_item(entry)

    def _close_item(self, entry: _Open) -> Iterator[Event]:
        stage = self._stage
        if self.request.in_conversation:
            # The service often leaves the previous item out here; nobody may rely on it.
            previous = stage.conversation.previous(entry.item.id) if stage.chance.random() < 0.5 else None
            yield events.item("done", entry.item, previous)
        yield {
            "type": "response.output_item.done",
            "response_id": self.id,
            "output_index": entry.index,
            "item": entry.item.wire(),
        }

    # Messages.

    def _say(self, speech: Speech, plan: Plan) -> Iterator[float | Event]:
        stage, form = self._stage, self.request.format
        spoken = self.request.modalities == ["audio"]
        yield from self._begin_message(speech.item_id)
        item = self._open[-1].item
        audio, transcript = self._within_tokens(
            speech.audio(item.number, form) if spoken else b"", speech.transcript, form
        )
        speed = stage.speed if plan.speed is None else plan.speed
        self._burst = burst(
            audio,
            transcript,
            form,
            stage.chance,
            speed=speed,
            chunk_ms=speech.chunk_ms,
            gaps=speech.gaps,
        )
        for piece in self._burst:
            if isinstance(piece, Wait):
                yield piece.seconds
            else:
                yield from self._said(piece)

    def _begin_message(self, item_id: str | None) -> Iterator[Event]:
        stage = self._stage
        item = Item(item_id or stage.ids.make("item"), "message", "in_progress", "assistant")
        item.bytes_per_ms = self.request.format.bytes_per_ms
        if self.request.modalities == ["audio"]:
            stage.audio_items += 1
            item.number = stage.audio_items
            if stage.keep_spoken:
                stage.spoken.append(item)
        yield from self._begin(item)
        yield self._part_event("response.content_part.added", self._open[-1], part=self._part(""))

    def _within_tokens(self, audio: bytes, transcript: str, form: AudioFormat) -> tuple[bytes, str]:
        """Cut to `max_output_tokens`: 50 ms of audio or 4 characters of text are one token."""
        left = self._tokens_left
        if not isinstance(left, int):
            return audio, transcript
        needed = len(audio) // form.bytes_per_ms // 50 if audio else len(transcript) // 4
        self._tokens_left = max(0, left - needed)
        if needed <= left:
            return audio, transcript
        return audio[: left * 50 * form.bytes_per_ms], transcript[: len(transcript) * left // needed]

    def _said(self, piece: Piece) -> Iterator[Event]:
        """The event of a piece of the newest message."""
        entry = self._open[-1]
        if isinstance(piece, Text):
            entry.said += piece.text
            spoken = self.request.modalities == ["audio"]
            kind = "response.output_audio_transcript.delta" if spoken else "response.output_text.delta"
            yield self._part_event(kind, entry, delta=piece.text)
        elif isinstance(piece, Sound):
            self._stage.configuration.voice_locked = True
            entry.item.sent_bytes += len(piece.data)
            self.audio_ms += len(piece.data) // entry.item.bytes_per_ms
            delta = base64.b64encode(piece.data).decode()
            yield self._part_event("response.output_audio.delta", entry, delta=delta)

    def _close_message(self, entry: _Open) -> Iterator[Event]:
        item, said = entry.item, entry.said
        item.words = said
        if self.request.modalities == ["audio"]:
            yield self._part_event("response.output_audio.done", entry)
            yield self._part_event("response.output_audio_transcript.done", entry, transcript=said)
            part = {"type": "output_audio"}
            item.content = [part if item.truncated_ms is not None else part | {"transcript": said}]
        else:
            yield self._part_event("response.output_text.done", entry, text=said)
            item.content = [{"type": "output_text", "text": said}]
        yield self._part_event("response.content_part.done", entry, part=self._part(said))

    def extra_delta(self, item: Item, index: int, data: bytes) -> Event:
        """One more audio delta of an item that is on the wire already, also after its end."""
        item.sent_bytes += len(data)
        return self._part_event(
            "response.output_audio.delta", _Open(item, index), delta=base64.b64encode(data).decode()
        )

    def _part(self, said: str) -> Event:
        if self.request.modalities == ["audio"]:
            return {"type": "audio", "transcript": said}
        return {"type": "text", "text": said}

    def _part_event(self, kind: str, entry: _Open, **fields: Any) -> Event:
        return {
            "type": kind,
            "response_id": self.id,
            "item_id": entry.item.id,
            "output_index": entry.index,
            "content_index": 0,
            **fields,
        }

    # Function calls.

    def _call(self, call: Call) -> Iterator[Event]:
        ids = self._stage.ids
        call_id = call.call_id or "call_" + ids.letters(16)
        fields = {"name": call.name, "call_id": call_id, "arguments": ""}
        item = Item(call.item_id or ids.make("item"), "function_call", "in_progress", fields=fields)
        yield from self._begin(item)
        index = self._open[-1].index
        self._burst = iter(())
        place = {"response_id": self.id, "item_id": item.id, "output_index": index, "call_id": call_id}
        for start in range(0, len(call.arguments), 6):
            delta = call.arguments[start : start + 6]
            yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
        item.fields["arguments"] = call.arguments
        item.status = "completed"
        finished = {"name": call.name, "arguments": call.arguments}
        yield {"type": "response.function_call_arguments.done", **place, **finished}
