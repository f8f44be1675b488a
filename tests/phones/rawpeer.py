"""A phone made of strings that can be called, transferred and asked to transfer: what it does stands in its fields."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from tests.phones.rawphone import _LAWS, CallError, Message, RawPhone

Steps = Sequence[tuple[float, str]]
"""What to say, each after so many seconds."""

ANSWERS: Steps = ((0, "180 Ringing"), (0.1, "200 OK"))
REPORTS: Steps = ((0, "100 Trying"), (0.1, "200 OK"))


class RawPeer(RawPhone):
    """A `RawPhone` that also takes a call, and REFER, as its fields say."""

    def __init__(self, *, user: str = "desk", law: str = "PCMU", answers: Steps = ANSWERS) -> None:
        super().__init__(user=user, law=law)
        self.answers = answers
        """To an INVITE. A 183 and a 2xx carry our description."""
        self.refer = "202 Accepted"
        self.reports: Steps = REPORTS
        """The NOTIFYs after a REFER that we accepted; the first final one ends them."""
        self.hangs_up_when_referred = False
        """BYE at once after the 202, as impatient phones do."""
        self.challenges = False
        """Whether an INVITE without credentials gets a 401."""
        self.refuses: dict[str, str] = {}
        """Method of a request in the call → the status it gets."""
        self.answer_sdp = ""
        """Another description than `sdp()` for our answers."""
        self._taken: set[str] = set()
        self._invited: Message | None = None  # while it rings here
        self._tasks: set[asyncio.Task[None]] = set()

    def requests(self, method: str) -> list[Message]:
        """The requests of one method that came, repeats left out."""
        found = [message for message in self.messages if not message.status and message.method == method]
        return list({message.header("Via"): message for message in found}.values())

    async def got(self, method: str, count: int = 1, within: float = 10) -> Message:
        """Wait for the count-th request of a method."""
        try:
            async with asyncio.timeout(within):
                while len(self.requests(method)) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise CallError(f"no {method} in {within} s: {[message.start for message in self.messages]}") from None
        return self.requests(method)[count - 1]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        super().close()

    def response(self, request: Message, status: str, body: str = "") -> bytes:
        answer = super().response(request, status, body)
        to = request.header("To")
        return answer if ";tag=" in to else answer.replace(f"To: {to}".encode(), self._tagged(to), 1)

    def _tagged(self, to: str) -> bytes:
        return f"To: {to};tag={self.from_tag}".encode()

    def _answer(self, request: Message, source: tuple[str, int]) -> None:
        known = request.header("Call-ID") == self.call_id and ";tag=" in request.header("To")
        if request.method in self.refuses and known:
            self.send_raw(self.response(request, self.refuses[request.method]), source)
        elif request.method == "INVITE" and not known:
            self._ring(request, source)
        elif request.method == "CANCEL":
            self._cancelled(request, source)
        elif request.method == "REFER":
            self._referred(request, source)
        else:
            super()._answer(request, source)

    def _ring(self, invite: Message, source: tuple[str, int]) -> None:
        if invite.header("Via") in self._taken:
            return
        self._taken.add(invite.header("Via"))
        if self.challenges and not invite.header("Authorization"):
            challenge = 'WWW-Authenticate: Digest realm="desk", nonce="n0", qop="auth", algorithm=MD5\r\nContent-Length'
            refusal = self.response(invite, "401 Unauthorized").replace(b"Content-Length", challenge.encode(), 1)
            self.send_raw(refusal, source)
            return
        self._new_call()
        self.call_id, self.to_header = invite.header("Call-ID"), invite.header("From")
        self._learn(invite)
        self.wire.payload_type = _LAWS[self.law]
        self._invited = invite
        self._begin(self._take(invite, source))

    async def _take(self, invite: Message, source: tuple[str, int]) -> None:
        for delay_s, status in self.answers:
            await asyncio.sleep(delay_s)
            if self._invited is not invite:
                return
            body = (self.answer_sdp or self.sdp()) if status[0] == "2" or status.startswith("183") else ""
            self.send_raw(self.response(invite, status, body), source)
        self._invited = None if self.answers and self.answers[-1][1] >= "2" else invite

    def _cancelled(self, cancel: Message, source: tuple[str, int]) -> None:
        self.send_raw(self.response(cancel, "200 OK"), source)
        if self._invited is not None:
            self.send_raw(self.response(self._invited, "487 Request Terminated"), source)
            self._invited = None

    def _referred(self, refer: Message, source: tuple[str, int]) -> None:
        if not self.refer:
            return
        self.send_raw(self.response(refer, self.refer), source)
        if self.refer[0] == "2" and refer.header("Via") not in self._taken:
            self._taken.add(refer.header("Via"))
            self._begin(self._report())

    async def _report(self) -> None:
        if self.hangs_up_when_referred:
            await self.bye()
            return
        for delay_s, status in self.reports:
            await asyncio.sleep(delay_s)
            await self.notify(status)

    async def notify(self, status: str) -> Message:
        """Tell how a transfer goes; a final status ends the subscription."""
        state = "active;expires=60" if status[0] == "1" else "terminated;reason=noresource"
        return await self.in_dialog(
            "NOTIFY",
            headers=["Event: refer", f"Subscription-State: {state}"],
            body=f"SIP/2.0 {status}\r\n",
            content_type="message/sipfrag;version=2.0",
        )

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    """The far end may be gone before we are through: that is the test's affair."""
    try:
        await work
    except (CallError, RuntimeError):
        return
