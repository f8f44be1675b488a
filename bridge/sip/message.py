"""Requests and responses (RFC 3261 sections 7, 8.2.6, 18.3 and 20)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from .address import Address
from .errors import SipError, malformed, phrase_for
from .grammar import is_token, parse_number, spans, split
from .headers import HeaderLine, Headers, key_of, printable
from .remembered import remembered
from .uri import Uri
from .via import Via, stamp

VERSION = "SIP/2.0"
MAX_LINES = 200
"""Header lines in one message; more are a flood, not a call. The first of them are enough to answer 513."""

_SINGLE = {
    key_of(name): name for name in ("Call-ID", "CSeq", "From", "To", "Content-Length", "Max-Forwards", "Content-Type")
}
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n")
_LINE_END = re.compile(r"\r\n|\n")
_STATUS_LINE = re.compile(r"(SIP/\d+\.\d+) ([1-6]\d\d)(?: (.*))?\Z", re.IGNORECASE)
_WORD = re.compile(r"[!-~]+\Z")
_VERSION = re.compile(r"SIP/\d+\.\d+\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CSeq:
    """Number and method of a CSeq header (RFC 3261 section 20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        return _cseq(text)


@remembered
def _cseq(text: str) -> CSeq:
    words = text.split()
    if len(words) != 2 or not is_token(words[1]):
        raise malformed("Malformed CSeq")
    return CSeq(parse_number(words[0], "CSeq", 2**31 - 1), words[1])


@dataclass(frozen=True, slots=True)
class Message:
    """What requests and responses share: header lines as they came, and a body in bytes."""

    lines: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of the first header of that name, unfolded; None when absent."""
        return self.lines.first(name)

    def headers(self, name: str) -> list[str]:
        """All values of a header that is a comma-separated list."""
        return self.lines.values(name)

    def required(self, name: str) -> str:
        """Value of a header that must be there; SipError 400 "Missing <name>" otherwise."""
        value = self.header(name)
        if not value:
            raise SipError(400, f"Missing {name}", reason=f"missing_{name.lower()}")
        return value

    @property
    def via(self) -> Via:
        """The topmost Via."""
        values = self.headers("Via")
        if not values:
            raise SipError(400, "Missing Via", reason="missing_via")
        return Via.parse(values[0])

    @property
    def from_(self) -> Address:
        return Address.parse(self.required("From"), "From")

    @property
    def to(self) -> Address:
        return Address.parse(self.required("To"), "To")

    @property
    def call_id(self) -> str:
        value = self.required("Call-ID")
        if not _WORD.match(value):
            raise malformed("Malformed Call-ID")
        return value

    @property
    def cseq(self) -> CSeq:
        return CSeq.parse(self.required("CSeq"))

    @property
    def contact(self) -> Address | None:
        """The first Contact; None when there is none or it is `*`."""
        values = self.headers("Contact")
        return Address.parse(values[0], "Contact") if values and values[0] != "*" else None

    def check(self) -> None:
        """Raise SipError 400 for a header without which nothing works, absent or malformed."""
        keys = [line.key for line in self.lines]
        for key, name in _SINGLE.items():
            if keys.count(key) > 1:
                raise malformed(f"Repeated {name}")
        if not all(piece for value in self.headers("Via") for piece in split(value, ";")):
            raise malformed("Malformed Via")
        _ = self.via, self.from_, self.to, self.call_id, self.cseq

    def _encode(self, start: str) -> bytes:
        kept = (line.raw for line in self.lines if line.key != "content-length")
        lines = [start, *kept, f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True, slots=True)
class Request(Message):
    """A request; `uri` is the Request-URI."""

    method: str
    uri: Uri

    def __bytes__(self) -> bytes:
        return self._encode(f"{self.method} {self.uri} {VERSION}")

    def check(self) -> None:
        """Raise SipError 400 when the request cannot be processed at all."""
        Message.check(self)
        if self.cseq.method != self.method:
            raise malformed("CSeq does not match the method")
        _ = self.max_forwards
        if self.method == "INVITE" and self.contact is None:
            raise SipError(400, "Missing Contact", reason="missing_contact")

    @property
    def max_forwards(self) -> int | None:
        """Hops left; None when the header is absent, as in old implementations."""
        value = self.header("Max-Forwards")
        return None if value is None else parse_number(value, "Max-Forwards", 255)

    def stamped(self, source: tuple[str, int]) -> Request:
        """This request with received and rport in its topmost Via (RFC 3261 18.2.1, RFC 3581); SipError without one."""
        lines = list(self.lines)
        index = next((index for index, line in enumerate(lines) if line.key == "via"), None)
        if index is None:
            raise SipError(400, "Missing Via", reason="missing_via")
        name, _, value = lines[index].raw.partition(":")
        end = next(iter(spans(value, ",")))[1]
        lines[index] = HeaderLine.parse(f"{name}:{stamp(value[:end].rstrip(), source)}{value[end:]}")
        return replace(self, lines=Headers(lines))

    def response(
        self,
        status: int,
        phrase: str | None = None,
        *,
        tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        """An answer that echoes what must be echoed, byte for byte (RFC 3261 section 8.2.6.2).

        `tag` is added to a To that has none yet; 100 goes without.
        """
        echoed = [line for line in self.lines if line.key in _ECHOED]
        if status == 100:
            echoed += self.lines.lines("Timestamp")
        elif tag is not None:
            echoed = [_tagged(line, tag) if line.key == "to" else line for line in echoed]
        if self.method == "INVITE" and 100 < status < 300:
            echoed += self.lines.lines("Record-Route")
        made = Headers.make(headers)
        return Response(Headers((*echoed, *made)), body, status, phrase or phrase_for(status))


@dataclass(frozen=True, slots=True)
class Response(Message):
    """A response."""

    status: int
    phrase: str

    def __bytes__(self) -> bytes:
        return self._encode(f"{VERSION} {self.status} {self.phrase}")


_ECHOED = frozenset(("via", "from", "to", "call-id", "cseq"))


def _tagged(line: HeaderLine, tag: str) -> HeaderLine:
    try:
        present = Address.parse(line.value).tag
    except SipError:
        present = None
    return line if present else HeaderLine.parse(f"{line.raw.rstrip()};tag={tag}")


def parse(data: bytes) -> Request | Response:
    """Read one datagram (RFC 3261 section 18.3: what is longer than Content-Length is cut).

    SipError says what is wrong. Its `request` is set when enough was understood to answer,
    otherwise the datagram can only be dropped, counted under its `reason`.
    """
    data = data.lstrip(b"\r\n")
    end = _HEAD_END.search(data)
    head = data[: end.start()] if end else data.rstrip(b"\r\n")
    body = data[end.end() :] if end else None
    start, *lines = _unfolded_lines(head.decode("utf-8", "surrogateescape"))
    status = _STATUS_LINE.match(start)
    if status is not None:
        return _parse_response(status, lines, body)
    return _parse_request(start, lines, body)


def _too_many() -> SipError:
    return SipError(513, "Too many headers", reason="too_many_headers")


def _unfolded_lines(head: str) -> list[str]:
    """The start line and the header lines, one more than there may be at most: the others are worth nothing."""
    lines: list[list[str]] = []
    for line in _LINE_END.split(head):
        if line[:1] in (" ", "\t") and len(lines) > 1:
            lines[-1].append(line)
        elif len(lines) <= MAX_LINES + 1:
            lines.append([line])
        else:
            break
    return ["\r\n".join(pieces) for pieces in lines]


def _parse_response(status: re.Match[str], lines: list[str], body: bytes | None) -> Response:
    if status[1].upper() != VERSION:
        raise SipError(505, reason="version")
    if len(lines) > MAX_LINES:
        raise _too_many()
    headers = _headers(lines)
    response = Response(headers, _cut(headers, body), int(status[2]), printable(status[3] or ""))
    response.check()
    return response


def _parse_request(start: str, lines: list[str], body: bytes | None) -> Request:
    method, _, rest = start.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not is_token(method) or not _VERSION.match(version):
        raise _no_request_line(start, lines)
    try:
        if len(lines) > MAX_LINES:
            raise _too_many()
        if version.upper() != VERSION:
            raise SipError(505, reason="version")
        headers = _headers(lines)
        request = Request(headers, _cut(headers, body), method, _request_uri(target))
        request.check()
    except SipError as error:
        error.request = Request(_readable(lines), b"", method, Uri(target, ""))
        raise
    return request


def _no_request_line(start: str, lines: list[str]) -> SipError:
    words = start.split()
    if len(words) < 3 or not is_token(words[0]) or not _VERSION.match(words[-1]):
        return SipError(400, reason="not_sip")
    # Odd spaces and nothing worse: a peer who can be told.
    error = malformed("Malformed request line")
    error.request = Request(_readable(lines), b"", words[0], Uri(" ".join(words[1:-1]), ""))
    return error


def _request_uri(target: str) -> Uri:
    try:
        return Uri.parse(target)
    except SipError as error:
        raise malformed("Malformed Request-URI") from error


def _headers(lines: list[str]) -> Headers:
    return Headers(HeaderLine.parse(line) for line in lines)


def _readable(lines: list[str]) -> Headers:
    """What an answer can be made of."""
    readable = []
    for line in lines[:MAX_LINES]:
        with suppress(SipError):
            readable.append(HeaderLine.parse(line))
    return Headers(readable)


def _cut(headers: Headers, body: bytes | None) -> bytes:
    if body is None:
        raise malformed("Missing end of headers")
    declared = headers.first("Content-Length")
    if declared is None:
        return body
    length = parse_number(declared, "Content-Length", 2**31)
    if length > len(body):
        raise SipError(400, "Body shorter than Content-Length", reason="short_body")
    return body[:length]
