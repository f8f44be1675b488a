"""A caller who sends us on: its PBX asks by REFER that we call somebody in its place (RFC 3515)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from bridge.legs.leg import LegRefused
from bridge.legs.outgoing import OutgoingLeg
from bridge.records import EndReason
from bridge.sip.transfer import Referred
from bridge.transfer.watched import over, watched

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.transfer")

PATIENCE_S = 2.0
"""How long the old side may take to hang up, in seconds, as whoever transfers should (RFC 5589 section 6.1)."""


class TakenOver:
    """Calls the new side, tells the old one how that goes, and gives the call to whoever answers.

    `on_done` gets "taken_over", or the word for why not.
    """

    def __init__(self, call: Call, referred: Referred, on_done: Callable[[str], None]) -> None:
        self._call = call
        self._referred = referred
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = watched(self._run(), lambda: call.end(EndReason.INTERNAL_ERROR))

    def close(self) -> None:
        """The call is over."""
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Until it has let go of the new side."""
        await over(self._task)
        self._task = None

    async def _run(self) -> None:
        call, referral = self._call, self._referred.referral
        log.info("transfer.asked", replaces=referral.replaces is not None)
        try:
            second = call.dial(referral.target, call.profile.transfer.timeout_s, self._headers())
        except (LegRefused, ValueError) as error:
            log.warning("transfer.impossible", reason=str(error))
            self._done("unreachable", 503)
            return
        second.on_ringing = self._referred.progress
        try:
            word = await second.outcome()
        except asyncio.CancelledError:
            second.give_up()
            raise
        if word:
            self._done(word, second.failure.status if second.failure is not None else 503)
        else:
            self._succeed(second)

    def _succeed(self, second: OutgoingLeg) -> None:
        former = self._call.adopt(second)
        self._done("taken_over", 200)
        asyncio.get_running_loop().call_later(PATIENCE_S, former.close, EndReason.TRANSFERRED)

    def _headers(self) -> list[tuple[str, str]]:
        referral = self._referred.referral
        replaces = [("Replaces", str(referral.replaces))] if referral.replaces is not None else []
        by = [("Referred-By", referral.referred_by)] if referral.referred_by is not None else []
        return [*replaces, *by]

    def _done(self, word: str, status: int) -> None:
        log.info("transfer.ended", outcome=word)
        self._referred.progress(status)
        self._on_done(word)
