"""Why a call ended or never began: the Reason header, and one word for each cause (RFC 3326, Q.850)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import SipError, malformed
from .grammar import is_token, parameter, parse_number, parse_parameters, quote_string, split, unquote_string
from .headers import printable
from .message import Message

Word = Literal[
    "busy",
    "no_answer",
    "rejected",
    "unreachable",
    "not_found",
    "gone",
    "no_common_codec",
    "forbidden",
    "timeout",
    "cancelled",
    "network",
    "overloaded",
    "unknown",
]
WORDS: tuple[Word, ...] = get_args(Word)

MAX_REASONS = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Reason:
    """One value of a Reason header: `protocol` in upper case, cause None and text "" when absent."""

    protocol: str
    cause: int | None = None
    text: str = ""

    def __str__(self) -> str:
        cause = f";cause={self.cause}" if self.cause is not None else ""
        shown = _CONTROL.sub(" ", printable(self.text))
        return f"{self.protocol}{cause}" + (f";text={quote_string(shown)}" if shown else "")

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Read `Q.850;cause=16;text="Normal"`; SipError 400 otherwise."""
        protocol, *rest = split(text, ";")
        if not is_token(protocol):
            raise malformed("Malformed Reason")
        parameters = parse_parameters(rest, "Reason")
        cause = parameter(parameters, "cause")
        return cls(
            protocol.upper(),
            None if cause is None else parse_number(cause, "Reason", 999),
            unquote_string(parameter(parameters, "text") or ""),
        )


def reasons_in(message: Message) -> list[Reason]:
    """The Reason values of a message, at most 8. Never raises: malformed ones are left out, they are only advice."""
    found: list[Reason] = []
    for line in message.lines.lines("Reason"):
        with suppress(SipError):
            for value in split(line.value, ",")[:MAX_REASONS]:
                with suppress(SipError):
                    found.append(Reason.parse(value))
    return found[:MAX_REASONS]


_BY_STATUS: dict[int, Word] = {
    401: "forbidden",
    402: "forbidden",
    403: "forbidden",
    404: "not_found",
    406: "no_common_codec",
    407: "forbidden",
    408: "timeout",
    410: "gone",
    415: "no_common_codec",
    416: "not_found",
    430: "unreachable",
    433: "rejected",
    436: "forbidden",
    437: "forbidden",
    438: "forbidden",
    480: "unreachable",
    482: "network",
    483: "network",
    484: "not_found",
    485: "not_found",
    486: "busy",
    487: "cancelled",
    488: "no_common_codec",
    503: "overloaded",
    504: "timeout",
    600: "busy",
    604: "not_found",
    606: "no_common_codec",
}
_BY_CLASS: dict[int, Word] = {3: "unreachable", 5: "network", 6: "rejected"}

_BY_Q850: dict[int, Word] = {
    1: "not_found",
    2: "unreachable",
    3: "unreachable",
    17: "busy",
    18: "no_answer",
    19: "no_answer",
    20: "unreachable",
    21: "rejected",
    22: "gone",
    27: "unreachable",
    28: "not_found",
    29: "rejected",
    34: "overloaded",
    38: "network",
    41: "network",
    42: "overloaded",
    44: "overloaded",
    47: "overloaded",
    52: "forbidden",
    53: "forbidden",
    54: "forbidden",
    55: "forbidden",
    57: "forbidden",
    58: "no_common_codec",
    65: "no_common_codec",
    79: "network",
    87: "forbidden",
    88: "no_common_codec",
    102: "timeout",
    111: "network",
}
"""Causes that say something; 16, 31 and 127 are what gateways send when they have nothing to say."""


def word_for(status: int, reasons: Iterable[Reason] = (), *, rang: bool = False) -> Word:
    """One word for an outgoing call that the far end refused with `status`.

    The status decides, but for 480 and 5xx: gateways press many causes into those, and a Q.850 cause says which.
    `rang` tells that the far end rang before: then 408 and 480 mean that nobody picked up.
    """
    if status == 480 or 500 <= status < 600:
        causes = (reason.cause for reason in reasons if reason.protocol == "Q.850" and reason.cause is not None)
        for cause in causes:
            if cause in _BY_Q850:
                return _BY_Q850[cause]
    if rang and status in (408, 480):
        return "no_answer"
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, "unknown")
