"""A call that stands, whoever began it, and what changes of it told."""

from __future__ import annotations

from collections.abc import Callable

from bridge.sip.message import Request, Response
from bridge.sip.session import Session

from .stack import ANSWER, OFFER, Stack, confirmed, inside, reply, request, talking

MOVED = ANSWER.replace(b"5000", b"5002")
MOVED_AGAIN = ANSWER.replace(b"5000", b"5004")
METHODS = ("INVITE", "UPDATE")


class Call:
    """Our side of it, and words for what the peer does."""

    def __init__(self, *, ours: bool = False, extra: str = "") -> None:
        self.stack = stack = Stack()
        self.results: list[tuple[int, int | None]] = []
        self.session: Session
        if ours:
            self.session, asked = talking(stack, extra)
            self.ask: Callable[..., str] = lambda method, **changes: inside(asked, method, **changes)
        else:
            self.session, tag = confirmed(stack, extra=extra)
            self.ask = lambda method, **changes: request(method, **{"to_tag": tag, **changes})
        self.session.on_ended = stack.ended.append
        self.session.on_offer = lambda offer: ANSWER
        self.tag = self.session.dialog.remote_tag

    def change(self, method: str, sdp: bytes = MOVED) -> None:
        make = self.session.reinvite if method == "INVITE" else self.session.update
        make(sdp, lambda status, answer: self.results.append((status, answer and answer.media[0].port)))

    def asked(self, method: str) -> Request:
        return self.stack.request(method)

    def waited(self) -> Request:
        """What goes out next, in the very moment that it does."""
        until = self.stack.now + 10.0
        while not self.stack.peers():
            assert self.stack.now < until
            self.stack.advance(0.01)
        (message,) = self.stack.take()
        assert isinstance(message, Request)
        return message

    def answered(self, to: Request, status: int, **more: str) -> list[int | str]:
        """Let the peer answer; what goes out then."""
        self.stack.receive(reply(to, status, tag=self.tag, **more))
        return self.stack.statuses()

    def offered(self, method: str, cseq: int, *, body: str = OFFER, **changes: object) -> Response:
        """Let the peer offer; our answer."""
        self.stack.receive(self.ask(method, cseq=cseq, branch=f"z9hG4bKoffer{cseq}", body=body, **changes))
        return self.stack.answer()

    def acked(self, cseq: int, body: str = "") -> None:
        self.stack.receive(self.ask("ACK", cseq=cseq, branch=f"z9hG4bKack{cseq}", body=body))


def acks(method: str) -> list[int | str]:
    return ["ACK"] if method == "INVITE" else []
