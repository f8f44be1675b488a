"""Cuts a text that is still being written into what can be spoken by itself: sentences, and a short beginning."""

from __future__ import annotations

import re

MAX_CHARS = 280
"""Of one piece. A longer sentence is cut at a clause, or between two words."""
FIRST_CHARS = 24
"""From here on the first piece may end at a comma, so that the voice can begin."""

_STOP = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+|\n")
_CLAUSE = re.compile(r"[,;:–—](?=\s)|[，；：]")
_NEXT = re.compile(r"\s+(\S)")
_WORD = re.compile(r"(\S+)\.\Z")
_ABBREVIATIONS = frozenset(
    (
        # English, German, and what is common in French, Spanish and Italian.
        *("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "nos", "approx", "dept", "inc"),
        *("ltd", "co", "corp", "mt", "rd", "ave", "blvd", "tel", "ext", "a.m", "p.m", "hr", "fr", "hrn", "nr", "bzw"),
        *("ca", "usw", "z.b", "d.h", "u.a", "evtl", "ggf", "inkl", "zzgl", "str", "sog", "bspw", "mme", "mlle", "av"),
        *("env", "sra", "srta", "ud", "uds", "ing", "dott", "sig"),
    )
)
_MARKS = re.compile(r"\*+|`+|~~+|__+|^\s*#+\s|^\s*[-•]\s|^\s*>\s", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^()\s]*\)")


class Sentences:
    """Text in, pieces out; the pieces join to the same text. What is held back is at most a piece long."""

    def __init__(self) -> None:
        self._text = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """The pieces that are complete."""
        self._text += text
        pieces = []
        while (end := self._end()) is not None:
            pieces.append(self._text[:end])
            self._text = self._text[end:]
            self._first = False
        return pieces

    def finish(self) -> list[str]:
        """The rest; afterwards as if new."""
        rest, self._text, self._first = self._text, "", True
        return [rest] if rest else []

    def _end(self) -> int | None:
        """Where the piece at the beginning ends; None: not yet."""
        text = self._text
        blank = len(text) - len(text.lstrip())
        ends = [self._sentence_end(blank)]
        if self._first:
            ends.append(next((found.end() for found in _CLAUSE.finditer(text, blank + FIRST_CHARS)), None))
        end = min((each for each in ends if each is not None), default=None)
        if end is not None and end <= MAX_CHARS:
            return end
        return self._forced_end() if len(text) > MAX_CHARS else None

    def _sentence_end(self, begin: int) -> int | None:
        text = self._text
        for stop in _STOP.finditer(text, begin):
            if stop[0] == "\n" or stop[0][0] in "。！？":
                return stop.end()
            following = _NEXT.match(text, stop.end())
            if following is None:
                return None
            if not following[1].islower() and not _goes_on(text[begin : stop.end()]):
                return stop.end()
        return None

    def _forced_end(self) -> int:
        text = self._text[:MAX_CHARS]
        clauses = [found.end() for found in _CLAUSE.finditer(text) if found.end() > MAX_CHARS // 3]
        if clauses:
            return clauses[-1]
        blank = text.rstrip().rfind(" ")
        return blank if blank > 0 else MAX_CHARS


def speakable(piece: str) -> str:
    """What the voice is given: without the marks of Markdown; empty when there is nothing to pronounce."""
    text = _MARKS.sub("", _LINK.sub(r"\1", piece)).strip()
    return text if re.search(r"\w", text) else ""


def _goes_on(text: str) -> bool:
    """Whether the full stop at the end belongs to an abbreviation, an initial or an ordinal number."""
    word = _WORD.search(text)
    if word is None:
        return False
    bare = word[1].lstrip("\"'“‘«([")
    if bare.isdigit():
        return len(bare) <= 2
    return (len(bare) == 1 and bare.isalpha() and bare not in ("I", "i")) or bare.lower() in _ABBREVIATIONS
