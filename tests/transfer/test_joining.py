"""Two parties that hear each other."""

from __future__ import annotations

from bridge.audio.g711 import Law, translation
from bridge.media.codecs import CODECS
from bridge.transfer.joining import BACKLOG_MS, Joined
from tests.transfer.wooden import Party

CODES = bytes(range(256))


def test_what_one_says_the_other_hears_and_the_keys_too() -> None:
    one, other = Party(), Party()
    Joined(one, other)
    assert (one.flushes, other.flushes) == (1, 1), "what waited is of yesterday"
    one.on_audio(CODES)
    other.on_digit("5")
    other.on_audio(b"\x01")
    one.on_digit("#")
    assert [audio for _, audio in other.played] == [CODES] and [audio for _, audio in one.played] == [b"\x01"]
    assert (one.keys, other.keys) == ("5", "#")


def test_a_law_that_changes_is_translated_from_there() -> None:
    one, other = Party(Law.PCMU), Party(Law.PCMA)
    Joined(one, other)
    one.on_audio(CODES)
    one.codec = CODECS["PCMA"]
    one.on_format()
    one.on_audio(CODES)
    assert [audio for _, audio in other.played] == [CODES.translate(translation(Law.PCMU, Law.PCMA)), CODES]
    assert other.played[0][0] != other.played[1][0] and "all" in other.ended, (
        "the first stream ends, or blocks the second"
    )


def test_nobody_is_asked_when_a_queue_has_run_dry() -> None:
    one, other = Party(), Party()
    one.on_drained = other.on_drained = None  # type: ignore[assignment]
    Joined(one, other)
    one.on_drained()
    other.on_drained()


def test_what_comes_too_fast_is_dropped_and_counted() -> None:
    one, other = Party(), Party()
    joined = Joined(one, other)
    other.queued_ms = BACKLOG_MS
    one.on_audio(CODES)
    other.queued_ms = BACKLOG_MS + 1
    one.on_audio(CODES)
    other.on_audio(CODES)
    assert len(other.played) == 1 and len(one.played) == 1
    assert joined.dropped_frames == 1
