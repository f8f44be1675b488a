"""What sessions cost, and how much may be spent."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from .pattern import Pattern
from .section import Section


def _model(text: str) -> str:
    Pattern.parse(text)
    return text


_Model = Annotated[str, AfterValidator(_model)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Price(Section):
    """Of one model: per 1,000,000 tokens of a kind, and per minute of a session that is paid by time.

    What has no price has no known cost. Cached tokens without a price of their own cost as much as others.
    """

    text_in: _Amount | None = None
    text_cached: _Amount | None = None
    audio_in: _Amount | None = None
    audio_cached: _Amount | None = None
    image_in: _Amount | None = None
    text_out: _Amount | None = None
    audio_out: _Amount | None = None
    minute: _Amount | None = None


class Prices(Section):
    """The price list."""

    currency: str = Field(default="USD", pattern=r"^[A-Za-z]{3,8}$")
    models: dict[_Model, Price] = Field(default={})
    """By the model's name as the service tells it, or a pattern for names; a name counts before patterns."""


class Spend(Section):
    """How much may be spent, in `prices.currency`. Default: no limit."""

    per_call: _Limit | None = None
    per_hour: _Limit | None = None
    per_caller_per_day: _Limit | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return not (self.per_call is None and self.per_hour is None and self.per_caller_per_day is None)
