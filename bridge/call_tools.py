"""What the model may do to its call: end it, send keys, hand the caller over, let him wait, ask the application."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from bridge.after_speech import AfterSpeech, Deed
from bridge.call_transfer import CallTransfer
from bridge.call_waiting import Waiting
from bridge.call_webhooks import CallWebhooks
from bridge.keys import KEPT, MOST_SECONDS, Wanted
from bridge.rates import Bucket
from bridge.realtime import events as ev
from bridge.realtime.tools import HANG_UP, HOLD, HOLD_S, READ_DIGITS, SEND_DIGITS, TRANSFER
from bridge.records import EndReason
from bridge.tools.arguments import Fault

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

MAX_DIGITS = 64
USES_PER_S, USES_AT_ONCE = 2.0, 40.0
"""Tools of one call: what a model that runs wild, or a hostile one, may ask of the application."""
NOT_TAKEN = "The keys that you sent were not taken: the other side refuses them. Go on without them."
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class CallTools:
    """The tools of one call, built in and of the application."""

    def __init__(self, call: Call) -> None:
        self.outcomes: dict[str, int] = {}
        """How the uses of tools ended, by word; `built_in` are all of those alike."""
        self._call = call
        self._uses = Bucket(USES_PER_S, USES_AT_ONCE)
        self._early: deque[tuple[ev.ToolCall, dict[str, Any]]] = deque()  # before the answer
        self._waiting = Waiting(call)
        waiting = self._waiting
        self._after = AfterSpeech(lambda: waiting.is_quiet, lambda: waiting.is_silent)
        self._transfer = CallTransfer(
            call,
            self._after,
            answer=self._answer,
            may_leave=self._may_leave,
            on_leaving=self._waiting.speaks,
            on_left=self._stop,
        )
        self._webhooks = CallWebhooks(call, self._after, self._waiting, answer=self._answer, note=self._note)

    @property
    def is_handing_over(self) -> bool:
        """Whether a transfer has begun and is not decided."""
        return self._transfer.is_under_way

    @property
    def is_busy(self) -> bool:
        """Whether the caller waits for something: nobody should ask him whether he is still there."""
        return self.is_handing_over or self._webhooks.is_busy or self._waiting.is_on_hold

    def handed_over(self) -> bool:
        """The caller's side has hung up: whether that is the end of a transfer that its PBX has accepted."""
        return self._transfer.handed_over()

    def use(self, tool: ev.ToolCall) -> None:
        """The model calls a tool. What cannot be used is answered with why, and the model may try again."""
        if not self._uses.take(asyncio.get_running_loop().time()):
            self._note("too_many")
            self._answer(tool, {"error": "too many tools in a short time"}, respond=False)
            return
        offer = self._call.profile.offered.find(tool.name)
        if offer is None:
            self._unknown(tool)
            return
        arguments = offer.arguments.read(tool.arguments)
        if isinstance(arguments, Fault):
            log.warning("tool.invalid_arguments", tool=tool.name)
            self._note("invalid_arguments")
            self._answer(tool, {"error": arguments.words})
        elif offer.webhook is not None:
            self._webhooks.use(tool, offer.webhook, arguments, caller_speaks=self._caller_speaks)
        else:
            self._note("built_in")
            self._early.append((tool, arguments))
            self._begin()

    def cancelled(self, call_id: str) -> None:
        """The service wants no result for this call any more."""
        self._after.drop(call_id)
        self._webhooks.cancelled(call_id)
        self.heard()

    def speaks(self) -> None:
        """The agent speaks: called before its audio is played."""
        self._waiting.speaks()
        self._after.speaks()

    def heard(self) -> None:
        """Perhaps the caller has heard the last word: then do what was waiting for that (quirk H1)."""
        self._begin()
        self._after.heard()
        self._waiting.heard()
        self._call.attendance.tools(self.is_busy or self._call.session.is_away)

    def interrupted(self) -> None:
        """The caller spoke: what was to be done after the last word is not, and the call goes on."""
        self._waiting.interrupted()
        self._after.interrupted()

    def digits_refused(self) -> None:
        """Keys that were sent were refused afterwards: what the model was told is not true any more."""
        self._call.session.instruct(NOT_TAKEN)

    def close(self) -> None:
        """The call is over."""
        self._stop()
        self._transfer.close()

    async def ended(self) -> None:
        """Until nothing is under way any more that `close` has broken off."""
        await self._transfer.ended()

    def _stop(self) -> None:
        self._after.close()
        self._waiting.close()
        self._webhooks.close()

    def _begin(self) -> None:
        """Do what was asked for, but not before the answer: the greeting is asked for while it rings."""
        while self._early and self._call.answered_at is not None:
            tool, arguments = self._early.popleft()
            _BUILT_IN[tool.name](self, tool, arguments)

    @property
    def _caller_speaks(self) -> bool:
        """Whether he surely does: what is on trial may be a cough, and if not, `interrupted` comes."""
        call = self._call
        return call.session.caller_speaking and not call.floor.barge_in.is_undecided

    @property
    def _is_leaving(self) -> bool:
        return self._after.waits(HANG_UP, TRANSFER)

    def _may_leave(self) -> bool:
        return not self._webhooks.is_busy

    # Built in

    def _hang_up(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        if self.is_handing_over or self._after.waits(TRANSFER):
            self._answer(tool, {"error": "a transfer is under way"})
            return
        if self._caller_speaks:
            self._answer(tool, {"error": "the caller speaks: not hung up"}, respond=False)
            return
        self._answer(tool, {"status": "the call ends when the caller has heard you"}, respond=False)
        if not self._is_leaving:
            end = self._call.end
            self._after.wait(Deed(tool.call_id, HANG_UP, lambda: end(EndReason.AGENT_HUNG_UP), may=self._may_leave))

    def _hand_over(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        self._transfer.use(tool, arguments, caller_speaks=self._caller_speaks)

    def _send_digits(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        digits = arguments["digits"].replace(" ", "")
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

    def _hold(self, tool: ev.ToolCall, arguments: dict[str, Any]) -> None:
        if self._is_leaving or self.is_handing_over:
            self._answer(tool, {"error": "the end of the call, or a transfer, is under way"})
        elif self._caller_speaks:
            self._answer(tool, {"error": "the caller speaks: not on hold"}, respond=False)
        else:
            # Answered at once: some services let nobody speak while a tool has no result.
            self._answer(tool, {"status": "the caller hears music until you speak"}, respond=False)
            self._waiting.hold(int(arguments.get("seconds", HOLD_S)))

    # The answer

    def _unknown(self, tool: ev.ToolCall) -> None:
        name = tool.name if _NAME.match(tool.name) else "of this name"
        log.warning("tool.unknown", tool=name)
        self._note("unknown")
        self._answer(tool, {"error": f"there is no tool {name}"})

    def _note(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _answer(self, tool: ev.ToolCall, output: dict[str, Any], *, respond: bool = True) -> None:
        """Tell the model. With the farewell said it is not asked for more words."""
        self._call.session.tool_result(tool.call_id, output, respond=respond and not self._is_leaving)
        self.heard()


_BUILT_IN: Mapping[str, Callable[[CallTools, ev.ToolCall, dict[str, Any]], None]] = {
    HANG_UP: CallTools._hang_up,
    TRANSFER: CallTools._hand_over,
    SEND_DIGITS: CallTools._send_digits,
    READ_DIGITS: CallTools._read_digits,
    HOLD: CallTools._hold,
}
