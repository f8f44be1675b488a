"""What the model may do to its call: end it, send keys, hand the caller over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from bridge.keys import KEPT, MOST_SECONDS, Wanted
from bridge.legs.leg import LegRefused
from bridge.legs.outgoing import OutgoingLeg
from bridge.realtime import events as ev
from bridge.realtime.tools import HANG_UP, READ_DIGITS, SEND_DIGITS, TRANSFER
from bridge.records import EndReason
from bridge.sip.uri import Uri
from bridge.transfer.handover import JOINED, TRANSFERRED, Handover, Outcome, Plan
from bridge.transfer.waiting_tone import WaitingTone
from bridge.transfer.watched import watched

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

FAREWELL_S = 0.3
"""Silence between the last word and what ends the talk: the far end still plays what its jitter buffer holds."""
MAX_DIGITS = 64


class CallTools:
    """The built-in tools of one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last_words: Callable[[], None] | None = None  # what to do when the caller has heard them
        self._unheard: Callable[[], None] | None = None  # what to do when he speaks before that; only of a transfer
        self._leaving: asyncio.TimerHandle | None = None
        self._handover: Handover | None = None
        self._task: asyncio.Task[None] | None = None
        self._tools = {
            HANG_UP: self._hang_up,
            TRANSFER: self._transfer,
            SEND_DIGITS: self._send_digits,
            READ_DIGITS: self._read_digits,
        }

    @property
    def is_handing_over(self) -> bool:
        """Whether a transfer has begun and is not decided."""
        return self._task is not None

    def handed_over(self) -> bool:
        """The caller's side has hung up: whether that is the end of a transfer that its PBX has accepted."""
        if self._task is None or self._handover is None or not self._handover.accepted:
            return False
        self._task.cancel()  # the last NOTIFY may have come just before
        self._note(TRANSFERRED)
        return True

    def use(self, tool: ev.ToolCall) -> None:
        """The model calls a tool."""
        use = self._tools.get(tool.name)
        if use is None:
            log.warning("tool.unknown", tool=tool.name)
            self._answer(tool, {"error": f"there is no tool {tool.name}"})
        else:
            use(tool, _arguments(tool))

    def heard(self) -> None:
        """Perhaps the caller has heard the last word: then do what was waiting for that (quirk H1)."""
        call = self._call
        ready = self._last_words is not None and call.leg.drained and not call.session.protocol.response_active
        if ready and self._leaving is None and not call.floor.barge_in.is_undecided:
            assert self._last_words is not None
            self._leaving = asyncio.get_running_loop().call_later(FAREWELL_S, self._last_words)

    def interrupted(self) -> None:
        """The caller spoke into the farewell: the call goes on."""
        unheard, self._unheard, self._last_words = self._unheard, None, None
        if unheard is not None:
            unheard()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def close(self) -> None:
        """The call is over."""
        self._unheard = None
        self.interrupted()
        if self._task is not None:
            self._task.cancel()

    @property
    def _caller_speaks(self) -> bool:
        """Whether he surely does: what is on trial may be a cough, and if not, `interrupted` comes."""
        call = self._call
        return call.session.protocol.caller_speaking and not call.floor.barge_in.is_undecided

    # Hang up and keys

    def _hang_up(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        if self._task is not None or self._unheard is not None:
            self._answer(tool, {"error": "a transfer is under way"})
            return
        if self._caller_speaks:
            self._answer(tool, {"error": "the caller speaks: not hung up"}, respond=False)
            return
        self._answer(tool, {"status": "the call ends when the caller has heard you"}, respond=False)
        self._last_words = lambda: self._call.end(EndReason.AGENT_HUNG_UP)
        self.heard()

    def _send_digits(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        digits = str(arguments.get("digits", "")).replace(" ", "")
        try:
            if not 0 < len(digits) <= MAX_DIGITS:
                raise ValueError
            self._call.leg.send_digits(digits)
        except ValueError:
            self._answer(tool, {"error": f"digits must be 1 to {MAX_DIGITS} of 0-9 * # A-D"})
        else:
            self._answer(tool, {"status": "sent"})

    def _read_digits(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        try:
            wanted = Wanted.of(arguments)
        except (TypeError, ValueError, OverflowError):
            self._answer(
                tool, {"error": f"max_digits must be 0 to {KEPT}, timeout_s above 0 and at most {MOST_SECONDS}"}
            )
        else:
            # What another call of the tool has replaced needs no answer: that one's result will.
            self._call.keys.read(
                wanted, lambda result: self._answer(tool, result, respond=result["status"] != "superseded")
            )

    # Transfer

    def _transfer(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        call, wanted = self._call, str(arguments.get("target", ""))
        targets = call.profile.targets
        target = targets.find(wanted, call.base)
        if target is None:
            call.counts.note_transfer("not_allowed")
            log.warning("transfer.not_allowed", advice="list it in agents.<name>.transfer.targets")
            self._answer(tool, {"error": "this target is not allowed", "allowed": list(targets.names)})
        elif self._task is not None or self._last_words is not None or call.succession.is_pending:
            self._answer(tool, {"error": "another transfer, or the end of the call, is under way"})
        elif self._caller_speaks:
            self._not_transferred(tool)
        else:
            settings = call.profile.transfer
            method = "bridge" if call.is_own_phone(target) else settings.method
            plan = Plan(target, method, settings.timeout_s)
            self._last_words = lambda: self._begin(tool, plan)
            self._unheard = lambda: self._not_transferred(tool)
            self.heard()

    def _not_transferred(self, tool: ev.ToolCall) -> None:
        self._call.counts.note_transfer("interrupted")
        self._answer(tool, {"error": "the caller spoke: not transferred"}, respond=False)

    def _begin(self, tool: ev.ToolCall, plan: Plan) -> None:
        self._last_words = self._leaving = self._unheard = None
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
            call.join(outcome.leg)
        else:
            self._handover = self._task = None
            call.hearing.open()
            self._answer(tool, {"error": outcome.word.replace("_", " ")})

    _tone: WaitingTone | None = None

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

    def _answer(self, tool: ev.ToolCall, output: dict[str, Any], *, respond: bool = True) -> None:
        self._call.session.tool_result(tool.call_id, output, respond=respond)


def _arguments(tool: ev.ToolCall) -> dict[str, Any]:
    """What the model wrote; empty when that is no JSON object."""
    try:
        arguments = json.loads(tool.arguments or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}
