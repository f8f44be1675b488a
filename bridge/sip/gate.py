"""Who decides whether a request of a stranger is worth anything: asked before anything is spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .errors import SipError
from .message import Request


@dataclass(frozen=True, slots=True)
class Admitted:
    """Go on: the trunk the request came on ("" for none), and the user when a password has shown who it is."""

    trunk: str
    user: str = ""
    trusted: bool = False
    """Whether the trunk's own network sent it, so that what it says of the caller's identity is believed (RFC 3325)."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Neither an answer nor a trace but a count under `reason`: scanners learn nothing."""

    reason: str


Verdict = Admitted | SipError | Silence
"""A SipError is answered without keeping anything; it carries the reason's word and its headers."""


class Gate(Protocol):
    """Judges each request that would begin something new: outside a dialog, and no repeat."""

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        """What to do with a request of `source` (host and port) that came over `transport` ("UDP", "TCP", "TLS")."""

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        """Hear that the registrar refused what the gate had let in; the refusal as it shall be answered."""

    def answers(self, host: str) -> bool:
        """Whether a malformed message of this host deserves an answer."""


class OpenGate:
    """Lets everybody in: for user agents that only call out, and for tests."""

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        """Go on."""
        return Admitted("")

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        """As it is."""
        return error

    def answers(self, host: str) -> bool:
        """Yes."""
        return True
