"""Where one message ends and the next begins on a stream (RFC 3261 sections 7.5 and 18.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import SipError, malformed
from .grammar import parse_number

MAX_HEAD = 64 * 1024
"""Bytes of start line and headers, the empty line included."""
MAX_BODY = 64 * 1024
PING = b"\r\n\r\n"
PONG = b"\r\n"

# The same line ends as in message.parse: what it reads as one message must be one here.
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n")
_SPLIT_END = 3  # bytes of an end of head that the segment before may have brought
_EMPTY_LINES = re.compile(rb"[\r\n]*")
_CONTENT_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Pings that came between messages: each wants one CRLF as its answer (RFC 5626 section 4.4.1)."""

    pings: int


class FramingError(SipError):
    """The stream cannot be cut into messages any more: answer if possible, then close it.

    `head` is what came of the message that is at fault, from its start line on, never its body.
    """

    def __init__(self, error: SipError, head: bytes) -> None:
        super().__init__(error.status, error.phrase, reason=error.reason)
        self.head = head


class Framer:
    """Cuts one stream into messages. Bytes in, whole messages out; it keeps at most one unfinished message.

    A head of more than `max_head` bytes is refused with 513, a body of more than `max_body` with 413, a
    message without a proper Content-Length with 400 (RFC 3261 section 20.14).
    """

    def __init__(self, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        self.partial = False
        """Whether a message has begun that is not whole; it holds once all whole ones are taken."""
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._searched = 0
        self._end: int | None = None  # of the message at the front; None until its head is whole
        self._half_ping = b""
        self._error: FramingError | None = None  # never raised itself: it would keep the frames that it came through

    def feed(self, data: bytes) -> Iterator[bytes | KeepAlive]:
        """Take bytes of the stream; gives the messages and keep-alives that are whole now, in their order.

        They may be taken one by one, with more bytes fed in between. FramingError is raised after all that
        was whole, and again from then on: nothing comes after it.
        """
        if self._error is None:
            self._buffer += data
        return iter(self._next, None)

    def _next(self) -> bytes | KeepAlive | None:
        if self._error is not None:
            raise FramingError(self._error, self._error.head)
        if not self.partial:
            pings = self._skip_empty_lines()
            if pings:
                return KeepAlive(pings)
        if self.partial and self._end is None:
            self._end = self._find_end()
        if self._end is None or len(self._buffer) < self._end:
            return None
        return self._cut(self._end)

    def _skip_empty_lines(self) -> int:
        """Drop CR and LF before a start line; gives the number of pings that are complete now."""
        match = _EMPTY_LINES.match(self._buffer)
        lines = match.group() if match else b""
        del self._buffer[: len(lines)]
        self.partial = bool(self._buffer)
        *pings, rest = (self._half_ping + lines).split(PING)
        self._half_ping = b"" if self.partial else _beginning(rest)
        return len(pings)

    def _find_end(self) -> int | None:
        """Where the message at the front ends, its body included; None until that is known."""
        match = _HEAD_END.search(self._buffer, max(0, self._searched - _SPLIT_END), self._max_head)
        if match is not None:
            head = bytes(self._buffer[: match.end()])
            try:
                return match.end() + _body_length(head, self._max_body)
            except SipError as error:
                raise self._fail(error, head) from None
        self._searched = len(self._buffer)
        if self._searched >= self._max_head:
            too_large = SipError(513, "Message Too Large", reason="head_too_large")
            raise self._fail(too_large, bytes(self._buffer[: self._max_head]))
        return None

    def _cut(self, end: int) -> bytes:
        message = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._end = None
        self._searched = 0
        self.partial = False
        return message

    def _fail(self, error: SipError, head: bytes) -> FramingError:
        self._error = FramingError(error, head)
        self._buffer.clear()
        self.partial = False
        return FramingError(error, head)


def _beginning(rest: bytes) -> bytes:
    """The longest end of `rest` with which a ping may begin."""
    return next(PING[:size] for size in (3, 2, 1, 0) if rest.endswith(PING[:size]))


def _body_length(head: bytes, limit: int) -> int:
    """Content-Length of a whole head in bytes; SipError 400 when it is unusable, 413 over the limit."""
    values = [found[1] for found in _CONTENT_LENGTH.finditer(head, head.find(b"\n") + 1)]
    if not values:
        raise SipError(400, "Missing Content-Length", reason="missing_content-length")
    if len(values) > 1:
        raise malformed("Repeated Content-Length")
    text = _FOLD.sub(b" ", values[0].removesuffix(b"\r")).strip(b" \t")
    length = parse_number(text.decode("latin-1"), "Content-Length", 2**64)
    if length > limit:
        raise SipError(413, "Request Entity Too Large", reason="body_too_large")
    return length
