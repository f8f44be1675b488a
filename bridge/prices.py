"""What a session's usage costs."""

from __future__ import annotations

from bridge.config import Price, Prices
from bridge.config.pattern import Pattern
from bridge.realtime.events import Usage

PER_TOKENS = 1_000_000
_FALLS_BACK_TO = {"text_cached": "text_in", "audio_cached": "audio_in", "image_cached": "image_in"}
"""Cached tokens without a price of their own cost as much as others: never less than was paid."""


class PriceTable:
    """The price list, ready to be asked for a model as the service names it."""

    def __init__(self, prices: Prices) -> None:
        self.currency = prices.currency
        self._named = prices.models
        self._patterns = [(Pattern.parse(name), price) for name, price in prices.models.items()]

    def __bool__(self) -> bool:
        """Whether anything has a price."""
        return bool(self._named)

    def of(self, model: str) -> Price | None:
        """The price of its name, else of the first pattern that fits; None: there is none."""
        named = self._named.get(model)
        return named or next((price for pattern, price in self._patterns if pattern.fits(model)), None)


def cost_of(usage: Usage, table: PriceTable) -> float | None:
    """In the table's currency; None when a part of it has no price. What used nothing costs nothing."""
    price = table.of(usage.model)
    total = 0.0
    for kind, count in usage.tokens.items():
        if count > 0:
            of_kind = _price_of(kind, price)
            if of_kind is None:
                return None
            total += of_kind * count / PER_TOKENS
    if usage.seconds > 0:
        if price is None or price.minute is None:
            return None
        total += price.minute * usage.seconds / 60
    return total


def _price_of(kind: str, price: Price | None) -> float | None:
    own: float | None = getattr(price, kind, None) if kind in _KINDS else None
    instead = _FALLS_BACK_TO.get(kind)
    return own if own is not None or instead is None else _price_of(instead, price)


_KINDS = frozenset(Price.model_fields) - {"minute"}
