"""A call made of wood: what the tools do to it is kept, what happens in it is said by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson
from pydantic import TypeAdapter

from bridge.call_tools import CallTools
from bridge.config.tools import Tools, Webhook
from bridge.realtime.events import ToolCall
from bridge.records import Counts, EndReason, Origin
from bridge.sip.uri import Uri
from bridge.tools.offered import Offered
from bridge.tools.reply import Reply
from bridge.tools.request import Request
from bridge.tools.webhook import Webhooks
from bridge.transfer.targets import Targets
from tests.transfer.wooden import Party, Second

ALL = ("hang_up", "transfer", "send_digits", "read_digits", "hold")


def own(name: str = "lookup", parameters: dict[str, Any] | None = None, **webhook: Any) -> dict[str, Any]:
    """A tool of the application, as a file has it."""
    known = {"type": "function", "name": name, "webhook": {"url": "https://app.example/tools"} | webhook}
    return known if parameters is None else known | {"parameters": parameters}


def tools(*written: Any) -> Tools:
    """Tools as the configuration reads them."""
    return TypeAdapter(Tools).validate_python(list(written))


class Comfort:
    """Sounds of wood. `told` is what it was asked for."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_on = False

    @property
    def is_playing(self) -> bool:
        return self.is_on

    def start(self, kind: str) -> None:
        self.told.append(kind)
        self.is_on = True

    def stop(self) -> None:
        self.told.append("stop")
        self.is_on = False


class WoodenWebhooks(Webhooks):
    """Webhooks that answer when they are told to: `asked` has the uses, by tool or call id, that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self._answers: dict[str, asyncio.Future[Reply]] = {}
        self.running = 0
        self.most = 0

    async def ask(self, webhook: Webhook, request: Request) -> Reply:
        told = orjson.loads(request.body)
        self.asked.append(told)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answers.setdefault(told["call_id"], asyncio.get_running_loop().create_future())
        finally:
            self.running -= 1

    def answer(self, call_id: str, reply: Reply | Exception) -> None:
        future = self._answers[call_id]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def done(self, call_id: str, **output: Any) -> None:
        self.answer(call_id, Reply("ok", output or {"status": "done"}, 200))


class Call:
    """What the tools use of a call. `answers` are the results the model got: (call id, output, respond)."""

    def __init__(self, method: str = "auto", offered: Sequence[Any] = ALL) -> None:
        self.leg = Party()
        self.own_phones: list[str] = []
        self.base = Uri.parse("sip:pbx.example")
        self.former: list[Any] = []
        self.answered_at: float | None = 1.0
        self.counts = Counts()
        self.origin = Origin("pbx", "", 1, "+4930", "Ada", "600", "200", {"X-Customer": "77"})
        self.answers: list[tuple[str, dict[str, Any], bool]] = []
        self.instructed: list[str] = []
        self.floor = SimpleNamespace(barge_in=SimpleNamespace(is_undecided=False))
        self.session = SimpleNamespace(
            response_active=False,
            caller_speaking=False,
            is_away=False,
            tool_result=self._told,
            instruct=self.instructed.append,
        )
        self.webhooks = WoodenWebhooks()
        self.means = SimpleNamespace(webhooks=self.webhooks)
        targets = Targets({"desk": "sip:desk@pbx.example"})
        self.profile = SimpleNamespace(
            name="front",
            targets=targets,
            transfer=SimpleNamespace(method=method, timeout_s=5),
            offered=Offered(tools(*offered), targets.names),
        )
        self.succession = SimpleNamespace(is_pending=False)
        self.heard: list[str] = []
        self.hearing = SimpleNamespace(open=lambda: self.heard.append("open"), close=lambda: self.heard.append("close"))
        self.ends: list[EndReason] = []
        self.joined: list[Any] = []
        self.second = Second()
        self.refuses: Exception | None = None
        self.comfort = Comfort()
        self.busy: list[bool] = []
        self.attendance = SimpleNamespace(tools=self.busy.append)
        self.keys = SimpleNamespace(read=lambda wanted, give: give({"status": "complete", "digits": "12"}))
        self.tools = CallTools(self)  # type: ignore[arg-type]

    def _told(self, call_id: str, output: dict[str, Any], *, respond: bool = True) -> None:
        self.answers.append((call_id, output, respond))

    def is_own_phone(self, target: Uri) -> bool:
        return str(target) in self.own_phones

    def end(self, reason: EndReason) -> None:
        self.ends.append(reason)

    def join(self, other: Any) -> None:
        self.joined.append(other)

    def dial(self, target: Uri, timeout_s: float) -> Second:
        if self.refuses is not None:
            raise self.refuses
        return self.second

    def use(self, name: str, arguments: str = "{}", call_id: str = "c1") -> Call:
        self.tools.use(ToolCall(call_id, name, arguments))
        return self

    def transfer(self, call_id: str = "c1") -> Call:
        return self.use("transfer", '{"target": "desk"}', call_id)

    async def settle(self) -> Call:
        for _ in range(10):
            await asyncio.sleep(0.001)
        return self
