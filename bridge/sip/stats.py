"""Counts of one user agent: plain numbers that somebody else publishes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class SipStats:
    """What came, what went, what was dropped. Requests of unknown methods count as "other"."""

    received: dict[str, int] = field(default_factory=dict)
    """Requests by method, retransmissions included."""
    responses: dict[int, int] = field(default_factory=dict)
    """Responses received, by status."""
    answers: dict[int, int] = field(default_factory=dict)
    """Responses sent, by status, without repeats."""
    sent: dict[str, int] = field(default_factory=dict)
    """Requests sent, by method, without repeats."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Datagrams dropped without an answer, by reason."""
    retransmissions_received: int = 0
    retransmissions_sent: int = 0
    keepalives: int = 0
    transport_errors: int = 0
    transactions: int = 0
    """Transactions alive now."""
    calls: int = 0
    """Calls and call attempts alive now."""

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def receive(self, method: str) -> None:
        self.received[method] = self.received.get(method, 0) + 1

    def respond(self, status: int) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1

    def response(self, status: int) -> None:
        self.responses[status] = self.responses.get(status, 0) + 1

    def request(self, method: str) -> None:
        self.sent[method] = self.sent.get(method, 0) + 1
