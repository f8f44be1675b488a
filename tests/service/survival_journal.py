"""What the journal of a session tells: what was known up to some event of it, and how it began."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2s

from tests.service.killed_server import ITEMS, Event, Lived
from tests.service.numbered_caller import MS

OLDER = "Earlier in this call:\n"
"""So begins the text that stands for all but the newest turns."""
GO_ON = "The line broke while you were speaking."
"""So begins what asks for the rest of an answer, behind the session's own instructions."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An item that was said or done, as one session's journal tells it."""

    item_id: str
    who: str
    """caller, agent or tool."""
    text: str = ""
    """All words; of a tool its arguments."""
    number: int = 0
    """Of the agent's audio."""
    received_ms: int = 0
    ended: bool = False
    known: bool = False
    """The caller's words were told."""
    audio: bytes = b""
    """The caller's turn as the server heard it."""
    call_id: str = ""
    name: str = ""


@dataclass
class Known:
    """A session up to some point of its journal."""

    turns: list[Turn] = field(default_factory=list)
    done_ms: int = 0
    """Up to here the server had made items of the caller's audio."""
    turn_ms: int | None = None
    """Where the turn began that it had not finished."""
    active: str = ""
    """The response in the making."""
    begun: bool = False
    """Audio of it has come."""
    waits: bool = False
    """A turn of the caller has had no answer."""
    begun_at: int = 0
    """When a response was last begun, in ns."""
    calls: list[str] = field(default_factory=list)


def known(lived: Lived, upto: int) -> Known:
    """What the first `upto` events of a server tell."""
    now = Known()
    turns: dict[str, Turn] = {}
    spoken = 0
    start = end = 0
    per_item: dict[str, int] = {}
    audio = lived.audio
    for t_ns, event in lived.sent[:upto]:
        kind = event["type"]
        if kind == "input_audio_buffer.speech_started":
            start = now.turn_ms = max(end, event["audio_start_ms"])  # what an item has is in no other
            now.begun = False
        elif kind == "input_audio_buffer.speech_stopped":
            end = event["audio_end_ms"]
        elif kind == "input_audio_buffer.committed":
            turns[event["item_id"]] = Turn(event["item_id"], "caller", audio=audio[start * MS : end * MS])
            now.done_ms, now.turn_ms, now.waits = end, None, True
        elif kind == "conversation.item.input_audio_transcription.completed":
            item = event["item_id"]
            turns[item] = replace(turns[item], text=event["transcript"], known=True)
        elif kind == "response.created":
            now.active, now.begun, now.begun_at = event["response"]["id"], False, t_ns
        elif kind == "response.done":
            now.active, now.begun, now.waits = "", False, False
        elif kind == "response.output_item.added":
            item, its = event["item"]["id"], event["item"]
            if its["type"] == "message":
                spoken += 1
                turns[item] = Turn(item, "agent", number=lived.server * ITEMS + spoken)
        elif kind == "response.output_audio_transcript.delta":
            item = event["item_id"]
            turns[item] = replace(turns[item], text=turns[item].text + event["delta"])
        elif kind == "response.output_audio.delta":
            item = event["item_id"]
            per_item[item] = per_item.get(item, 0) + len(b64decode(event["delta"]))
            turns[item] = replace(turns[item], received_ms=per_item[item] // MS)
            now.begun, now.waits = True, False
        elif kind == "response.output_item.done" and event["item"]["type"] == "message":
            item = event["item"]["id"]
            turns[item] = replace(turns[item], ended=event["item"]["status"] == "completed")
        elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
            its = event["item"]
            if its["status"] == "completed":
                turns[its["id"]] = Turn(its["id"], "tool", its["arguments"], call_id=its["call_id"], name=its["name"])
                now.calls.append(its["call_id"])
    now.turns = list(turns.values())
    return now


def back(item_id: str) -> str:
    """The id of what is put back."""
    return "back_" + blake2s(item_id.encode(), digest_size=12).hexdigest()


# What the next session was told


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that was put back: by id where it has one, else by its line in the text of what is older."""

    line: str
    item_id: str = ""
    audio: bytes = field(default=b"", repr=False)


@dataclass
class Beginning:
    """How a session began: before the caller's first audio, and with it."""

    told: list[Told]
    replay: bytes
    """The audio of the time between, or its beginning."""
    asked: list[str]
    """What was asked for behind it: greeting, answer or rest."""


def _line(item: Event) -> Told:
    item_id = item.get("id", "")
    match item["type"], item.get("role"):
        case "message", "assistant":
            return Told(f"You: {item['content'][0]['text']}", item_id)
        case "message", "user":
            part = item["content"][0]
            audio = b64decode(part.get("audio", ""))
            return Told(f"Caller: {part.get('text') or '(not understood)'}", item_id, audio)
        case "message", "system":
            return Told(item["content"][0]["text"], item_id)
    raise AssertionError(f"nobody puts this back: {item}")


def text_of(item: Event) -> str:
    """The words of an item; empty without."""
    return "".join(part.get("text", "") for part in item.get("content", ()))


def told(events: list[Event]) -> Iterator[Told]:
    """What some `conversation.item.create` put back, a tool's call and its result as one."""
    called: dict[str, Event] = {}
    for event in events:
        item = event["item"]
        if item["type"] == "function_call":
            assert item["call_id"] not in called
            called[item["call_id"]] = item
        elif item["type"] == "function_call_output":
            call = called.pop(item["call_id"], None)
            if call is None:
                continue  # an answer to a call of this session
            assert item["id"] == back(item["call_id"] + "=")
            yield Told(f"You called {call['name']}({call['arguments']}): {item['output']}", call["id"])
        elif item["type"] == "message" and item["role"] == "system" and OLDER in text_of(item):
            yield from (Told(line) for line in text_of(item).removeprefix(OLDER).split("\n"))
        else:
            yield _line(item)
    assert not called, "a call without its result was put back"


def beginning(lived: Lived) -> Beginning:
    """What a session was told first. The audio of the time between comes a second at a time, and the rest of it."""
    creates: list[Event] = []
    replay, asked = b"", []
    refused = {event["error"].get("event_id") for _, event in lived.sent if event["type"] == "error"}
    pieces_end = False
    for _, event in lived.received:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            if pieces_end:
                break
            audio = b64decode(event["audio"])
            replay += audio
            pieces_end = len(audio) < 1000 * MS
        elif kind == "conversation.item.create":
            if replay:
                break
            creates.append(event)
        elif kind == "response.create" and replay:
            asked.append(event)
    if len(asked) > 1:  # what is refused while another response runs may be asked for again
        asked = [event for event in asked[:-1] if event.get("event_id") not in refused] + asked[-1:]
    return Beginning(list(told(creates)), replay, [wanted(event) for event in asked])


def wanted(event: Event) -> str:
    words = event.get("response", {}).get("instructions", "")
    return "rest" if GO_ON in words else "greeting" if words else "answer"
