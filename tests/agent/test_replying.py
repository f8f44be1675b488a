"""One answer between brain and voice: how far ahead they may be, and what is closed when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from bridge.agent.fault import Fault
from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Reply
from bridge.agent.pieces import AnswerPiece, Called, Ended, Said, Sounded, Spoken
from bridge.agent.replying import reply

ORDER = Reply("resp", None, None, True, AudioFormat.PCMU, "marin", 1.0)
CHUNK = b"\xff" * 160


class Parts:
    """A brain of ten sentences and a voice of a thousand pieces each, both of which know when they are left."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.drawn = 0
        self.open = 0
        self._fail_at = fail_at

    async def think(self, order: Reply) -> AsyncGenerator[Said | Called | Ended]:
        self.open += 1
        try:
            for number in range(10):
                yield Said(f"Sentence number {number + 100}. ")
            yield Called("f", "{}")
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def speak(self, text: str, order: Reply) -> AsyncGenerator[bytes]:
        self.open += 1
        try:
            for number in range(1000):
                if number == self._fail_at:
                    raise Fault("server_error", "No more.")
                self.drawn += 1
                yield CHUNK
        finally:
            self.open -= 1


async def turns(count: int = 3000) -> None:
    """Let everything happen that can happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_voice_is_read_only_so_far_ahead() -> None:
    parts, given = Parts(), list[AnswerPiece]()

    async def put(piece: AnswerPiece) -> None:
        given.append(piece)
        if len(given) == 5:
            await asyncio.Event().wait()

    task = asyncio.create_task(reply(ORDER, parts.think, parts.speak, put))
    await turns()
    assert [type(piece) for piece in given] == [Said, Sounded, Sounded, Sounded, Sounded]
    assert parts.drawn < 2 * 64 + 16
    assert parts.open == 3, "the brain, and two sentences"
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() and parts.open == 0


async def test_a_voice_that_fails_ends_everything_at_once() -> None:
    parts, given = Parts(fail_at=2), list[AnswerPiece]()
    open_at_end: list[int] = []

    async def put(piece: AnswerPiece) -> None:
        given.append(piece)
        if isinstance(piece, Ended):
            open_at_end.append(parts.open)

    await asyncio.wait_for(reply(ORDER, parts.think, parts.speak, put), 20)
    assert given == [
        Said("Sentence number 100."), Sounded(CHUNK), Sounded(CHUNK), Ended(code="server_error", message="No more.")
    ]  # fmt: skip
    assert open_at_end == [0]


async def test_calls_come_after_all_that_is_said() -> None:
    given: list[AnswerPiece] = []

    async def think(order: Reply) -> AsyncGenerator[Said | Called | Ended]:
        for piece in (Said("One."), Called("f", "{}"), Said(" Two."), Called("g", "{}"), Ended()):
            yield piece

    async def speak(text: str, order: Reply) -> AsyncGenerator[bytes]:
        yield CHUNK * 50

    async def put(piece: AnswerPiece) -> None:
        given.append(piece)

    await asyncio.wait_for(reply(ORDER, think, speak, put), 20)
    assert [piece for piece in given if not isinstance(piece, Sounded)] == [
        Said("One."), Spoken(), Said(" Two."), Spoken(), Called("f", "{}"), Called("g", "{}"), Ended()
    ]  # fmt: skip
    assert [len(piece.audio) for piece in given if isinstance(piece, Sounded)] == [3200, 3200, 1600] * 2
