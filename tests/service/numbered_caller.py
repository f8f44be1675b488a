"""A caller who counts: each of his frames tells its number, loud or quiet, and he hears which item of which server.

Many of them share one beat of 20 ms (`beat`). What he does is a generator that gives for each frame whether he speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from bridge.agent.patterns import counter
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Packet, in_order

FRAME = 160
MS = 8  # bytes of a millisecond
_BITS = 15
_GROUP = 10
_LOUD, _QUIET = (0x8F, 0x80, 0x00), (0xFA, 0xFB, 0x7B)
"""Code words of µ-law: the mark, 0 and 1."""
_TAIL = b"\x2a\x55"


def numbered(number: int, *, loud: bool) -> bytes:
    """A frame of 20 ms that says its number; a quiet one is at -60 dB."""
    mark, zero, one = _LOUD if loud else _QUIET
    codes = [mark, *(one if number >> bit & 1 else zero for bit in range(_BITS))]
    return b"".join(bytes((code,)) * _GROUP for code in codes)


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbered frames found in some audio: where (byte) and which, and how many bytes were none of them."""

    frames: tuple[tuple[int, int], ...]
    strange: int

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.frames]


def count(audio: bytes) -> Counted:
    """All numbered frames of some audio, in order."""
    at, strange, found = 0, 0, []
    while at + FRAME <= len(audio):
        number = _number(audio[at : at + FRAME])
        if number is None:
            at, strange = at + 1, strange + 1
        else:
            found.append((at, number))
            at += FRAME
    return Counted(tuple(found), strange + len(audio) - at)


@lru_cache(maxsize=65536)
def _number(frame: bytes) -> int | None:
    for mark, _, one in (_LOUD, _QUIET):
        if frame[0] == mark:
            number = sum((code == one) << bit for bit, code in enumerate(frame[_GROUP::_GROUP]))
            return number if frame == numbered(number, loud=mark == _LOUD[0]) else None
    return None


@lru_cache(maxsize=4096)
def _pattern(number: int) -> bytes:
    return counter(number, 64_000)


def heard(payload: bytes) -> tuple[int, int, int] | None:
    """Item, byte position in it and how many bytes of it a packet begins with; None where it is something else."""
    tail = payload.find(_TAIL)
    while tail >= 0:
        word = payload[tail - 6 : tail + 2]
        if tail >= 6 and word[0] & 0x80:
            k = word[4] << 14 | word[3] << 7 | word[1]
            number, position = word[2] << 5 | (word[0] ^ k) & 31, k * 8 - (tail - 6)
            if position >= 0 and (size := _same(payload, _pattern(number)[position : position + len(payload)])) >= 8:
                return number, position, size
        tail = payload.find(_TAIL, tail + 1)
    return None


def _same(one: bytes, other: bytes) -> int:
    if one == other:
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def on_wire(packets: Iterable[Packet]) -> dict[int, int]:
    """Item → bytes of it that were heard; fails on a hole, a repeat or audio out of order."""
    sent: dict[int, int] = {}
    for packet in in_order([packet for packet in packets if packet.payload_type == 0]):
        found = heard(packet.payload)
        if found is not None:
            number, position, size = found
            assert position == sent.get(number, 0), f"item {number}: hole or repeat at byte {position}"
            sent[number] = position + size
    return sent


class NumberedCaller:
    """One call. `frames` were sent so far; `said` has the numbers of the first and last frame of each speech."""

    def __init__(self, user: str) -> None:
        self.phone = RawPhone(user=user)
        self.frames = 0
        self.said: list[tuple[int, int]] = []
        self.life: Iterator[bool] = iter(())
        self.over = asyncio.Event()
        """His life's generator has ended; he goes on in silence."""
        self.hung_up_ns = 0
        """When he said BYE."""
        self._looked_at = 0

    async def call(self, port: int) -> int:
        """Ring; the status of the answer. From here `tick` sends."""
        await self.phone.__aenter__()
        return (await self.phone.invite("127.0.0.1", port)).status

    def tick(self) -> None:
        """The next 20 ms."""
        loud = next(self.life, None)
        if loud is None:
            self.over.set()
        if loud:
            began = self.said and self.said[-1][1] == self.frames - 1
            first = self.said.pop()[0] if began else self.frames
            self.said.append((first, self.frames))
        self.phone.wire.send(numbered(self.frames, loud=bool(loud)), marker=self.frames == 0)
        self.frames += 1

    def hears(self) -> int | None:
        """The newest item that came since he was last asked."""
        packets = self.phone.wire.packets
        newest = None
        for packet in packets[self._looked_at :]:
            if (found := heard(packet.payload)) is not None:
                newest = found[0]
        self._looked_at = len(packets)
        return newest

    def hears_last(self) -> int:
        """The item that he was hearing when he hung up; 0: none."""
        late = [packet for packet in self.phone.wire.packets if packet.t_ns > self.hung_up_ns - 50_000_000]
        return next((found[0] for packet in late if (found := heard(packet.payload)) is not None), 0)


def quiet(ms: int) -> Iterator[bool]:
    """Part of a life: silence."""
    yield from (False for _ in range(ms // 20))


def speech(ms: int) -> Iterator[bool]:
    """Part of a life."""
    yield from (True for _ in range(ms // 20))


async def beat(callers: list[NumberedCaller]) -> None:
    """Let all in the list, which may change, send a frame each 20 ms, until cancelled."""
    loop = asyncio.get_running_loop()
    deadline = loop.time()
    while True:
        for caller in tuple(callers):
            caller.tick()
        deadline = max(deadline + 0.02, loop.time() - 0.1)  # a phone does not burst after a stall
        await asyncio.sleep(max(0.0, deadline - loop.time()))
