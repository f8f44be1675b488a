"""Tokens of a Gemini Live session: each counted once, whether told once or several times in a turn.

`usageMetadata` is of one turn, not of the session: the prompt of a turn is the whole conversation so far, and is paid
for again (recorded: two turns of 51 and 63 tokens said 51 and 63). Some models send it with each message of a turn,
growing; so what is given on is the growth.
"""

from __future__ import annotations

from typing import Any

from bridge.realtime.faults import Malformed
from bridge.realtime.options import Json

MOST_TOKENS = 100_000_000
"""Of one kind and turn; more is no count."""
_KINDS = {"TEXT": "text", "DOCUMENT": "text", "AUDIO": "audio", "IMAGE": "image", "VIDEO": "image"}
_MOST_DETAILS = 32


class TurnUsage:
    """The tokens of the turn that runs, as far as they were told."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._is_told = False  # something, in the turn that runs
        self._closed = False  # what comes next is of another turn than `_told`
        self._late = False  # a turn ended of which nothing was told

    def growth(self, metadata: Json) -> dict[str, int]:
        """What is new, by the kinds of `events.Usage`; empty: nothing. Raises Malformed."""
        tokens = tokens_of(metadata)
        if self._closed:
            if tokens == self._told:
                return {}
            self._told = {}
        grown = {kind: more for kind, count in tokens.items() if (more := count - self._told.get(kind, 0)) > 0}
        self._told = tokens
        self._closed, self._is_told, self._late = self._late, not self._late, False
        return grown

    def turn_over(self) -> None:
        """The turn has ended; if nothing was told of it, what comes next may still be its own."""
        self._late = not self._is_told
        self._closed, self._is_told = True, False


def tokens_of(metadata: Json) -> dict[str, int]:
    """Tokens by kind. Thoughts are paid as text that comes out. Raises Malformed."""
    tokens: dict[str, int] = {}
    _add(tokens, metadata, "promptTokensDetails", "in", "promptTokenCount", "text")
    _add(tokens, metadata, "toolUsePromptTokensDetails", "in", "toolUsePromptTokenCount", "text")
    _add(tokens, metadata, "responseTokensDetails", "out", "responseTokenCount", "audio")
    _put(tokens, "text_out", _count(metadata.get("thoughtsTokenCount")))
    cached: dict[str, int] = {}
    _add(cached, metadata, "cacheTokensDetails", "cached", "cachedContentTokenCount", "text")
    for kind, count in cached.items():
        whole = kind.replace("_cached", "_in")
        tokens[whole] = max(0, tokens.get(whole, 0) - count)
    return {kind: count for kind, count in (tokens | cached).items() if count}


def _add(tokens: dict[str, int], metadata: Json, details: str, side: str, total: str, rest: str) -> None:
    """One group of counts; what the details leave out of the total is of the kind `rest`."""
    told = 0
    for modality, count in _details(metadata.get(details)):
        told += count
        _put(tokens, f"{_KINDS.get(modality, 'text')}_{side}", count)
    _put(tokens, f"{rest}_{side}", max(0, _count(metadata.get(total)) - told))


def _details(value: Any) -> list[tuple[str, int]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST_DETAILS:
        raise Malformed("token details are no list")
    found = []
    for one in value:
        if not isinstance(one, dict):
            raise Malformed("a token detail is not an object")
        found.append((str(one.get("modality")), _count(one.get("tokenCount"))))
    return found


def _put(tokens: dict[str, int], kind: str, count: int) -> None:
    # Images that the model makes are not spoken of on a telephone, and have no kind.
    kind = "text_out" if kind == "image_out" else kind
    tokens[kind] = tokens.get(kind, 0) + count


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TOKENS:
        raise Malformed("not a count of tokens")
    return value
