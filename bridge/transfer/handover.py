"""One transfer of a caller: asked of the caller's PBX (REFER), or done here with a second call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from bridge.legs.leg import Party
from bridge.legs.outgoing import OutgoingLeg
from bridge.sip.reasons import word_for
from bridge.sip.replaces import Replaces
from bridge.sip.uri import Uri

log = structlog.get_logger("sipbridge.transfer")

Method = Literal["auto", "refer", "attended", "bridge"]
Dial = Callable[[Uri, float], OutgoingLeg]
"""Places the second call: target, seconds to ring. Raises LegRefused or ValueError."""
TRANSFERRED, JOINED = "transferred", "joined"
_UNABLE = frozenset((400, 403, 405, 420, 481, 500, 501))
"""What a PBX says of itself, not of the target, even when it took the REFER on before it found out."""
_SILENT = 408


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to, how, and how many seconds the whole of it may take until somebody answers."""

    target: Uri
    method: Method
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """`word` is TRANSFERRED (the PBX has the caller), JOINED (`leg` is the target's), or why it failed."""

    word: str
    leg: OutgoingLeg | None = None


class Handover:
    """Asks the PBX, and where it will not, calls the target so that the two can be joined."""

    def __init__(self, leg: Party, plan: Plan, dial: Dial) -> None:
        self.accepted = False
        """Whether the PBX has taken the caller on: a BYE is the expected end then."""
        self._leg = leg
        self._plan = plan
        self._dial = dial
        self._deadline = asyncio.get_running_loop().time() + plan.timeout_s

    @property
    def method(self) -> Method:
        """How it is tried."""
        return self._plan.method

    async def run(self) -> Outcome:
        """The whole transfer. Cancelled, it lets go of the second call. Raises LegRefused or ValueError."""
        plan = self._plan
        if plan.method in ("auto", "refer"):
            status, rang = await self._refer()
            if status < 300:
                return Outcome(TRANSFERRED)
            if (self.accepted and status not in _UNABLE) or status == _SILENT:
                # The PBX has tried, or may still: a call of ours beside its own would ring twice.
                self.accepted = False
                log.info("transfer.failed", status=status)
                return Outcome("no_answer" if rang and status in (_SILENT, 487) else word_for(status, rang=rang))
            self.accepted = False
            log.info("transfer.refused", status=status, next="a second call" if plan.method == "auto" else "nothing")
            if plan.method == "refer":
                return Outcome("refused")
        return await self._call()

    async def _call(self) -> Outcome:
        second = self._dial(self._plan.target, max(0.0, self._deadline - _now()))
        try:
            word = await second.outcome()
            if word:
                return Outcome(word)
            if self._plan.method == "attended":
                status, _ = await self._refer(second.replaces)
                if status < 300:
                    return Outcome(TRANSFERRED, second)
                log.info("transfer.refused", status=status, next="the two calls are joined here")
            return Outcome("hung_up") if second.is_over else Outcome(JOINED, second)
        except BaseException:
            second.give_up()
            raise

    async def _refer(self, replaces: Replaces | None = None) -> tuple[int, bool]:
        """The last status that the peer tells of a REFER, 408 when time is up; and whether the target rang."""
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        rang = False

        def progress(status: int, final: bool) -> None:
            nonlocal rang
            self.accepted = self.accepted or status < 300
            rang = rang or 180 <= status < 200
            log.debug("transfer.progress", status=status, final=final)
            if final and not last.done():
                last.set_result(status)

        transfer = self._leg.refer(self._plan.target, progress, replaces)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await last, rang
        except TimeoutError:
            return _SILENT, rang
        finally:
            transfer.stop()


def _now() -> float:
    return asyncio.get_running_loop().time()
