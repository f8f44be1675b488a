"""The seam: what every provider's protocol object can do, so that `call` knows one kind of session.

One file per provider, sans-I/O: frames of the socket in, events and frames out, no clock. What a provider cannot do is
in its `Abilities`; a method it has no use for does nothing. Order of a session's life: `begin` when the socket is open,
`receive` for each frame (the first event of a good session is `Ready`, which comes when what was said before is put
back), everything else after that, `finish` before the socket is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.realtime import events as ev
from bridge.realtime.history import Remembered
from bridge.realtime.options import Json

GO_ON = (
    "The line broke while you were speaking. The caller has heard your last message as far as it stands in the "
    "conversation. Go on from there: do not greet again, and do not repeat what was heard."
)
"""For `Provider.go_on`, where what was said stands in the conversation as messages."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a provider's sessions can and cannot do."""

    bursts: bool = True
    """Audio comes faster than real time. False: at the pace of speech, so that little of it may wait here."""
    hears_turns: bool = True
    """It says when the caller starts and stops to speak, and cancels and answers by itself only as configured."""
    decides_turns: bool = False
    """It alone decides who speaks: nothing can be on trial, no answer can be asked for."""
    told_what_was_heard: bool = True
    """It can be told how much of an item was heard."""
    needs_steady_audio: bool = False
    """Its clock is the caller's audio: silence must be sent where none comes."""
    says_goodbye: bool = False
    """After `finish` it has something to say, the last usage for one, and closes the socket itself."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to be looked at again after so many seconds; it has no effect when it was settled meanwhile."""

    name: str
    about: str
    after_s: float


class Provider(Protocol):
    """One session of one provider, without I/O."""

    abilities: Abilities
    malformed: int
    """Frames and events that made no sense; each is dropped."""
    unknown: int
    """Events of a type this version has no use for."""
    events_in: int
    resumption: str
    """What the next session needs to go on where this one stops; empty: nothing, it is told what was said."""

    @property
    def late_deltas(self) -> int:
        """Audio of interrupted items that came after the interruption."""

    @property
    def response_active(self) -> bool:
        """Whether an answer is being made, or has been asked for."""

    @property
    def caller_speaking(self) -> bool:
        """Whether the service hears the caller speak."""

    def begin(self) -> None:
        """The socket is open."""

    def receive(self, frame: bytes) -> Sequence[ev.Event]:
        """One frame of the server, text or binary. Never raises for what a server sends."""

    def alarms(self) -> Sequence[Alarm]:
        """What is to be looked at again, each once: its owner calls `rang` when the time is over."""

    def rang(self, alarm: Alarm) -> Sequence[ev.Event]:
        """The time of an alarm is over; there may be something to send afterwards."""

    def data_to_send(self) -> Sequence[bytes]:
        """The messages that wait to be sent, each once, as text frames."""

    def audio_message(self, audio: bytes) -> bytes:
        """The caller's audio as one message, in the format of `Ready.audio_in`."""

    def greet(self) -> None:
        """Ask for the greeting, if one is configured."""

    def respond(self) -> None:
        """Ask for an answer to what the caller has said, where the server does not answer by itself."""

    def go_on(self) -> None:
        """Ask for the rest of an answer that the loss of the session before has cut off."""

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Words in the caller's place (pressed digits), and ask for an answer."""

    def instruct(self, words: str) -> None:
        """Ask for an answer for which these words are instructions besides the session's own, said by nobody."""

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        """Put what was said or done elsewhere at the end of the conversation; `respond` asks for an answer to it."""

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call; `respond` lets the model speak about it once it may."""

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed: say what was heard, and stop the answer if the server does not itself.

        `by_server` is False when the bridge interrupts, of which the server knows nothing. Returns one entry per item
        that was cut, also where the provider is not told.
        """

    def forget(self, item_id: str) -> None:
        """What the caller seemed to say was noise: take it out of the conversation."""

    def correct(self, item_id: str, heard: str) -> None:
        """Of a remembered item of the agent, only this much was heard after all."""

    def hears(self, *, speaking: bool) -> None:
        """The caller begins or stops to speak, where the bridge finds that out by itself."""

    def commit(self) -> None:
        """The caller's turn is over, where the bridge decides that."""

    def is_final_close(self, code: int, reason: str) -> bool:
        """Whether, after the server has closed like that, another session would end the same way or is not wanted."""

    def finish(self) -> None:
        """The last messages before the socket is closed."""
