"""Callers who come and go while their server is killed at random moments."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from tests.service.killed_server import ITEMS
from tests.service.numbered_caller import NumberedCaller, quiet, speech
from tests.service.survival_bench import Bench

# Every kind of moment lasts a while: thinking before and after the response is begun, more audio than was played,
# tools, turns of which the words come late or never.
SCRIPT = """
heard: ["I would like a bell.", "A red one, please.", "", "And two lights."]
heard_ms: [50, 1500]
rules:
  - {on: turn, nth: 1, do: [{delay_ms: [100, 700]}, {response: {items: [{audio_ms: [600, 4000]}], speed: 2}}]}
  - on: turn
    nth: 2
    do: [{response: {items: [{audio_ms: [300, 900]}, {call: lookup, arguments: {of: bell}}], first_byte_ms: [0, 500]}}]
  - {on: turn, nth: 3, do: [{response: {items: [{audio_ms: [200, 900]}, {audio_ms: [3000, 8000]}], speed: 6}}]}
  - {on: turn, nth: 4, do: [{response: {items: [{call: lookup, arguments: {of: light}}]}}]}
answer: {items: [{audio_ms: [500, 6000]}], first_byte_ms: [0, 1200]}
"""
WAIT_MS = 5000
"""A caller waits so long for an answer, then he speaks again."""


class Talker(NumberedCaller):
    """He says something, waits for an answer, hears it out or not, until he has talked with another server."""

    def __init__(self, user: str, chance: random.Random) -> None:
        super().__init__(user)
        self.first = 0
        """The server that he rang at."""
        self._chance = chance
        self.life = self._live()

    def _ms(self, low: int, high: int) -> int:
        return self._chance.randint(low // 20, high // 20) * 20

    def _live(self) -> Iterator[bool]:
        yield from quiet(self._ms(200, 1500))
        turns, enough = 0, self._chance.choice((1, 2))
        while turns < enough:
            self.hears()
            yield from speech(self._ms(200, 700))
            for _ in range(WAIT_MS // 20):
                yield False
                if (item := self.hears()) is not None:
                    turns += item // ITEMS > self.first
                    break
            yield from quiet(self._ms(100, 2000))
        yield from quiet(500)


class Street:
    """Callers come and go, `at_once` of them side by side, while the server dies and comes back all the time."""

    def __init__(self, it: Bench, chance: random.Random) -> None:
        self.talkers: list[Talker] = []
        self.kills = 0
        self._it = it
        self._chance = chance
        self._open = asyncio.Event()  # while a new call can be had: it needs its first session
        self._ringing = 0
        self._nobody_rings = asyncio.Event()

    async def live(self, calls: int, at_once: int) -> None:
        """Until so many calls are over."""
        waiting = [Talker(f"raw{index}", random.Random(index)) for index in range(calls)]
        async with asyncio.timeout(30 + calls):
            async with asyncio.TaskGroup() as group:
                killing = group.create_task(self._kill_and_kill())
                await asyncio.gather(*(self._talk(waiting) for _ in range(at_once)))
                killing.cancel()

    async def _talk(self, waiting: list[Talker]) -> None:
        """One caller after the other."""
        await asyncio.sleep(self._chance.uniform(0, 2.5))
        while waiting:
            talker = waiting.pop()
            await self._ring(talker)
            async with asyncio.timeout(40):
                await talker.over.wait()
            assert not talker.phone.ended.is_set(), "hung up"
            await self._it.hang_up(talker)
            self.talkers.append(talker)

    async def _ring(self, talker: Talker) -> None:
        while not self._open.is_set():
            await self._open.wait()
        self._ringing += 1
        talker.first = self._it.server.running
        await self._it.ring(talker)
        self._ringing -= 1
        if not self._ringing:
            self._nobody_rings.set()

    async def _kill_and_kill(self) -> None:
        while True:
            self._open.set()
            await asyncio.sleep(self._chance.uniform(1.5, 4.5))
            self._it.server.prepare(SCRIPT)
            self._open.clear()
            while self._ringing:
                self._nobody_rings.clear()
                await self._nobody_rings.wait()
            await asyncio.sleep(self._chance.uniform(0, 0.6))
            self._it.server.kill()
            self.kills += 1
            await asyncio.sleep(self._chance.uniform(0.2, 3))
            await self._it.server.start()
