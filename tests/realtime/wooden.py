"""A session and its protocol made of wood, for what stands above them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.history import History, Remembered
from bridge.realtime.protocol import Abilities


class Protocol:
    """What it was asked is in `asked`, in order."""

    def __init__(self) -> None:
        self.abilities = Abilities()
        self.asked: list[Any] = []
        self.response_active = False
        self.caller_speaking = False
        self.resumption = ""
        self.malformed = self.unknown = self.events_in = self.late_deltas = 0

    def begin(self) -> None: ...
    def finish(self) -> None: ...

    def is_final_close(self, code: int, reason: str) -> bool:
        return code in (1000, 3000, 4000)

    def greet(self) -> None:
        self.asked.append("greet")

    def respond(self) -> None:
        self.asked.append("respond")

    def go_on(self) -> None:
        self.asked.append("go on")

    def commit(self) -> None:
        self.asked.append("commit")

    def instruct(self, words: str) -> None:
        self.asked.append(("instruct", words))

    def user_text(self, words: str, *, respond: bool = True) -> None:
        self.asked.append(("user", words, respond))

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        if turns := list(turns):
            self.asked.append(("remember", turns, respond))

    def tool_result(self, call_id: str, output: Any, *, respond: bool = True) -> None:
        self.asked.append(("result", call_id, output, respond))

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        cuts = [ev.Truncated(item.item_id, item.sent_ms) for item in heard]
        self.asked.append(("interrupted", cuts, by_server))
        return cuts

    def forget(self, item_id: str) -> None:
        self.asked.append(("forget", item_id))

    def correct(self, item_id: str, heard: str) -> None:
        self.asked.append(("correct", item_id, heard))


class Session:
    """Opens as `fate` says: a `Ready`, or why not. `lose` ends it, `say` gives an event."""

    def __init__(self, history: History, fate: ev.Ready | SessionFailed, wait: asyncio.Event | None = None) -> None:
        self.history = history
        self.protocol = Protocol()
        self.on_event: Callable[[ev.Event], None] = lambda event: None
        self.ready: ev.Ready | None = None
        self.audio = b""
        self.audio_in_bytes = self.audio_dropped_bytes = 0
        self.closed = 0
        self.opening = asyncio.Event()
        self._fate = fate
        self._wait = wait
        self._lost: asyncio.Future[ev.Lost] = asyncio.get_running_loop().create_future()

    async def open(self, timeout_s: float) -> ev.Ready:
        self.opening.set()
        if self._wait is not None:
            await self._wait.wait()
        if isinstance(self._fate, SessionFailed):
            raise self._fate
        self.ready = self._fate
        return self._fate

    async def run(self) -> ev.Lost:
        return await asyncio.shield(self._lost)

    def append(self, audio: bytes) -> None:
        self.audio += audio

    def replay(self, audio: bytes) -> None:
        self.audio += audio

    def flush(self) -> None: ...

    def say(self, event: ev.Event) -> None:
        self.on_event(event)

    def lose(self, code: int = 1006, reason: str = "") -> None:
        if not self._lost.done():
            self._lost.set_result(ev.Lost(code, reason))

    async def close(self) -> None:
        self.closed += 1
        self.lose(1000)


def ready(audio: Format = Law.PCMU, **more: Any) -> ev.Ready:
    return ev.Ready("s", "m", audio, audio, **more)
