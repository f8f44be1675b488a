"""Both ends of REGISTER against each other: our registration, the real core, our registrar."""

from __future__ import annotations

from random import Random

from bridge.sip.binding import Binding
from bridge.sip.digest import Credentials
from bridge.sip.errors import SipError
from bridge.sip.layer import Path
from bridge.sip.message import Request
from bridge.sip.registrar import Registrar
from bridge.sip.registration import Registration
from bridge.sip.uri import Uri

from .stack import OURS, PEER, Stack, Wire

SERVERS = (Uri.parse("sip:dead.example"), Uri.parse("sip:192.0.2.1"))


class Line:
    """A stack that registers, and the registrar at the other end of the wire."""

    def __init__(self, password: str = "secret") -> None:
        self.stack = Stack()
        self.registrar = Registrar("bridge", {"600": "secret"}, lambda: self.stack.now)
        binding = Binding(SERVERS, Uri.parse("sip:600@bridge.example"), (Credentials("600", password),))
        self.registration = Registration(self.stack.core, binding, Random(5))
        self.registration.start()

    def serve(self) -> int:
        """Answer all that was sent, and what follows from the answers; how many requests that were."""
        self.stack.advance(0.0)
        served = 0
        while requests := self.stack.take():
            for request in requests:
                assert isinstance(request, Request)
                served += 1
                answer = self.registrar.receive(request, Path(Wire(), PEER), (OURS, 5060))
                if isinstance(answer, SipError):
                    answer = request.response(answer.status, answer.phrase, tag="r", headers=answer.headers)
                self.stack.receive(bytes(answer))
            self.stack.advance(0.0)
        return served

    def next(self) -> int:
        """Serve what comes with the next alarm."""
        when = self.stack.alarms.next_deadline
        assert when is not None
        self.stack.advance(when - self.stack.now)
        return self.serve()

    @property
    def state(self) -> str:
        return self.registration.state.value


def test_a_binding_is_made_kept_and_taken_back() -> None:
    line = Line()
    assert line.serve() == 2, "a challenge and its answer, after a server that nobody knows"
    assert line.state == "registered"
    ((uri, _),) = line.registrar.lookup("600")
    assert (uri.user, uri.host) == ("600", OURS)
    asked = []
    for _ in range(40):
        asked.append(line.next())
        assert line.registrar.lookup("600"), "never a gap"
    assert set(asked) - {0} == {1, 2}, "one nonce serves more than one refresh, and is replaced when it is stale"
    line.registration.close()
    assert line.serve() <= 2
    assert line.registrar.lookup("600") == []
    assert line.state == "gone"
    line.stack.advance(40.0)
    assert line.stack.empty


def test_a_wrong_password_ends_after_one_try() -> None:
    line = Line("guess")
    assert line.serve() == 2
    assert line.state == "refused"
    line.stack.advance(599.0)
    assert line.serve() == 0
    line.stack.advance(1.0)
    assert line.serve() == 2


def test_a_registrar_that_says_nothing_is_left_for_a_while() -> None:
    line = Line()
    line.stack.advance(32.0)
    assert line.state == "backing_off"
    assert line.registration.last_status is None
    line.stack.take()
    line.stack.advance(2.0)
    assert line.serve() >= 1
    assert line.state == "registered"
