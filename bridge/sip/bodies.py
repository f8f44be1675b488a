"""The session description in a message's body, also among several parts (RFC 5621, RFC 2046 section 5.1)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import SipError, malformed
from .grammar import split, unquote_string
from .headers import HeaderLine, Headers
from .message import Message
from .sdp import SessionDescription

SDP = "application/sdp"
ACCEPT = f"{SDP}, multipart/mixed, multipart/alternative"
"""What we take in a body, as a 415 and the answer to OPTIONS say it."""
MAX_PARTS = 16
"""In one message, those of nested bodies included."""
MAX_DEPTH = 3
MAX_PART_HEADERS = 32

_BOUNDARY = re.compile(r"[ -~]{0,69}[!-~]\Z")
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n")
_NEWLINE = re.compile(rb"\r?\n")
_UNCHANGED = ("7bit", "8bit", "binary")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body that is not itself a multipart one; a body that is not multipart is its own only part.

    `kind` is its type in lower case without parameters. `handling` is "required" or "optional" as the part says it,
    "required" when it names a disposition and no handling (RFC 3261 section 20.11), None when it says nothing at all.
    `alternative` means that others may stand for it.
    """

    kind: str
    disposition: str
    handling: str | None
    encoding: str
    alternative: bool
    body: bytes


def description_in(message: Message) -> SessionDescription | None:
    """The SDP that a message carries; None when there is none or it cannot be read."""
    try:
        return offered(message)
    except SipError:
        return None


def offered(message: Message) -> SessionDescription | None:
    """The SDP that a message carries; None without a body, or when its body is none that had to be understood.

    SipError 400 for what is malformed, 415 for what is required and not understood. A part of a type that is unknown
    here is required only when it says so: phones that mean it do, the others send what we may pass over.
    """
    if not message.body:
        return None
    encoding = (message.header("Content-Encoding") or "identity").lower()
    if encoding != "identity":
        raise SipError(415, headers=(("Accept-Encoding", "identity"),))
    found = parts(message)
    whole = len(found) == 1 and found[0].body is message.body
    descriptions = [part for part in found if _is_description(part)]
    for part in found:
        must = part.handling == "required" or (whole and part.handling is None)
        if part.kind != SDP and must and not (part.alternative and descriptions):
            raise _unsupported()
    if not descriptions:
        return None
    # Of alternatives the last is the best (RFC 2046 section 5.1.4), else the first of its kind counts.
    best = descriptions[-1] if descriptions[0].alternative else descriptions[0]
    return SessionDescription.parse(_plain(best))


def parts(message: Message) -> list[Part]:
    """All parts of a message's body, in their order; SipError 400 when it cannot be taken apart."""
    if message.header("Content-Type") is None:
        raise malformed("Missing Content-Type")
    found: list[Part] = []
    for part in _parts(message.lines, message.body, 0, False):
        found.append(part)
        if len(found) > MAX_PARTS:
            raise malformed("Too many body parts")
    return found


def _parts(headers: Headers, body: bytes, depth: int, alternative: bool) -> Iterator[Part]:
    # A part that does not say what it is, is text (RFC 2046 section 5.2).
    kind, parameters = _value(headers.first("Content-Type") or "text/plain")
    if not kind.startswith("multipart/"):
        yield _part(kind, headers, body, alternative)
        return
    if depth == MAX_DEPTH:
        raise malformed("Multipart bodies in multipart bodies")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.match(boundary):
        raise malformed("Malformed boundary")
    for piece in _pieces(body, boundary.encode()):
        inner, content = _split(piece)
        yield from _parts(inner, content, depth + 1, alternative or kind == "multipart/alternative")


def _part(kind: str, headers: Headers, body: bytes, alternative: bool) -> Part:
    disposition, parameters = _value(headers.first("Content-Disposition") or "")
    handling = parameters.get("handling", "required" if disposition else "").lower() or None
    encoding = (headers.first("Content-Transfer-Encoding") or "binary").strip().lower()
    return Part(kind, disposition, handling, encoding, alternative, body)


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the delimiters; the line break before a delimiter is a part of it."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(?P<last>--)?[ \t]*(?=\r?\n|\Z)")
    start: int | None = None
    for match in delimiter.finditer(body):
        if start is not None:
            yield _NEWLINE.sub(b"", body[start : match.start()], count=1)
        start = match.end()
        if match["last"]:
            return
    if start is None:
        raise malformed("Body without its boundary")
    # The last delimiter is missing: what came is there all the same, as Content-Length says.
    yield _NEWLINE.sub(b"", body[start:], count=1)


def _split(piece: bytes) -> tuple[Headers, bytes]:
    """Headers and content of a part; it may have no headers, then an empty line comes first."""
    if (empty := _NEWLINE.match(piece)) is not None:
        return Headers(), piece[empty.end() :]
    end = _HEAD_END.search(piece)
    head, content = (piece, b"") if end is None else (piece[: end.start()], piece[end.end() :])
    text = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    lines = re.split(r"\n(?![ \t])", text) if text else []
    if len(lines) > MAX_PART_HEADERS:
        raise malformed("Too many headers in a body part")
    return Headers(HeaderLine.parse(line.replace("\n", "\r\n")) for line in lines), content


def _value(text: str) -> tuple[str, dict[str, str]]:
    """First word in lower case, and the parameters; values may hold a `=` without quotes, as boundaries do."""
    first, *pieces = split(text, ";")
    parameters: dict[str, str] = {}
    for piece in pieces:
        name, _, value = piece.partition("=")
        parameters.setdefault(name.strip().lower(), unquote_string(value.strip()))
    return first.strip().lower(), parameters


def _is_description(part: Part) -> bool:
    return part.kind == SDP and part.disposition in ("", "session")


def _plain(part: Part) -> bytes:
    if part.encoding in _UNCHANGED:
        return part.body
    if part.encoding != "base64":
        raise _unsupported()
    try:
        return base64.b64decode(b"".join(part.body.split()), validate=True)
    except binascii.Error:
        raise malformed("Malformed base64") from None


def _unsupported() -> SipError:
    return SipError(415, headers=(("Accept", ACCEPT),))
