"""What can be wrong with a message: errors that carry the SIP answer they deserve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request

PHRASES = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}

_CLASSES = {1: "Progress", 2: "OK", 3: "Redirected", 4: "Request Failure", 5: "Server Failure"}


def phrase_for(status: int) -> str:
    """The reason phrase of a status code (RFC 3261 section 21), or that of its class."""
    return PHRASES.get(status) or _CLASSES.get(status // 100, "Global Failure")


class SipError(ValueError):
    """A message, a header or a description that cannot be served.

    `status` and `phrase` are the answer it deserves, `headers` what that answer must carry.
    `reason` is one word for a counter, used when no answer can be sent. `request` is the part that
    was understood, when that is enough to answer; None otherwise.
    """

    def __init__(
        self,
        status: int,
        phrase: str | None = None,
        *,
        reason: str = "malformed",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.status = status
        self.phrase = phrase or phrase_for(status)
        self.reason = reason
        self.headers = tuple(headers)
        self.request: Request | None = None
        super().__init__(f"{status} {self.phrase}")


def malformed(what: str) -> SipError:
    """400 with a phrase that says what is wrong."""
    return SipError(400, what)
