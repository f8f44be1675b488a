"""What an answer of the pipeline consists of, in the order in which it becomes known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Text; in a spoken answer that of one sentence, just before its sound. All of them join to the transcript."""

    text: str


@dataclass(frozen=True, slots=True)
class Sounded:
    """Sound of the sentence that was said last, wire bytes."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Spoken:
    """The sound of the sentence that was said last is complete."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a function; `arguments` is JSON text. `call_id` None: the model gave none."""

    name: str
    arguments: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing follows. `reason` is max_output_tokens or content_filter, `code` and `message` tell a fault."""

    reason: str | None = None
    code: str | None = None
    message: str = ""


AnswerPiece = Said | Sounded | Spoken | Called | Ended
