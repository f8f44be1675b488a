"""Our side of a scenario: a user agent on one port for UDP and TCP, and what happens to its calls."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bridge.sip.invitation import Invitation
from bridge.sip.outgoing import Failure, OutgoingCall
from bridge.sip.sdp import SessionDescription
from bridge.sip.ua import ListenAddress, UserAgent
from tests.phones.processes import free_signalling_port
from tests.sip.phone import HOST, Answering


class Clock:
    """The clock of one user agent, which a test may put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def skip(self, service: UserAgent, seconds: float) -> None:
        """Let `seconds` pass at once: what is due by then happens."""
        self._ahead += seconds
        service._tick()


@asynccontextmanager
async def serving(application: Answering | None = None, *, host: str = HOST, **more: Any) -> AsyncIterator[UserAgent]:
    """A user agent with an application that takes every call, unless told otherwise."""
    application = application or Answering()
    port = free_signalling_port()
    service = UserAgent(
        listen=[ListenAddress("udp", host, port), ListenAddress("tcp", host, port)],
        on_invite=application.invited,
        **more,
    )
    await service.start()
    try:
        yield service
    finally:
        await service.close()


def described(application: Answering, call: Invitation) -> bytes:
    """The application's description for a call."""
    reply = application.describe(call.offer)
    assert isinstance(reply, bytes)
    return reply


def when_confirmed(application: Answering, act: Callable[[Invitation], None]) -> None:
    """Make the application answer each call and do something when its ACK comes."""

    def take(call: Invitation) -> None:
        call.on_confirmed = lambda description: act(call)
        call.answer(described(application, call))

    application.take = take


class Story:
    """What a call of ours tells, in its order."""

    def __init__(self, call: OutgoingCall) -> None:
        self.heard: list[object] = []
        self.answer: SessionDescription | None = None
        call.on_ringing = self.heard.append
        call.on_early_media = lambda description: self.heard.append("early media")
        call.on_answered = self._answered
        call.on_failed = self._failed
        call.on_ended = self.heard.append
        self._call = call

    def _answered(self, description: SessionDescription | None) -> None:
        self.answer = description
        self.heard.append("answered")
        self.then(self._call)

    def _failed(self, failure: Failure) -> None:
        self.heard.append((failure.status, failure.word))

    def then(self, call: OutgoingCall) -> None:
        """What to do once it is answered; a test puts its own here."""
        call.hang_up()

    @property
    def over(self) -> bool:
        """Whether the last word is said."""
        last = self.heard[-1] if self.heard else None
        return isinstance(last, tuple) or (isinstance(last, str) and last not in ("answered", "early media"))
