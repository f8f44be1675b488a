"""One service with an agent of each provider, and a call to each of them, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, frames
from tests.service.far import Far
from tests.service.rig import Service
from tests.service.sines import APART_MS, Sound, alaw, heard, is_loud, sine, ulaw

GREETING = "Say hello."
AGENT = {"greeting": GREETING, "instructions": "Be brief.", "tools": ["hang_up"]}
_FIRST_NUMBER = 600


class Line:
    """One call: the service, the far end and the phone."""

    def __init__(self, service: Service, name: str, far: Far, number: str, law: str) -> None:
        self.service, self.name, self.far, self._number = service, name, far, number
        self.phone = RawPhone(law=law)
        self._encode = alaw if law == "PCMA" else ulaw
        self._quiet = self._encode(bytes(2 * FRAME))
        self._silence: asyncio.Task[None] | None = None  # while the caller says nothing

    # The caller

    async def begin(self) -> None:
        """Call, and wait until the far end was asked for the greeting."""
        answer = await self.phone.invite("127.0.0.1", self.service.sip_port, self._number)
        assert answer.status == 200, answer.start
        await self._listen()
        await self.far.asked(GREETING)

    async def speak(self, hz: float, ms: int) -> None:
        """The caller says a sine, with silence around it."""
        await self._stop()
        await self.phone.wire.play(frames(10 * self._quiet + self._encode(sine(hz, ms, 8000)) + 10 * self._quiet))
        await self._listen()

    async def press(self, *keys: str) -> None:
        """The caller presses keys."""
        await self._stop()
        for key in keys:
            await self.phone.wire.press(key, ms=60)
        await self._listen()

    def heard(self) -> list[Sound]:
        """What the phone has heard."""
        return heard(self.phone.wire.packets)

    def has_said(self, sound: Sound, hz: float, ms: int) -> bool:
        """Whether the agent's sine was heard whole; at the pace of the caller's audio it pauses when that does."""
        return sound.is_like(hz, ms, holes=self.far.keeps_pace)

    async def has_heard(self, count: int, quiet_ms: int = 0) -> Sound:
        """Wait until so many sounds are over, the last one for so long; that one."""
        packets, quiet = self.phone.wire.packets, max(quiet_ms, self.far.is_said_ms) // 20

        def over() -> bool:
            return not any(map(is_loud, packets[-quiet:])) and self._count() >= count

        await self.far.until(over)
        return self.heard()[count - 1]

    def _count(self) -> int:
        """Sounds so far."""
        loud = [n for n, packet in enumerate(self.phone.wire.packets) if is_loud(packet)]
        return bool(loud) + sum(after - before > APART_MS // 20 for before, after in pairwise(loud))

    async def hears_something(self, packets: int = 10) -> None:
        """Wait until the agent speaks."""
        await self.far.until(lambda: sum(map(is_loud, self.phone.wire.packets)) >= packets)

    async def _listen(self) -> None:
        self._silence = asyncio.create_task(self.phone.wire.play(iter(lambda: self._quiet, b"")))

    async def _stop(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            await asyncio.gather(self._silence, return_exceptions=True)

    # The end

    async def hang_up(self) -> None:
        """The caller does."""
        await self.phone.bye()
        await self._over("caller_hung_up")

    async def is_hung_up(self, reason: str) -> None:
        """Wait until the service does."""
        await asyncio.wait_for(self.phone.ended.wait(), 15)
        await self._over(reason)

    async def _over(self, reason: str) -> None:
        await self._stop()
        await self.far.until(lambda: self.events("call.ended"))
        assert self.record["reason"] == reason, self.record
        assert self.far.problems() == []

    @property
    def record(self) -> dict[str, Any]:
        """The log's line of the call's end."""
        return self.events("call.ended")[0]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of this call."""
        return [line for line in self.service.events(name) if line.get("call") == self.phone.call_id]


Story = Callable[[Line], Awaitable[None]]


async def call_each(
    folder: Path, fars: Mapping[str, Callable[[], Far]], story: Story, *, law: str = "PCMU", **sections: Any
) -> tuple[dict[str, Line], dict[str, float]]:
    """Call each far end, and let the story happen with all of them at a time. The lines, and the metrics afterwards."""
    async with _open(folder, fars, law, sections) as lines:
        ends = await asyncio.gather(*(_tell(line, story) for line in lines.values()), return_exceptions=True)
        faults = [end for end in ends if isinstance(end, Exception)]
        for name, end in zip(lines, ends, strict=True):
            if isinstance(end, Exception):
                end.add_note(f"with {name}")
        if faults:
            raise ExceptionGroup(f"{len(faults)} of {len(lines)} calls", faults)
        service = next(iter(lines.values())).service
        assert not [line for line in service.lines() if "exception" in line], service.said()
        return lines, await service.metrics()


async def _tell(line: Line, story: Story) -> None:
    async with line.phone:
        try:
            await line.begin()
            await story(line)
        finally:
            await line._stop()


@asynccontextmanager
async def _open(
    folder: Path, fars: Mapping[str, Callable[[], Far]], law: str, sections: dict[str, Any]
) -> AsyncIterator[dict[str, Line]]:
    common = AGENT | sections.pop("agent", {})
    ends = {name: make() for name, make in fars.items()}
    numbers = {name: str(_FIRST_NUMBER + n) for n, name in enumerate(ends)}
    async with AsyncExitStack() as stack:
        for far in ends.values():
            await stack.enter_async_context(far.running())
        agents = {name: far.agent | common for name, far in ends.items()}
        routes = [{"to": number, "agent": name} for name, number in numbers.items()]
        service = await Service.started(folder, {}, agents=agents, routes=routes, **sections)
        with service:
            yield {name: Line(service, name, far, numbers[name], law) for name, far in ends.items()}
