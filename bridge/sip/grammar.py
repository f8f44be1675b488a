"""Pieces of the SIP grammar that several headers share (RFC 3261 section 25)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .errors import malformed

Parameters = tuple[tuple[str, str | None], ...]
"""Parameters in their order: lower-case name, value as received (None when there is no `=`)."""

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")
_PARAMETER = re.compile(
    r"\s*(?P<name>[A-Za-z0-9\-.!%*_+`'~\[\]/:&$]+)"
    r"(?:\s*=\s*(?P<value>\"(?:[^\"\\]|\\.)*\"|[^\s\";,<>=]*))?\s*\Z",
    re.DOTALL,
)
_PIECE = re.compile(r"[^\"\\<>,;]+|\\.?|.", re.DOTALL)
_PROTECTS = re.compile(r"[\"\\<>]")


def is_token(text: str) -> bool:
    """Whether `text` is a token: a method, an option tag, a header name."""
    return TOKEN.match(text) is not None


def split(text: str, separator: str) -> list[str]:
    """Cut at `separator` (`,` or `;`) outside quotes and angle brackets; pieces are stripped.

    Raises SipError when a quote or a bracket stays open.
    """
    if _PROTECTS.search(text) is None:  # as most
        return [piece.strip() for piece in text.split(separator)]
    return [text[start:end].strip() for start, end in spans(text, separator)]


def spans(text: str, separator: str) -> Iterator[tuple[int, int]]:
    """Where the pieces of `split` begin and end in `text`."""
    start = 0
    quoted = bracketed = False
    for piece in _PIECE.finditer(text):
        mark = piece.group()
        if mark == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif mark == "<":
            bracketed = True
        elif mark == ">":
            bracketed = False
        elif mark == separator and not bracketed:
            yield start, piece.start()
            start = piece.end()
    if quoted:
        raise malformed("Unterminated quoted string")
    if bracketed:
        raise malformed("Unterminated angle bracket")
    yield start, len(text)


def parse_parameters(pieces: list[str], where: str) -> Parameters:
    """Read `name` and `name=value` pieces; `where` names the header in the error's phrase."""
    parameters = []
    for piece in pieces:
        match = _PARAMETER.match(piece)
        if match is None:
            raise malformed(f"Malformed parameter in {where}")
        parameters.append((match["name"].lower(), match["value"]))
    return tuple(parameters)


def parameter(parameters: Parameters, name: str) -> str | None:
    """Value of the first parameter of that name; "" when it has none, None when it is absent."""
    for key, value in parameters:
        if key == name:
            return value or ""
    return None


def unquote_string(text: str) -> str:
    """A quoted-string without its quotes and backslashes; anything else unchanged."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def quote_string(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_number(text: str, what: str, limit: int) -> int:
    """Digits up to `limit`; SipError 400 "Malformed <what>" for anything else."""
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > limit:
        raise malformed(f"Malformed {what}")
    return int(text)
