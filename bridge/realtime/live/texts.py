"""How long a text may be for OpenAI Live, and how a longer one is cut: 500 tokens an append (reference sections 4, 14).

How the service counts tokens is not published. The working rule: three letters of Latin script are a token, of any
other script each byte is one, so that 500 tokens are 1,500 letters or 500 bytes of Chinese.
"""

from __future__ import annotations

import re

APPEND_TOKENS = 500
_LETTERS_PER_TOKEN = 3
_LATIN_ENDS = 0x250
_MORE = "…"
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(r"\s+")


def tokens(text: str) -> int:
    """The most tokens that a text may count, rounded up."""
    return -(-_weight(text) // _LETTERS_PER_TOKEN)


def pieces(text: str, most: int = APPEND_TOKENS) -> list[str]:
    """A text in pieces of `most` tokens: cut between sentences, else between words, else where it must be.

    Only white space at the cuts is left out. No piece is empty; a text of nothing else gives no piece.
    """
    return _cut(text.strip(), most, (_SENTENCE, _WORD))


def shortened(text: str, most: int) -> str:
    """The beginning of a text, `most` tokens of it, with a sign that more followed."""
    return text if tokens(text) <= most else _split_at_weight(text, most - tokens(_MORE))[0] + _MORE


def _weight(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(1 if ord(letter) < _LATIN_ENDS else _LETTERS_PER_TOKEN * len(letter.encode()) for letter in text)


def _cut(text: str, most: int, borders: tuple[re.Pattern[str], ...]) -> list[str]:
    if not text:
        return []
    if tokens(text) <= most:
        return [text]
    if not borders:
        head, rest = _split_at_weight(text, most)
        return [head, *_cut(rest, most, ())]
    found: list[str] = []
    for part, gap in _parts(text, borders[0]):
        if found and tokens(joined := found[-1] + gap + part) <= most:
            found[-1] = joined
        else:
            found += _cut(part, most, borders[1:])
    return found


def _parts(text: str, border: re.Pattern[str]) -> list[tuple[str, str]]:
    """What stands between the borders, each part with the border before it."""
    found, at, gap = [], 0, ""
    for match in border.finditer(text):
        found.append((text[at : match.start()], gap))
        at, gap = match.end(), match[0]
    found.append((text[at:], gap))
    return [(part, gap) for part, gap in found if part]


def _split_at_weight(text: str, most: int) -> tuple[str, str]:
    weight = 0
    for index, letter in enumerate(text):
        weight += _weight(letter)
        if weight > most * _LETTERS_PER_TOKEN and index:
            return text[:index], text[index:]
    return text, ""
