"""A 2xx to an INVITE, repeated until its ACK comes (RFC 3261 section 13.3.1.4)."""

from __future__ import annotations

from collections.abc import Callable

from .alarms import Alarm
from .core import Core
from .layer import Exchange
from .message import Request, Response
from .transaction import State


def _nothing(*_: object) -> None:
    """Whoever answered knows the end."""


class Acceptance:
    """Sends a 2xx, repeats it at T1 doubling to T2, gives up after 64*T1.

    The ACK is known by Call-ID, CSeq number and From tag: some phones invent its To tag or keep the
    branch of the INVITE. `on_ack` is called once with the ACK, or `on_timeout` without.
    """

    def __init__(
        self,
        core: Core,
        exchange: Exchange,
        response: Response,
        on_ack: Callable[[Request], None],
        on_timeout: Callable[[], None],
    ) -> None:
        self._core = core
        self._exchange = exchange
        self._response = response
        self._on_ack = on_ack
        self._on_timeout = on_timeout
        self._interval = core.timers.t1
        self._acknowledged = False
        self._repeat: Alarm | None = None
        request = exchange.machine.request
        self._key = request.call_id, request.cseq.number, request.from_.tag

    def begin(self) -> None:
        """Send the 2xx for the first time."""
        core = self._core
        core.acceptances[self._key] = self
        self._exchange.on_message = self.acknowledge  # type: ignore[assignment]  # only ACKs come here
        # Before the transaction's own timer L, which would take the last chance to give up in order.
        core.after(core.timers.life, self._expire)
        self._exchange.respond(self._response)
        self._repeat = core.alarms.at(core.clock() + self._interval, self._again)

    @property
    def pending(self) -> bool:
        """Whether the ACK is still to come."""
        return not self._acknowledged

    def acknowledge(self, ack: Request) -> None:
        """The ACK came; those after the first are repeats."""
        if self._acknowledged:
            self._core.stats.retransmissions_received += 1
            return
        self._acknowledged = True
        self.stop()
        on_ack, _ = self._leave()
        on_ack(ack)

    def _again(self) -> None:
        if self._exchange.state is State.ACCEPTED:
            self._exchange.respond(self._response)
        self._interval = min(2 * self._interval, self._core.timers.t2)
        self._repeat = self._core.alarms.at(self._core.clock() + self._interval, self._again)

    def _expire(self) -> None:
        self.stop()
        if self._core.acceptances.get(self._key) is self:
            del self._core.acceptances[self._key]
        if not self._acknowledged:
            self._acknowledged = True
            _, on_timeout = self._leave()
            on_timeout()

    def _leave(self) -> tuple[Callable[[Request], None], Callable[[], None]]:
        """Whom the end is told, once: one of the two. From here they are not kept."""
        told = self._on_ack, self._on_timeout
        self._on_ack = self._on_timeout = _nothing
        return told

    def stop(self) -> None:
        """Repeat no more."""
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
