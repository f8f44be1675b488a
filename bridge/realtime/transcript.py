"""The ordered conversation of one call, across all its sessions: for the record, and for a session that goes on.

Sans-I/O: it is told every event, how much audio came, and what the playout's ledger says was heard. Whatever a server
sends, memory is bounded: the oldest entries make room, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bridge.realtime import events as ev
from bridge.realtime.history import Remembered
from bridge.realtime.transcript_history import newest, remembered
from bridge.realtime.transcript_order import in_order
from bridge.realtime.transcript_slot import TEXT_LIMIT, Entry, Slot, arguments_text, json_text, marked

__all__ = ["Entry", "Transcript"]

ENTRIES = 2000
CHARACTERS = 400_000
AUDIO_BYTES = 960_000
"""Of callers' turns without words: two minutes of G.711, 20 s of PCM at 24 kHz."""
ID_LIMIT = 256
"""Characters of an id; items with a longer one are left out."""
USUAL_RATE = 0.015
"""Characters per ms of speech, while none of the agent's own is known."""
RATE_AFTER_MS = 2000
"""Speech from which the agent's own rate is taken."""


class Transcript:
    """What was said and done, in the order of the conversation. `clock` gives seconds since the call began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[str, Slot] = {}  # of the present session
        self._past: list[Slot] = []  # of the sessions before it, in order
        self._former: dict[str, Slot] = {}  # the same by their ids
        self._calls: dict[str, Slot] = {}  # tool calls of all sessions by call_id
        self._unfinished: dict[str, Slot] = {}  # those without a result
        self._arrivals = 0
        self._left_out = 0  # entries that made room
        self._size = 0  # characters of all slots
        self._audio_bytes = 0
        self._started = ("", 0)  # the item that the caller began to speak last, and when (ms)
        self._measured = 0, 0.0  # characters and ms of the agent's finished items
        self._open: dict[str, Slot] = {}  # items of the agent whose audio has not ended
        self._places: dict[str, Slot] = {}  # items of tools of which no call is known

    # What happens

    def observe(self, event: ev.Event) -> None:
        """An event of the present session; most have no effect."""
        match event:
            case ev.AgentSaying():
                self._on_saying(event)
            case ev.AgentSaid():
                self._on_agent_said(event)
            case ev.AudioEnd(item_id):
                self._end(item_id)
            case ev.CallerSaid():
                self._on_caller_said(event)
            case ev.SpeechStarted(_, item_id):
                self._started = (item_id[:ID_LIMIT], self._now())
            case ev.Committed(item_id) | ev.NotTranscribed(item_id):
                if (slot := self._slot(item_id, "caller")) is not None:
                    slot.spoken = True
            case ev.Placed():
                self._on_placed(event)
            case ev.ResponseEnded(_, "completed", _):
                for item_id in tuple(self._open):
                    self._end(item_id)
            case ev.Truncated():
                self.cut((event,))
            case ev.ToolCall():
                self._on_tool_call(event)
            case ev.ToolCancelled(call_id):
                if (called := self._unfinished.pop(call_id, None)) is not None:
                    called.cancelled = True

    def audio(self, item_id: str, ms: float) -> None:
        """So many milliseconds of an agent's item were received."""
        if (slot := self._slot(item_id, "agent")) is not None:
            slot.received += ms

    def asked(self, words: str) -> None:
        """Words that were put in the caller's place (pressed digits)."""
        slot = self._slot(f"note {self._arrivals}", "note")
        if slot is not None:
            self._put(slot, words)

    def tool_result(self, call_id: str, output: Mapping[str, Any]) -> None:
        """What a tool call gave; the first result counts."""
        slot = self._unfinished.pop(call_id, None)
        if slot is not None:
            slot.output = json_text(dict(output))
            self._size += len(slot.output)
            self._make_room()

    def cut(self, cuts: Iterable[ev.HeardItem | ev.Truncated]) -> None:
        """Of these items only so much was heard; -1 ms: the item was deleted, and a caller's was noise."""
        for item in cuts:
            heard_ms = item.heard_ms if isinstance(item, ev.Truncated) else item.sent_ms
            slot = self._find(item.item_id)
            if heard_ms < 0:  # perhaps before it is in the conversation
                self._delete(slot or self._slot(item.item_id, "caller"))
            elif slot is not None:
                slot.heard = heard_ms if slot.heard is None else min(slot.heard, heard_ms)

    def turn_audio(self, item_id: str, audio: bytes) -> None:
        """The caller's audio of a turn whose words are not known yet; the oldest makes room when there is too much."""
        slot = self._slot(item_id, "caller")
        if slot is None or slot.final or slot.deleted or len(audio) > AUDIO_BYTES:
            return
        self._drop_audio(slot)
        slot.audio, slot.spoken = bytes(audio), True
        self._audio_bytes += len(audio)
        for older in (*self._past, *self._slots.values()):
            if self._audio_bytes <= AUDIO_BYTES:
                break
            if older is not slot:
                self._drop_audio(older)

    def new_session(self) -> None:
        """Another session takes over: what comes from here stands behind everything before."""
        self._past += in_order(self._slots.values())
        self._former |= self._slots
        self._slots, self._open, self._places = {}, {}, {}
        self._started = ("", 0)

    # What is known

    def is_former(self, item_id: str) -> bool:
        """Whether the item belongs to a session before the present one."""
        return item_id not in self._slots and item_id in self._former

    def heard_text(self, item_id: str) -> str:
        """The estimate of what was heard of an agent's item, marked where it was cut; empty: nothing."""
        slot = self._find(item_id)
        if slot is None or slot.role != "agent":
            return ""
        return marked(slot.heard_of(self._rate), cut=slot.is_cut)

    def unfinished_call(self, call_id: str) -> ev.ToolCall | None:
        """A tool call of a former session that has no result yet."""
        slot = self._unfinished.get(call_id)
        return None if slot is None or self._slots.get(slot.item_id) is slot else slot.call

    @property
    def has_unfinished_calls(self) -> bool:
        """Whether a tool call of any session waits for its result."""
        return bool(self._unfinished)

    def entries(self) -> tuple[Entry, ...]:
        """The conversation in order."""
        told = tuple(slot.entry(self._rate) for slot in self._in_order() if not slot.is_empty)
        if self._left_out:
            words = f"{self._left_out} earlier entries were not kept"
            return (Entry("", "note", words, 0, heard=words), *told)
        return told

    def history(self) -> tuple[Remembered, ...]:
        """What a new session must be told: complete and in order, or the newest of it behind a note that says so."""
        told = (remembered(slot, self._rate) for slot in self._in_order() if not slot.is_empty)
        return newest([turn for turn in told if turn is not None], self._left_out)

    # Events

    def _on_saying(self, saying: ev.AgentSaying) -> None:
        slot = self._slot(saying.item_id, "agent")
        if slot is not None and not slot.final:
            self._put(slot, slot.text + saying.words)

    def _on_agent_said(self, said: ev.AgentSaid) -> None:
        slot = self._slot(said.item_id, "agent")
        if slot is None:
            return
        stem = said.text.rstrip(" .…-")
        shortened = bool(stem) and len(said.text) < len(slot.text) and slot.text.startswith(stem)
        if slot.final and slot.heard is not None and shortened:
            slot.told = len(stem)  # a server that cuts its text by itself: what it leaves was heard
            return
        slot.final = True
        if said.text:  # some servers blank the text of what was cut (quirk A9)
            self._put(slot, said.text)
        self._measure(slot)

    def _end(self, item_id: str) -> None:
        """All audio of an item of the agent has come; what was cut before never ends."""
        slot = self._open.pop(item_id, None)
        if slot is not None and slot.heard is None:
            slot.ended = True
            self._measure(slot)

    def _measure(self, slot: Slot) -> None:
        """Learn how many characters the agent speaks in a millisecond."""
        if slot.ended and slot.final and not slot.measured and slot.received_ms:
            slot.measured = True
            characters, ms = self._measured
            self._measured = characters + len(slot.text), ms + slot.received

    def _on_caller_said(self, said: ev.CallerSaid) -> None:
        slot = self._slot(said.item_id, "caller")
        if slot is not None:
            slot.final = True
            self._put(slot, said.text.strip())
            self._drop_audio(slot)

    def _on_placed(self, placed: ev.Placed) -> None:
        slot = self._slots.get(placed.item_id) or self._slot(placed.item_id, placed.role)
        if slot is None:
            return
        if placed.previous_item_id and slot.previous is None:
            slot.previous = placed.previous_item_id[:ID_LIMIT]
        elif not slot.placed:
            slot.arrival = self._arrive()  # behind all that is there, also what came between its words and its place
        slot.placed = True

    def _on_tool_call(self, call: ev.ToolCall) -> None:
        known = self._calls.get(call.call_id)
        if len(call.call_id) > ID_LIMIT or (known is not None and self._slots.get(known.item_id) is known):
            return
        place = self._places.popitem()[1] if self._places else None
        slot = place or self._slot(f"call {call.call_id}", "tool")
        if slot is not None:
            self._places.pop(slot.item_id, None)
            slot.call = ev.ToolCall(call.call_id, call.name[:ID_LIMIT], arguments_text(call.arguments))
            self._calls[call.call_id] = self._unfinished[call.call_id] = slot
            self._size += slot.size
            self._make_room()

    # Slots

    @property
    def _rate(self) -> float:
        """Characters per ms of the agent's speech."""
        characters, ms = self._measured
        return characters / ms if ms >= RATE_AFTER_MS else USUAL_RATE

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _arrive(self) -> int:
        self._arrivals += 1
        return self._arrivals

    def _find(self, item_id: str) -> Slot | None:
        return self._slots.get(item_id) or self._former.get(item_id)

    def _in_order(self) -> list[Slot]:
        return self._past + in_order(self._slots.values())

    def _slot(self, item_id: str, role: ev.Role) -> Slot | None:
        """The item's slot, made when it is first heard of; None for an item that is none, or plays another part."""
        slot = self._slots.get(item_id)
        if slot is None:
            return self._new_slot(item_id, role) if 0 < len(item_id) <= ID_LIMIT else None
        if slot.role != role and not slot.size and slot.call is None:
            self._give_role(slot, role)  # it was told of before it was known what it is
        return slot if slot.role == role else None

    def _new_slot(self, item_id: str, role: ev.Role) -> Slot:
        began, at_ms = self._started
        # Turns that the bridge finds by itself have no name before they are complete.
        known = began == item_id or (not began and at_ms and role == "caller")
        slot = Slot(item_id, role, self._arrive(), at_ms if known else self._now())
        if known:
            self._started = ("", 0)
        self._slots[item_id] = slot
        self._give_role(slot, role)
        self._make_room()
        return slot

    def _give_role(self, slot: Slot, role: ev.Role) -> None:
        slot.role = role
        if role == "agent":
            self._open[slot.item_id] = slot
        elif role == "tool":
            self._places[slot.item_id] = slot

    def _put(self, slot: Slot, text: str) -> None:
        self._size -= len(slot.text)
        slot.text = text[:TEXT_LIMIT]
        self._size += len(slot.text)
        self._make_room()

    def _delete(self, slot: Slot | None) -> None:
        if slot is not None:
            slot.deleted = True
            self._drop_audio(slot)

    def _drop_audio(self, slot: Slot) -> None:
        self._audio_bytes -= len(slot.audio)
        slot.audio = b""

    def _make_room(self) -> None:
        """Beyond a limit the oldest tenth goes, or as much as the characters need."""
        count = len(self._past) + len(self._slots)
        if count <= ENTRIES and self._size <= CHARACTERS:
            return
        order = self._in_order()
        gone = 0
        while gone < count - 1 and (count - gone > ENTRIES * 9 // 10 or self._size > CHARACTERS * 9 // 10):
            self._forget(order[gone])
            gone += 1
        self._past = self._past[gone:]

    def _forget(self, slot: Slot) -> None:
        self._size -= slot.size
        self._left_out += not slot.is_empty
        self._drop_audio(slot)
        for known in (self._slots, self._former, self._open, self._places):
            if known.get(slot.item_id) is slot:
                del known[slot.item_id]
        for calls in (self._calls, self._unfinished):
            if slot.call is not None and calls.get(slot.call.call_id) is slot:
                del calls[slot.call.call_id]
