"""How the model hands its caller over: not before the last word was heard, and back again when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from bridge.after_speech import AfterSpeech, Deed
from bridge.legs.leg import LegRefused
from bridge.legs.outgoing import OutgoingLeg
from bridge.realtime import events as ev
from bridge.realtime.tools import HANG_UP, TRANSFER
from bridge.records import EndReason
from bridge.sip.uri import Uri
from bridge.transfer.handover import JOINED, TRANSFERRED, Handover, Outcome, Plan
from bridge.transfer.waiting_tone import WaitingTone
from bridge.transfer.watched import over, watched

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

Answer = Callable[..., None]
"""`answer(tool, output, respond=...)`: tell the model what came of a tool call."""


class CallTransfer:
    """The transfers of one call; one at a time."""

    def __init__(
        self,
        call: Call,
        after: AfterSpeech,
        *,
        answer: Answer,
        may_leave: Callable[[], bool],
        on_leaving: Callable[[], None],
        on_left: Callable[[], None],
    ) -> None:
        """`on_leaving`: the caller is being handed over; `on_left`: he talks to somebody else from here."""
        self._call = call
        self._after = after
        self._answer = answer
        self._may_leave = may_leave
        self._on_leaving = on_leaving
        self._on_left = on_left
        self._handover: Handover | None = None
        self._task: asyncio.Task[None] | None = None
        self._tone: WaitingTone | None = None  # while the second call is placed

    @property
    def is_under_way(self) -> bool:
        """Whether a transfer has begun and is not decided."""
        return self._task is not None

    def handed_over(self) -> bool:
        """The caller's side has hung up: whether that is the end of a transfer that its PBX has accepted."""
        if self._task is None or self._handover is None or not self._handover.accepted:
            return False
        self._task.cancel()  # the last NOTIFY may have come just before
        self._note(TRANSFERRED)
        return True

    def use(self, tool: ev.ToolCall, arguments: dict[str, Any], *, caller_speaks: bool) -> None:
        """The model wants it."""
        call, targets = self._call, self._call.profile.targets
        target = targets.find(arguments["target"], call.base)
        if target is None:
            call.counts.note_transfer("not_allowed")
            log.warning("transfer.not_allowed", advice="list it in agents.<name>.transfer.targets")
            self._answer(tool, {"error": "this target is not allowed", "allowed": list(targets.names)})
        elif self.is_under_way or self._after.waits(HANG_UP, TRANSFER) or call.succession.is_pending:
            self._answer(tool, {"error": "another transfer, or the end of the call, is under way"})
        elif caller_speaks:
            self._not_transferred(tool)
        else:
            settings = call.profile.transfer
            method = "bridge" if call.is_own_phone(target) else settings.method
            plan = Plan(target, method, settings.timeout_s)
            begin, unheard = (lambda: self._begin(tool, plan)), (lambda: self._not_transferred(tool))
            self._after.wait(Deed(tool.call_id, TRANSFER, begin, unheard, self._may_leave))

    def close(self) -> None:
        """The call is over, or its agent gone."""
        if self._task is not None:
            self._task.cancel()
        self._answer = self._on_leaving = self._on_left = _nothing
        self._may_leave = _never

    async def ended(self) -> None:
        """Until a transfer that `close` has broken off is over."""
        self._handover = None
        await over(self._task)
        self._task = None

    def _not_transferred(self, tool: ev.ToolCall) -> None:
        self._call.counts.note_transfer("interrupted")
        self._answer(tool, {"error": "the caller spoke: not transferred"}, respond=False)

    def _begin(self, tool: ev.ToolCall, plan: Plan) -> None:
        self._on_leaving()
        self._handover = Handover(self._call.leg, plan, self._dial)
        self._task = watched(self._hand_over(tool, self._handover), lambda: self._call.end(EndReason.INTERNAL_ERROR))

    async def _hand_over(self, tool: ev.ToolCall, handover: Handover) -> None:
        log.info("transfer.began", method=handover.method)
        try:
            outcome = await handover.run()
        except (LegRefused, ValueError) as error:
            log.warning("transfer.impossible", reason=str(error))
            outcome = Outcome("unreachable")
        finally:
            self._tone_off()
        self._note(outcome.word)
        self._settle(tool, outcome)

    def _note(self, word: str) -> None:
        self._call.counts.note_transfer(word)
        log.info("transfer.ended", outcome=word)

    def _settle(self, tool: ev.ToolCall, outcome: Outcome) -> None:
        call = self._call
        if outcome.word == TRANSFERRED:
            if outcome.leg is not None:
                call.former.append(outcome.leg)
            call.end(EndReason.TRANSFERRED)
        elif outcome.word == JOINED and outcome.leg is not None:
            self._on_left()
            call.join(outcome.leg)
        else:
            self._handover = self._task = None
            call.hearing.open()
            self._answer(tool, {"error": outcome.word.replace("_", " ")})

    def _dial(self, target: Uri, timeout_s: float) -> OutgoingLeg:
        """The second call; the caller hears it ring, and the model hears nothing meanwhile."""
        call = self._call
        second = call.dial(target, timeout_s)
        call.hearing.close()
        self._tone = WaitingTone(call.leg, second)
        return second

    def _tone_off(self) -> None:
        if self._tone is not None:
            self._tone.stop()
            self._tone = None


def _nothing(*_: object, **__: object) -> None:
    """Nobody wants to hear of it any more."""


def _never() -> bool:
    return False
