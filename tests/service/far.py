"""The servers of all providers behind one face: a call goes the same way whoever is at its far end.

A far end says what an agent is configured by to reach it, what it has understood of what it was told, and does what a
test wants of a model: speaks, is interrupted, calls a tool, breaks off.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from tests.service.sines import sine

Json = dict[str, Any]
PIECE_MS = 100
LAWS = {"audio/pcmu": "PCMU", "audio/pcma": "PCMA"}


def pieces(hz: float, ms: int, rate: int, encode: Callable[[bytes], bytes] = bytes) -> Iterator[bytes]:
    """A sine as a server sends it."""
    audio = sine(hz, ms, rate)
    step = PIECE_MS * rate // 1000 * 2
    yield from (encode(audio[at : at + step]) for at in range(0, len(audio), step))


class Far(ABC):
    """A provider's server. All methods are of the newest session."""

    agent: Json
    """The agent's configuration, but for what is common."""
    keeps_pace = False
    """It speaks no faster than the caller's audio comes."""
    is_said_ms = 200
    """Silence after which what it says is surely over, for the bridge too."""
    final_reason = "session_lost"
    """Why a call ends that it has forsaken."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        """What was used by `say` and `call`, as the metric names it."""

    def uses(self, **tokens: int) -> None:
        """Count them."""
        for kind, count in tokens.items():
            self.tokens[kind] = self.tokens.get(kind, 0) + count

    @property
    def rate(self) -> int:
        """Of the caller's audio as it hears it."""
        return 8000

    @abstractmethod
    def running(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """Listening; `agent` is complete then."""

    @abstractmethod
    def count(self) -> int:
        """Sessions that have begun."""

    @abstractmethod
    def told(self) -> str:
        """All that the client has said in this session, but audio."""

    @abstractmethod
    def pcm(self) -> bytes:
        """The caller's audio."""

    @abstractmethod
    async def say(self, words: str, hz: float, ms: int, *, whole: bool = True) -> None:
        """A turn of the model; without `whole` it is not over yet."""

    @abstractmethod
    async def interrupt(self, words: str) -> int:
        """The caller speaks over the model; the moment just before that was told, in ns."""

    @abstractmethod
    async def late(self, hz: float, ms: int) -> None:
        """More audio of the turn that was interrupted."""

    @abstractmethod
    async def hear(self, words: str) -> None:
        """The caller's words."""

    @abstractmethod
    async def call(self, name: str, **arguments: Any) -> Any:
        """A tool call; its result."""

    async def says_no_more(self) -> None:
        """The model has nothing to say about a tool's result."""
        await asyncio.sleep(0)

    @abstractmethod
    async def drop(self) -> None:
        """The session breaks."""

    @abstractmethod
    async def forsake(self) -> None:
        """The session ends, and another would end the same way."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What was wrong with all that the client has sent."""

    async def until(self, what: Callable[[], Any], within: float = 10) -> Any:
        """Wait for something that is not empty."""
        try:
            async with asyncio.timeout(within):
                while not (found := what()):
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            raise AssertionError(f"not in {within} s; told: {self.told()[:2000]}") from None

    async def sessions(self, count: int = 1) -> None:
        """Wait until so many have begun."""
        await self.until(lambda: self.count() >= count)

    async def asked(self, words: str) -> None:
        """Wait until the client has said something with these words."""
        await self.until(lambda: words in self.told())
