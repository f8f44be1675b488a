"""The face of a caller's side, as `call` uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from bridge.audio.format import Format
from bridge.legs.rtp import nothing
from bridge.media.codecs import Codec
from bridge.media.playout import Heard
from bridge.media.stats import MediaStats
from bridge.media.stream import Tap
from bridge.records import EndReason
from bridge.sip.replaces import Replaces
from bridge.sip.transfer import Referred, Transfer
from bridge.sip.uri import Uri


class LegRefused(Exception):
    """The caller's offer cannot be served; carries the SIP status to answer with and the reason's word."""

    def __init__(self, status: int, word: str, detail: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{status} {word}: {detail}")
        self.status = status
        self.word = word
        self.headers = headers


class Party(Protocol):
    """One side of a call that talks. The callbacks are set by the call; none comes after `on_ended`."""

    call_id: str
    codec: Codec
    """What is spoken on the wire; with a delayed offer a guess until `on_connected`."""
    on_connected: Callable[[], None]
    """Audio flows from here, and `format` is final: with the answer, or with the ACK of a delayed offer."""
    on_format: Callable[[], None]
    """`format` has changed in the call: from here audio goes both ways in the new one; what was queued is converted."""
    on_audio: Callable[[bytes], None]
    """Audio in the party's format, in order, without holes in time."""
    on_digit: Callable[[str], None]
    on_digits_refused: Callable[[], None]
    """The other side takes none of the keys that were sent; told once."""
    on_drained: Callable[[], None]
    """The last byte that was queued has left."""
    on_talkspurt: Callable[[], None]
    """The first packet of what was queued has left, after silence."""
    on_ended: Callable[[str, str], None]
    """(word, detail): this side is over."""
    on_referred: Callable[[Referred], bool]
    """The party wants us to call somebody else in its place; true when that will be tried."""

    def close(self, reason: EndReason) -> None:
        """End the dialog in whatever way its state asks for, saying why, and free the port. Idempotent."""

    @property
    def format(self) -> Format:
        """Of the audio that comes and goes here."""

    def play(self, item_id: str, audio: bytes) -> bool:
        """Queue an item's audio (the party's format). False: refused, the queue is full or the item was flushed."""

    def end_item(self, item_id: str) -> None:
        """No more audio of the item comes."""

    def end_all(self) -> None:
        """No more audio comes of anything that is queued."""

    def flush(self) -> tuple[Heard, ...]:
        """Fall silent now; the answer says what was sent of each item that was cut."""

    def pause(self) -> None:
        """Fall silent now and keep everything until `unpause` or `flush`."""

    def unpause(self) -> None:
        """Go on with the first byte that was not heard."""

    def record(self, tap: Tap | None) -> None:
        """Let `tap` listen to both sides; None: nobody any more."""

    def hold(self, on_result: Callable[[int], None] = ...) -> None:
        """Let nothing of the party in until `resume`; `on_result` gets the final status, 200 when it is so."""

    def resume(self, on_result: Callable[[int], None] = ...) -> None:
        """Both directions again."""

    def send_digits(self, digits: str) -> None:
        """Press keys. ValueError for what is no key."""

    def refer(
        self, target: Uri, on_progress: Callable[[int, bool], None], replaces: Replaces | None = None
    ) -> Transfer:
        """Ask the other side to call `target`; see `sip.session.Session.refer`."""

    @property
    def base(self) -> Uri:
        """Where a bare number on this side belongs: the PBX at its end."""

    @property
    def drained(self) -> bool:
        """Whether nothing waits to be played."""

    @property
    def queued_ms(self) -> int:
        """Audio that waits to be played, in ms."""

    @property
    def stats(self) -> MediaStats:
        """The counts of its media so far."""

    def summary(self) -> dict[str, int]:
        """The counts that are worth a place in the log line of the call's end."""


class Leg(Party, Protocol):
    """One caller, prepared."""

    def ring(self) -> None:
        """Tell the caller that it rings."""

    @property
    def can_play(self) -> bool:
        """Whether `format` is final, so that audio can be queued for the moment of the answer."""

    def progress(self) -> None:
        """Tell the caller that it rings, with early media where that is possible."""

    def answer(self) -> None:
        """Answer; audio flows from here."""

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Refuse the call."""


def forget(party: Party) -> None:
    """Let nobody be told anything by this party any more, nor be kept by it."""
    party.on_connected = party.on_format = party.on_audio = party.on_drained = party.on_talkspurt = nothing
    party.on_digit = party.on_digits_refused = party.on_ended = nothing
    party.on_referred = lambda referred: False
