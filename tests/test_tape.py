"""The test phone's tape."""

from __future__ import annotations

import wave
from pathlib import Path

from bridge.tape import Tape


def frames(path: Path) -> tuple[int, list[int]]:
    with wave.open(str(path)) as file:
        return file.getnchannels(), list(memoryview(file.readframes(file.getnframes())).cast("h"))


def pcm(*samples: int) -> bytes:
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


def test_mono_holds_what_was_heard_and_nothing_else(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "a.wav")
    tape.said(pcm(9, 9))
    tape.heard(pcm(1, 2))
    tape.heard(pcm(-3))
    tape.close()
    assert frames(tmp_path / "a.wav") == (1, [1, 2, -3])


def test_stereo_lays_the_tracks_side_by_side_and_fills_the_shorter_one(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "a.wav", stereo=True)
    tape.said(pcm(1, 2, 3))
    tape.heard(pcm(-1))
    tape.heard(pcm(-2))
    tape.close()
    assert frames(tmp_path / "a.wav") == (2, [1, -1, 2, -2, 3, 0])
