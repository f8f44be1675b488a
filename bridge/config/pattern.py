"""Patterns of routes: `*` and `?`, or a regular expression between slashes.

The operator writes them, strangers write what they are held against. So a regular expression must not be one that a
chosen text makes slow: repeated groups, look-around and back-references are refused, and of the rest the worst case is
counted beforehand (`cost`): the product of all choices a backtracking matcher has on a subject of `MAX_SUBJECT`
characters. A longer subject fits no regular expression.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from dataclasses import dataclass

MAX_SUBJECT = 128
"""Characters of a number, an address or a header that a regular expression looks at."""
MAX_COST = MAX_SUBJECT**3
"""Some milliseconds at the very worst: two repeats without an end, three behind `^`."""
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[^:]|\(\?:|\(|\)|\||[*+?]|\{\d*,?\d*\}|.", re.DOTALL)
_ANCHORED = re.compile(r"(?:\(\?i\))?(?:\^|\\A)")
_COUNTED = re.compile(r"\{(\d*)(,?)(\d*)\}\Z")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; `text` is as it was written."""

    text: str
    compiled: re.Pattern[str]
    is_expression: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Compile it. ValueError says what is wrong with it."""
        if text.startswith("/") and (len(text) < 2 or not text.endswith("/")):
            rest = text[1:] or "600"
            raise ValueError(
                f"an expression has a slash at its end too: write /{rest}/; a text with a slash is [/]{rest}"
            )
        if not text.startswith("/"):
            return cls(text, re.compile(fnmatch.translate(text)), False)
        expression = text[1:-1]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)
                compiled = re.compile(expression)
        except FutureWarning:
            raise ValueError("[[ and [a--b] will change their meaning: put \\ before what is meant as it is") from None
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if cost(expression) > MAX_COST:
            raise ValueError("may take too long: use fewer repeats, or begin it with ^")
        return cls(text, compiled, True)

    def fits(self, subject: str) -> bool:
        """Whether all of `subject` fits (wildcards), or something in it (an expression, unless it has ^ and $)."""
        if self.is_expression:
            return len(subject) <= MAX_SUBJECT and self.compiled.search(subject) is not None
        return self.compiled.match(subject) is not None


def cost(expression: str) -> int:
    """An upper bound of the ways a matcher may try. ValueError for what cannot be bounded."""
    groups = [[1]]
    """Of each open group its alternatives, of each alternative the ways."""
    previous = ""
    for token in _TOKEN.findall(expression.removeprefix("(?i)")):
        _refuse(token)
        repeat = bool(previous) and (token in ("*", "+", "?") or _COUNTED.match(token) is not None)
        if repeat:
            groups[-1][-1] *= _repeats(token, previous)
        elif token == "|":
            groups[-1].append(1)
        elif token in ("(", "(?:"):
            groups.append([1])
        elif token == ")" and len(groups) > 1:
            ways = sum(groups.pop())
            groups[-1][-1] *= ways
        previous = "repeat" if repeat else token
    anchored = _ANCHORED.match(expression) is not None and len(groups[0]) == 1
    return sum(groups[0]) * (1 if anchored else MAX_SUBJECT)


def _refuse(token: str) -> None:
    if re.match(r"\\[1-9]", token):
        raise ValueError("a back-reference cannot be used here")
    if token.startswith("(?") and token != "(?:":
        raise ValueError(f"{token}...) cannot be used here: only groups and (?:...)")


def _repeats(token: str, previous: str) -> int:
    """In how many ways a repeat can end."""
    if token == "?":
        return 2  # also the lazy mark of a repeat: too careful, never too bold
    if previous == ")":
        raise ValueError(f"a repeated group, as in (...){token}, cannot be used here")
    if previous == "repeat":
        raise ValueError(f"a repeat of a repeat, {token}, cannot be used here")
    counted = _COUNTED.match(token)
    if counted is None or (counted[2] and not counted[3]):
        return MAX_SUBJECT
    least, most = int(counted[1] or 0), int(counted[3] or counted[1] or 0)
    return max(1, min(most, MAX_SUBJECT) - least + 1)
