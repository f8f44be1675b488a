"""What a new session is told of a transcript."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.realtime.history import AgentWords, CallerWords, Note, Remembered, ToolUse
from bridge.realtime.transcript_slot import Slot, marked

TURNS = 200
CHARACTERS = 40_000
UNKNOWN_WORDS = "The caller said something here; his words are not known."


def remembered(slot: Slot, rate: float) -> Remembered | None:
    """One item that is not empty; None where a session need not know. `rate` in characters per ms of speech."""
    match slot.role:
        case "caller":
            known = slot.text or slot.audio
            return CallerWords(slot.item_id, slot.text, slot.audio) if known else Note(UNKNOWN_WORDS)
        case "agent":
            heard = marked(slot.heard_of(rate), cut=slot.is_cut)
            return AgentWords(slot.item_id, heard, slot.is_cut) if heard else None
        case "tool":
            call = slot.call
            if call is None or slot.output is None:
                return None  # a call without a result is refused, or waited for
            return ToolUse(call.call_id, call.name, call.arguments, slot.output)
        case "note":
            return Note(slot.text)


def newest(turns: Sequence[Remembered], left_out: int) -> tuple[Remembered, ...]:
    """As many as a session can bear, behind a note of how many are missing; `left_out` are missing already."""
    kept, size = 0, 0
    for turn in reversed(turns[-TURNS:]):
        size += _characters(turn)
        if size > CHARACTERS and kept:
            break
        kept += 1
    told = tuple(turns[len(turns) - kept :])
    left_out += len(turns) - kept
    return (Note(f"{left_out} earlier turns of this conversation are left out."), *told) if left_out else told


def _characters(turn: Remembered) -> int:
    return len(turn.arguments) + len(turn.output) if isinstance(turn, ToolUse) else len(turn.text)
