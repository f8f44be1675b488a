"""Who takes a caller's place: whom its PBX asks us to call (REFER), or who comes with an INVITE with Replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bridge.legs.sip import SipLeg
from bridge.records import EndReason
from bridge.sip.transfer import Referred
from bridge.transfer.taken_over import TakenOver

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.transfer")

MOST_PARTIES = 16
"""How often one call may change hands: each former leg is kept for its counts, and a peer may be mad."""


class Succession:
    """The changes of the caller in one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._referred: TakenOver | None = None  # while the one to come rings
        self._is_left = False  # the one to go has hung up meanwhile

    @property
    def is_open(self) -> bool:
        """Whether somebody else may take the caller's place now."""
        return self._call.is_talking and not self.is_pending and len(self._call.former) < MOST_PARTIES

    @property
    def is_pending(self) -> bool:
        """Whether somebody is being called in the caller's place."""
        return self._referred is not None

    def close(self) -> None:
        """The call is over."""
        if self._referred is not None:
            self._referred.close()

    async def ended(self) -> None:
        """Until nobody is being called any more."""
        if self._referred is not None:
            await self._referred.ended()
            self._referred = None

    def referred(self, referred: Referred) -> bool:
        """The caller's side wants us to call somebody else in its place; true when that will be tried."""
        call, referral = self._call, referred.referral
        if not self.is_open or referral.method != "INVITE":
            return False
        if not call.profile.targets.allows(referral.target, call.leg.base, call.base):
            call.counts.note_transfer("not_allowed")
            log.warning("transfer.not_allowed", advice="list it in agents.<name>.transfer.targets")
            return False
        self._referred = TakenOver(call, referred, self._done)
        return True

    def outlives_caller(self) -> bool:
        """The caller has hung up: whether the call goes on, because somebody is being called in his place.

        Many phones hang up as soon as their REFER was accepted, and do not wait for its outcome.
        """
        if not self.is_pending:
            return False
        self._is_left = True
        self._call.hearing.close()
        self._call.leg.close(EndReason.TRANSFERRED)
        return True

    def replace(self, leg: SipLeg) -> None:
        """Answer an INVITE with Replaces: once connected, its sender has the caller's place (RFC 3891)."""
        leg.on_connected = lambda: self._succeed(leg)
        leg.on_ended = lambda word, detail: leg.close(EndReason.CALLER_HUNG_UP)
        leg.answer()

    def _succeed(self, leg: SipLeg) -> None:
        # Between the answer and the ACK of a delayed offer anything may have happened to the call.
        if not self.is_open or leg.session.is_over:
            leg.close(EndReason.TRANSFERRED)
            return
        former = self._call.adopt(leg)
        self._call.counts.note_transfer("replaced")
        former.close(EndReason.TRANSFERRED)

    def _done(self, word: str) -> None:
        self._referred = None
        self._call.counts.note_transfer(word)
        if self._is_left and word != "taken_over":
            self._call.end(EndReason.CALLER_HUNG_UP)
        self._is_left = False
