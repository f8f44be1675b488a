"""One answer of a pipeline: the brain goes on while the voice speaks what it has said, sentence by sentence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from bridge.agent.fault import Fault
from bridge.agent.orders import Reply
from bridge.agent.pieces import AnswerPiece, Called, Ended, Said, Sounded, Spoken
from bridge.agent.sentences import Sentences, speakable

AHEAD = 2
"""Sentences whose sound is fetched at the same time: the one that is being sent, and the next."""
_WAITING = 64
_DELTA_MS = 400
"""The longest piece of sound in one event."""

Put = Callable[[AnswerPiece], Awaitable[None]]
Think = Callable[[Reply], AsyncGenerator[Said | Called | Ended]]
Speak = Callable[[str, Reply], AsyncGenerator[bytes]]


@dataclass(slots=True)
class _Sentence:
    """A sentence and its sound as it comes; None: that was all, a Fault: no more of it comes."""

    text: str
    sound: asyncio.Queue[bytes | Fault | None] = field(default_factory=lambda: asyncio.Queue(_WAITING))


_Thought = str | Called | Ended
_Ready = _Sentence | Called | Ended


async def reply(order: Reply, think: Think, speak: Speak, put: Put) -> None:
    """Answer `order`. Whoever cancels it closes the requests to brain and voice."""
    thoughts: asyncio.Queue[_Thought] = asyncio.Queue()  # bounded by the brain's longest answer
    if not order.spoken:
        await _write(order, think, put)
        return
    spoken: asyncio.Queue[_Ready] = asyncio.Queue()
    ahead = asyncio.Semaphore(AHEAD)
    async with asyncio.TaskGroup() as group:
        thinking = group.create_task(_think(order, think, thoughts))
        fetching = group.create_task(_fetch_all(order, speak, thoughts, spoken, ahead))
        end = await _send(order, spoken, ahead, put)
        thinking.cancel()
        fetching.cancel()
    await put(end)


async def _write(order: Reply, think: Think, put: Put) -> None:
    """A text is no matter of sentences."""
    end = Ended()
    try:
        async with contextlib.aclosing(think(order)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ended):
                    end = piece
                elif not isinstance(piece, Said) or piece.text:
                    await put(piece)
    except Fault as fault:
        end = _fault(fault)
    await put(end)


async def _think(order: Reply, think: Think, thoughts: asyncio.Queue[_Thought]) -> None:
    """What the brain says, cut into sentences."""
    cutter = Sentences()
    tail: list[_Thought] = [Ended()]
    try:
        async with contextlib.aclosing(think(order)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Said):
                    for sentence in cutter.feed(piece.text):
                        thoughts.put_nowait(sentence)
                elif isinstance(piece, Ended):
                    tail[-1] = piece
                else:
                    tail.insert(-1, piece)
    except Fault as fault:
        # Half a sentence is not spoken.
        thoughts.put_nowait(_fault(fault))
        return
    for each in (*cutter.finish(), *tail):
        thoughts.put_nowait(each)


async def _fetch_all(
    order: Reply,
    speak: Speak,
    thoughts: asyncio.Queue[_Thought],
    spoken: asyncio.Queue[_Ready],
    ahead: asyncio.Semaphore,
) -> None:
    """Ask for the sound of each sentence, in order and not too far ahead."""
    async with asyncio.TaskGroup() as group:
        while True:
            thought = await thoughts.get()
            if not isinstance(thought, str):
                spoken.put_nowait(thought)
                continue
            await ahead.acquire()
            sentence = _Sentence(thought)
            group.create_task(_fetch(order, speak, sentence))
            spoken.put_nowait(sentence)


async def _fetch(order: Reply, speak: Speak, sentence: _Sentence) -> None:
    text = speakable(sentence.text)
    step = _DELTA_MS * order.format.bytes_per_ms
    try:
        if text:
            async with contextlib.aclosing(speak(text, order)) as pieces:
                async for audio in pieces:
                    for start in range(0, len(audio), step):
                        await sentence.sound.put(audio[start : start + step])
    except Fault as fault:
        await sentence.sound.put(fault)
    else:
        await sentence.sound.put(None)


async def _send(order: Reply, spoken: asyncio.Queue[_Ready], ahead: asyncio.Semaphore, put: Put) -> Ended:
    """All of it in order; gives how it ended, which is for the caller of this to say."""
    while True:
        piece = await spoken.get()
        if isinstance(piece, Ended):
            return piece
        if isinstance(piece, Called):
            await put(piece)
            continue
        fault = await _send_sentence(piece, put)
        ahead.release()
        if fault is not None:
            return _fault(fault)


async def _send_sentence(sentence: _Sentence, put: Put) -> Fault | None:
    """Its text goes out when its sound is there, so that nothing is told that cannot be said."""
    told = False
    while True:
        sound = await sentence.sound.get()
        if isinstance(sound, Fault):
            return sound
        if not told:
            told = True
            await put(Said(sentence.text))
        if sound is None:
            await put(Spoken())
            return None
        await put(Sounded(sound))


def _fault(fault: Fault) -> Ended:
    return Ended(code=fault.code, message=fault.message)
