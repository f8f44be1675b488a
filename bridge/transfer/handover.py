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
"""Places the second call: target, seconds to ring. Raises LegRefused or SipError."""
TRANSFERRED, JOINED = "transferred", "joined"


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to, how, and how long the target may ring, in seconds."""

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

    async def run(self) -> Outcome:
        """The whole transfer. Cancelled, it lets go of the second call. Raises LegRefused or SipError."""
        plan = self._plan
        if plan.method in ("auto", "refer"):
            status = await self._refer()
            if status < 300:
                return Outcome(TRANSFERRED)
            if plan.method == "refer" or self.accepted:
                self.accepted = False
                return Outcome(word_for(status))
            log.info("transfer.refused", status=status, next="a second call")
        return await self._call()

    async def _call(self) -> Outcome:
        second = self._dial(self._plan.target, self._plan.timeout_s)
        try:
            word = await second.outcome()
            if word:
                return Outcome(word)
            if self._plan.method == "attended":
                status = await self._refer(second.replaces)
                if status < 300:
                    return Outcome(TRANSFERRED, second)
                log.info("transfer.refused", status=status, next="the two calls are joined here")
            return Outcome(JOINED, second)
        except BaseException:
            second.give_up()
            raise

    async def _refer(self, replaces: Replaces | None = None) -> int:
        """The last status that the peer tells of a REFER."""
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def progress(status: int, final: bool) -> None:
            self.accepted = self.accepted or status < 300
            log.debug("transfer.progress", status=status, final=final)
            if final and not last.done():
                last.set_result(status)

        self._leg.refer(self._plan.target, progress, replaces)
        return await last
