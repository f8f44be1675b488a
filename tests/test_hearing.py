"""Who hears whom: both, each in his own law, or nobody while the caller waits for somebody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bridge.audio.g711 import Law, translation
from bridge.hearing import Hearing
from bridge.media.codecs import CODECS
from bridge.realtime.events import AudioDelta
from bridge.realtime.protocol import Abilities
from tests.transfer.wooden import Party

CODES = bytes(range(256))


class Call:
    def __init__(self, caller: Law, session: Law, *, bursts: bool = True) -> None:
        self.leg = Party(caller)
        self.heard: list[bytes] = []
        self.cuts: list[tuple[list[Any], bool]] = []
        self.counts = SimpleNamespace(audio_overflow=0)
        self.floor = SimpleNamespace(own_turns=None)
        self.comfort = SimpleNamespace(stop=lambda: None)
        self.session = SimpleNamespace(
            append=self.heard.append, interrupted=self._interrupted, abilities=Abilities(bursts=bursts)
        )
        self.hearing = Hearing(self, session)  # type: ignore[arg-type]

    def _interrupted(self, heard: Any, *, by_server: bool) -> None:
        self.cuts.append((list(heard), by_server))


def test_one_law_is_passed_on_as_it_is() -> None:
    call = Call(Law.PCMU, Law.PCMU)
    call.hearing.open()
    assert call.leg.on_audio == call.session.append
    call.hearing.play(AudioDelta("i", CODES))
    assert call.leg.played == [("i", CODES)]


def test_two_laws_are_translated_until_the_caller_changes_his() -> None:
    call = Call(Law.PCMA, Law.PCMU)
    call.hearing.open()
    call.leg.on_audio(CODES)
    call.hearing.play(AudioDelta("i", CODES))
    call.leg.codec = CODECS["PCMU"]
    call.hearing.convert()
    call.leg.on_audio(CODES)
    assert call.heard == [CODES.translate(translation(Law.PCMA, Law.PCMU)), CODES]
    assert call.leg.played == [("i", CODES.translate(translation(Law.PCMU, Law.PCMA)))]


def test_a_caller_who_waits_is_not_heard_and_not_spoken_to() -> None:
    call = Call(Law.PCMU, Law.PCMU)
    call.hearing.open()
    call.hearing.close()
    assert call.cuts == [([], False)] and call.leg.flushes == 1
    call.leg.codec = CODECS["PCMA"]
    call.hearing.convert()  # a re-INVITE while it rings
    call.leg.on_audio(CODES)
    call.hearing.end_all()
    assert tuple(call.hearing.flush()) == () and call.leg.flushes == 1, "the ringing tone is none of the session's"
    assert call.heard == [] and call.leg.ended == []
    call.hearing.play(AudioDelta("late", CODES))
    assert call.leg.played == []
    (item,), by_server = call.cuts[-1]
    assert (item.item_id, item.sent_ms, by_server) == ("late", 0, False), "the model knows that nobody heard it"
    call.hearing.open()
    call.leg.on_audio(CODES)
    assert call.heard == [CODES.translate(translation(Law.PCMA, Law.PCMU))]


def test_what_the_queue_refuses_is_counted() -> None:
    call = Call(Law.PCMU, Law.PCMU)
    call.leg.play = lambda item_id, audio: False  # type: ignore[method-assign]
    call.hearing.play(AudioDelta("i", CODES))
    assert call.counts.audio_overflow == 1


def test_of_a_service_that_never_pauses_silence_is_left_out_while_the_agent_is_behind() -> None:
    call = Call(Law.PCMU, Law.PCMU, bursts=False)
    silence, sound = b"\xff" * 800, b"\x10" * 800
    for queued_ms, audio in ((300, silence), (301, silence), (301, sound), (1501, sound)):
        call.leg.queued_ms = queued_ms
        call.hearing.play(AudioDelta("i", audio))
    assert call.leg.played == [("i", silence), ("i", sound)]
    other = Call(Law.PCMU, Law.PCMU)
    other.leg.queued_ms = 60_000
    other.hearing.play(AudioDelta("i", silence))
    assert other.leg.played == [("i", silence)], "one that bursts is minutes ahead"
