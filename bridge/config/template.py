"""Texts with variables: `{caller}` in an agent's instructions becomes the caller's number.

Deliberately not `str.format`: no attribute, no index, no conversion can be reached. A variable is one of `NAMES`, or
`{header[X-Customer]}` for a header the trunk takes over. `{{` and `}}` stand for one brace each. Any other `{` is a
fault, found when the configuration is read and not in the middle of a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator

OF_THE_MOMENT = ("time", "date", "weekday", "language")
NAMES = ("caller", "caller_name", "called", "diverted_from", "trunk", "agent", *OF_THE_MOMENT)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PIECE = re.compile(r"\{\{|\}\}|\{(?:(\w+)(?:\[([^\[\]{}\s]+)\])?\})?")


@dataclass(frozen=True, slots=True)
class Template:
    """A text and the keys of its variables, each spelt as `Template.parse` found it."""

    text: str
    keys: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Find the variables. ValueError names one that does not exist, or a brace that begins none."""
        return cls(text, frozenset(key for match in _PIECE.finditer(text) if (key := _key(match, text))))

    @property
    def headers(self) -> frozenset[str]:
        """The headers it uses, in lower case."""
        return frozenset(key[len("header[") : -1] for key in self.keys if key.startswith("header["))

    def render(self, values: Mapping[str, str]) -> str:
        """The text with its variables filled in; what `values` lacks is empty. Values are never read again."""
        folded = {name.lower(): value for name, value in values.items()}

        def fill(match: re.Match[str]) -> str:
            return match[0][0] if _brace(match) else folded.get(_key(match, self.text), "")

        return _PIECE.sub(fill, self.text)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not available_timezones():
            raise ValueError("this machine knows no time zones: install its package tzdata") from None
        raise ValueError("there is no such time zone: write it as Europe/Berlin or UTC") from None
    return name


Timezone = Annotated[str, AfterValidator(_zone)]
"""A name of the IANA's list, for example Europe/Berlin."""


def moment(now: datetime, timezone: str | None, language: str | None) -> dict[str, str]:
    """The variables of a call that begins `now` (with a zone): 09:05, 2026-11-27, Friday; None: the machine's zone.

    They stand as they are whatever the language: any model reads them.
    """
    local = now.astimezone(ZoneInfo(timezone) if timezone is not None else None)
    values = (f"{local:%H:%M}", f"{local:%Y-%m-%d}", _WEEKDAYS[local.weekday()], language or "")
    return dict(zip(OF_THE_MOMENT, values, strict=True))


def _brace(match: re.Match[str]) -> bool:
    return match[0] in ("{{", "}}")


def _key(match: re.Match[str], text: str) -> str:
    """The variable a match stands for, "" for a doubled brace."""
    if _brace(match):
        return ""
    name, index = match[1], match[2]
    if name == "header" and index:
        return f"header[{index.lower()}]"
    if name in NAMES and not index:
        return str(name)
    if name is None:
        excerpt = text[match.start() : match.start() + 20].splitlines()[0]
        raise ValueError(f"{excerpt!r}: write {{{{ for a brace that begins no variable")
    known = ", ".join(f"{{{known}}}" for known in NAMES)
    raise ValueError(f"there is no variable {match[0]}: there are {known} and {{header[X-Name]}}; {{{{ is a brace")
