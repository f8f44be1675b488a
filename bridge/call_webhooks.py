"""The webhooks that the model of one call uses: side by side, each answered once, or not at all when nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from bridge.after_speech import AfterSpeech, Deed
from bridge.call_waiting import Waiting
from bridge.config.tools import Webhook
from bridge.realtime import events as ev
from bridge.realtime.options import Json
from bridge.tools.reply import Reply
from bridge.tools.request import Request, about
from bridge.tools.webhook import Webhooks

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

AT_ONCE = 8
"""Requests of one call that run side by side; more wait for one of them."""
MOST = 32
"""Uses that run or wait; more are refused."""
_ADVICE = {
    "unreachable": "look at the tool's url, its name and its certificate",
    "broken": "look at the service behind the tool's url",
    "timeout": "raise the tool's timeout_s, or answer sooner",
    "http_error": "look at the log of the service behind the tool's url",
    "redirected": "write the address it is redirected to as the tool's url",
    "unreadable": "let the service answer with JSON or plain text in UTF-8",
}


@dataclass(slots=True, eq=False)
class _Use:
    """One use of a tool, from the model's call to its answer."""

    tool: ev.ToolCall
    webhook: Webhook
    request: Request
    task: asyncio.Task[None] | None = None  # while it runs
    kept: asyncio.Task[Reply] | None = None  # while it runs, of one that outlives its call


class CallWebhooks:
    """The webhooks of one call.

    `answer(tool, output, respond=...)` tells the model, `note(outcome)` counts.
    """

    def __init__(
        self,
        call: Call,
        after: AfterSpeech,
        waiting: Waiting,
        *,
        answer: Callable[..., None],
        note: Callable[[str], None],
    ) -> None:
        self._call = call
        self._after = after
        self._waiting = waiting
        self._answer = answer
        self._note = note
        self._name = call.leg.call_id  # another leg may take its place
        self._webhooks: Webhooks = call.means.webhooks
        self._uses: dict[str, _Use] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that would be broken off with the call."""
        return any(not use.webhook.after_call for use in self._uses.values())

    def use(self, tool: ev.ToolCall, webhook: Webhook, arguments: Json, *, caller_speaks: bool) -> None:
        """The model wants it; the arguments fit."""
        if tool.call_id in self._uses:
            return  # told twice (quirk F1)
        if len(self._uses) >= MOST:
            self._note("too_many")
            self._answer(tool, {"error": "too many tools at once"})
            return
        call = self._call
        known = about(self._name, call.profile.name, call.origin.variables(), webhook.send)
        use = _Use(tool, webhook, Request.of(tool.name, tool.call_id, arguments, known))
        self._uses[tool.call_id] = use
        if webhook.when == "now":
            self._begin(use)
        elif caller_speaks:
            self._unheard(use)
        else:
            do, unheard = (lambda: self._begin(use)), (lambda: self._unheard(use))
            self._after.wait(Deed(tool.call_id, tool.name, do, unheard))

    def cancelled(self, call_id: str) -> None:
        """The service wants no result any more: the request is broken off, and nothing is answered.

        What waits for the last word is dropped by whoever holds `after`.
        """
        use = self._uses.pop(call_id, None)
        if use is not None:
            self._break_off(use)
            if use.kept is not None:
                use.kept.cancel()
            self._note("cancelled")

    def close(self) -> None:
        """The call is over: what is not to finish after it is broken off."""
        uses, self._uses = self._uses, {}
        for use in uses.values():
            self._break_off(use)
            if use.webhook.after_call:
                self._webhooks.count_late(use.kept or self._webhooks.keep(self._ask(use)))
            else:
                self._note("cancelled")
        self._answer = self._note = _nothing

    def _break_off(self, use: _Use) -> None:
        self._waiting.done(use.tool.call_id)
        if use.task is not None:
            use.task.cancel()

    def _unheard(self, use: _Use) -> None:
        del self._uses[use.tool.call_id]
        self._note("interrupted")
        self._answer(use.tool, {"error": "the caller spoke: not done"}, respond=False)

    def _begin(self, use: _Use) -> None:
        if use.webhook.after_call:
            use.kept = self._webhooks.keep(self._ask(use))
        if use.webhook.filler is not None:
            self._waiting.slow(use.tool.call_id, use.webhook.filler)
        use.task = asyncio.create_task(self._run(use))
        use.task.add_done_callback(lambda task: self._ended(use, task))

    async def _run(self, use: _Use) -> None:
        reply = await (self._ask(use) if use.kept is None else asyncio.shield(use.kept))
        self._finish(use, reply)

    async def _ask(self, use: _Use) -> Reply:
        async with self._free:
            reply = await self._webhooks.ask(use.webhook, use.request)
        seen = {"status": reply.status or None, "fault": reply.fault or None, "advice": _ADVICE.get(reply.outcome)}
        known = {name: value for name, value in seen.items() if value is not None}
        write = log.info if reply.outcome == "ok" else log.warning
        write("tool.answered", tool=use.tool.name, outcome=reply.outcome, **known)
        return reply

    def _finish(self, use: _Use, reply: Reply) -> None:
        del self._uses[use.tool.call_id]
        self._waiting.done(use.tool.call_id)
        self._note(reply.outcome)
        self._answer(use.tool, reply.output)

    def _ended(self, use: _Use, task: asyncio.Task[None]) -> None:
        """A fault of ours must not leave the model without an answer."""
        use.task = use.kept = None  # a task that was cancelled keeps its frames, and these keep the use
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("tool.failed", tool=use.tool.name, exc_info=error)
        if self._uses.get(use.tool.call_id) is use:
            self._finish(use, Reply("failed", {"error": "the tool has failed"}))


def _nothing(*_: object, **__: object) -> None:
    """The call is over: nobody wants to know."""
