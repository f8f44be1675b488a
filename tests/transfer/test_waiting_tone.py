"""What a caller hears while the target rings."""

from __future__ import annotations

import asyncio

import pytest

from bridge.audio.g711 import Law, translation
from bridge.audio.tone import ringing
from bridge.transfer import waiting_tone
from bridge.transfer.waiting_tone import BACKLOG_MS, WaitingTone
from tests.transfer.wooden import Party, Second

CODES = bytes(range(256))


async def test_it_rings_when_the_target_rings_in_the_callers_law() -> None:
    caller, target = Party(Law.PCMA), Second()
    tone = WaitingTone(caller, target)  # type: ignore[arg-type]
    assert caller.played == []
    target.on_ringing(180)
    target.on_ringing(180)
    assert [audio for _, audio in caller.played] == [ringing(Law.PCMA)]
    assert caller.ended == [caller.played[0][0]]
    tone.stop()
    assert caller.flushes == 1
    target.on_ringing(180)
    target.on_audio(CODES)
    assert len(caller.played) == 1


async def test_it_rings_again_and_again_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_tone, "PERIOD_S", 0)
    caller, target = Party(), Second()
    tone = WaitingTone(caller, target)  # type: ignore[arg-type]
    target.on_ringing(180)
    while len(caller.played) < 3:
        await asyncio.sleep(0)
    assert len({name for name, _ in caller.played}) == 3
    caller.drained = False  # he holds us
    for _ in range(5):
        await asyncio.sleep(0.001)
    rung = len(caller.played)
    tone.stop()
    caller.drained = True
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert rung <= 4 and len(caller.played) == rung


async def test_early_media_takes_its_place_and_is_translated() -> None:
    caller, target = Party(Law.PCMU), Second(Law.PCMA)
    tone = WaitingTone(caller, target)  # type: ignore[arg-type]
    target.on_ringing(180)
    target.on_audio(CODES)
    assert caller.flushes == 1
    target.stream = object()
    target.on_ringing(180)
    caller.queued_ms = BACKLOG_MS + 1
    target.on_audio(CODES)
    assert [audio for _, audio in caller.played[1:]] == [CODES.translate(translation(Law.PCMA, Law.PCMU))]
    tone.stop()
