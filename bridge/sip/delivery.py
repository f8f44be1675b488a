"""One request of ours, whatever it takes: found a server for, tried there and elsewhere, authenticated.

RFC 3263 section 4.3 says when the next server is tried, RFC 3261 section 22 how a challenge is answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .headers import Headers
from .layer import Exchange, Path
from .message import Request, Response
from .transaction import State
from .uri import Uri

if TYPE_CHECKING:
    from .core import Core
    from .digest import Authenticator

_DELTA = re.compile(r"\d{1,9}")

CHALLENGES_ANSWERED = 3
"""For one request: one of a proxy, one of the server, and one of them once more for a stale nonce."""
PENALTY_S = 30.0
"""How long a server that failed is tried last, in seconds, unless it names a time itself."""

_WAITING = (State.CALLING, State.TRYING, State.PROCEEDING)


class Delivery:
    """Sends a request and sees to its answer.

    `make(path)` builds the request for each try and must take a new branch and a new CSeq. `on_response` gets
    provisional answers and one final answer; never a challenge that can be answered, nor a 503 while another
    server is left. `on_failure` gets "timeout", "transport_error", or "unreachable" when there is no way at all.
    """

    def __init__(
        self,
        core: Core,
        make: Callable[[Path], Request],
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
        authenticator: Authenticator | None = None,
    ) -> None:
        self.exchange: Exchange | None = None
        """The client transaction of the latest try; None before the first, and when none is known to come."""
        self._core = core
        self._make = make
        self._on_response = on_response
        self._on_failure = on_failure
        self._authenticator = authenticator
        self._paths: list[Path] = []
        self._tries = 0
        self._challenges = CHALLENGES_ANSWERED
        self._flow: Path | None = None
        """The connection or hole that is tried first; None when there is none, or when it has failed."""
        self._hop: Uri | None = None
        self._prefer: Path | None = None
        self._insists = True
        self._abandoned = False

    @property
    def request(self) -> Request | None:
        """The request as it was sent last."""
        return None if self.exchange is None else self.exchange.machine.request

    @property
    def is_waiting(self) -> bool:
        """Whether a try is out and has no final answer yet."""
        return self.exchange is not None and self.exchange.state in _WAITING

    def begin(self, hop: Uri, prefer: Path | None, flow: Path | None) -> None:
        """Find the servers and send; over `flow`, a connection that stands, without asking anybody."""
        self._hop, self._prefer, self._flow = hop, prefer, flow
        if flow is not None:
            self._paths = [flow]
            self._send()
        else:
            self._locate()

    def settle(self) -> None:
        """Take the outcome of the try that is out, whatever it is; without one nobody is called back any more."""
        self._insists = False
        # An INVITE that was accepted has more to tell: each repeat of its 2xx needs an ACK.
        accepted = self.exchange is not None and self.exchange.state is State.ACCEPTED
        if not self.is_waiting and not accepted:
            self.abandon()

    def abandon(self) -> None:
        """Call nobody back any more, and try no further."""
        self._abandoned = True
        self._make, self._on_response, self._on_failure = _never, _nothing, _nothing

    def _ended(self, exchange: Exchange) -> None:
        """A transaction is over, and with the last one everything; whoever asked for it is not kept any longer."""
        if exchange is self.exchange:
            self.abandon()

    def _locate(self) -> None:
        assert self._hop is not None
        self._core.locate(self._hop, self._prefer, self._located)

    def _located(self, paths: list[Path]) -> None:
        if self._abandoned:
            return
        self._paths = paths
        if paths:
            self._send()
        else:
            # From the loop, so that nobody hears of a failure inside a call of his own.
            self._core.after(0, lambda: self._give_up("unreachable"))

    def _send(self) -> None:
        path = self._paths[0]
        request = self._make(path)
        if self._authenticator is not None:
            proof = self._authenticator.authorize(request.method, str(request.uri), request.body)
            request = replace(request, lines=Headers((*request.lines, *Headers.make(proof))))
        self._tries += 1
        failed = partial(self._failed, self._tries)
        self.exchange = self._core.layer.request(request, path, self._responded, failed)
        self.exchange.on_over = self._ended

    def _responded(self, response: Response) -> None:
        if self._abandoned:
            return
        if self._insists and self._tried_again(response):
            return
        if response.status >= 200:
            self._tries += 1  # what the transaction still has to tell is of no use
        self._on_response(response)

    def _tried_again(self, response: Response) -> bool:
        if response.status in (401, 407):
            return self._proved(response)
        return response.status == 503 and self._next(_seconds(response))

    def _proved(self, response: Response) -> bool:
        """Answer a challenge; False when there is nothing to answer it with."""
        if self._authenticator is None or not self._challenges:
            return False
        self._challenges -= 1
        if not self._authenticator.challenged(response, self.request):
            return False
        self._send()
        return True

    def _failed(self, number: int, reason: str) -> None:
        # A try may still fail after its answer: when the ACK of a refusal cannot be sent.
        if self._abandoned or number != self._tries:
            return
        if self._insists and (self._left_flow(reason) or self._next(PENALTY_S)):
            return
        self._give_up(reason)

    def _left_flow(self, reason: str) -> bool:
        """The connection that stood has gone: find the servers after all. Over UDP silence is the answer."""
        flow, self._flow = self._flow, None
        if flow is None or (reason == "timeout" and not flow.transport.reliable):
            return False
        self.exchange = None
        self._locate()
        return True

    def _next(self, penalty_s: float) -> bool:
        """Try the next server; False when there is none."""
        path, *self._paths = self._paths
        self._core.punish(path, penalty_s)
        if self._paths:
            self._send()
        return bool(self._paths)

    def _give_up(self, reason: str) -> None:
        if not self._abandoned:
            on_failure = self._on_failure
            self.abandon()
            on_failure(reason)


def _never(path: Path) -> Request:
    raise AssertionError("nothing is sent any more")


def _nothing(*_: object) -> None:
    """Nobody is told any more."""


def _seconds(response: Response) -> float:
    """What Retry-After asks for (RFC 3261 section 20.33), an hour at most."""
    match = _DELTA.match(response.header("Retry-After") or "")
    return min(float(match[0]), 3600.0) if match else PENALTY_S
