"""Parties made of wood: what they are told is kept, what they hear is said by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.media.codecs import CODECS
from bridge.media.stats import MediaStats
from bridge.records import EndReason
from bridge.sip.outgoing import Failure
from bridge.sip.replaces import Replaces
from bridge.sip.uri import Uri

DESK = Uri.parse("sip:desk@pbx.example")


def unset(*_: object) -> None:
    """A callback nobody has set."""


class Party:
    """One side of a call. `played` is what waits or was heard: (item, audio)."""

    def __init__(self, law: Law = Law.PCMU) -> None:
        self.codec = CODECS[law.value]
        self.tap: Any = None
        self.pauses: list[str] = []
        self.call_id = "call"
        self.base = Uri.parse("sip:pbx.example:5070;transport=tcp")
        self.drained = True
        self.stats = MediaStats()
        self.queued_ms = 0
        self.played: list[tuple[str, bytes]] = []
        self.ended: list[str] = []
        self.flushes = 0
        self.keys = ""
        self.closed: list[EndReason] = []
        self.referred: list[tuple[Uri, Replaces | None]] = []
        self.progress: Callable[[int, bool], None]
        self.stopped = 0
        self.on_audio: Callable[[bytes], None] = unset
        self.on_digit: Callable[[str], None] = unset
        self.on_format: Callable[[], None] = unset
        self.on_drained: Callable[[], None] = unset
        self.on_ended: Callable[[str, str], None] = unset
        self.on_connected: Callable[[], None] = unset
        self.on_referred: Callable[[Any], bool] = lambda referred: True

    @property
    def format(self) -> Format:
        return self.codec.audio_format

    def pause(self) -> None:
        self.pauses.append("pause")

    def unpause(self) -> None:
        self.pauses.append("unpause")

    def record(self, tap: Any) -> None:
        self.tap = tap

    def play(self, item_id: str, audio: bytes) -> bool:
        self.played.append((item_id, audio))
        return True

    def end_item(self, item_id: str) -> None:
        self.ended.append(item_id)

    def end_all(self) -> None:
        self.ended.append("all")

    def flush(self) -> tuple[Any, ...]:
        self.flushes += 1
        return ()

    def send_digits(self, digits: str) -> None:
        self.keys += digits

    def close(self, reason: EndReason) -> None:
        self.closed.append(reason)

    def refer(self, target: Uri, on_progress: Callable[[int, bool], None], replaces: Replaces | None = None) -> Any:
        self.referred.append((target, replaces))
        self.progress = on_progress
        return SimpleNamespace(stop=self._stop)

    def _stop(self) -> None:
        self.stopped += 1


class Second(Party):
    """The second call of a transfer."""

    def __init__(self, law: Law = Law.PCMU) -> None:
        super().__init__(law)
        self.stream: object | None = None
        self.is_over = False
        self.failure: Failure | None = None
        self.replaces = Replaces("second", "theirs", "ours")
        self.given_up = 0
        self.word: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_ringing: Callable[[int], None] = unset

    async def outcome(self) -> str:
        return await asyncio.shield(self.word)

    def give_up(self) -> None:
        self.given_up += 1
