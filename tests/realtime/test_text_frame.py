"""Frames of ours are those that the library itself reads."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from bridge.realtime.text_frame import TextFrames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 260, 65_535, 65_536, 70_000])
def test_the_library_reads_what_was_written(size: int) -> None:
    message = (b"0123456789" * 7000)[:size]
    server = Protocol(SERVER, state=State.OPEN)
    server.receive_data(TextFrames().frame(message))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.TEXT, message, True)


def test_masks_differ_beyond_the_end_of_the_pool() -> None:
    frames = TextFrames()
    masks = [frames.frame(b"x" * 126)[4:8] for _ in range(3000)]
    assert all(len(mask) == 4 for mask in masks) and len(set(masks)) > 2900
