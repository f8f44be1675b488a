"""How a call sounds: the E-model of ITU-T G.107 with its default values, from what RTCP tells."""

from math import log2, pow
from typing import Literal, NamedTuple

Codec = Literal["PCMU", "PCMA", "G722", "OPUS"]

R_DEFAULT = 93.2
"""Transmission rating of G.107 with default values: neither loss nor delay."""
DELAY_UNHEARD_MS = 100.0


class Impairment(NamedTuple):
    """What a codec costs (ITU-T G.113 appendix I)."""

    equipment: float
    """Ie: without loss."""
    robustness: float
    """Bpl: percent of loss that cost half of what is left."""


_G711 = Impairment(0.0, 25.1)  # with concealment of lost packets, which both ends of a call have

# The appendix has no values for the other two on this scale, which is that of narrow band and ends at 4.41. Unless
# packets are lost they sound better than G.711, so they cost nothing either; under loss they are assumed to fare as
# G.711 with concealment. Their score compares with that of G.711, but is no measurement: wide band is not rewarded.
CODECS: dict[Codec, Impairment] = {"PCMU": _G711, "PCMA": _G711, "G722": _G711, "OPUS": _G711}


def mos(codec: Codec, loss_ratio: float, one_way_ms: float, burst_ratio: float = 1.0) -> float:
    """Mean opinion score, 1.0 to 4.5 (in fact 4.41).

    `loss_ratio` 0 to 1; `one_way_ms` from mouth to ear; `burst_ratio` above 0, 1: packets are lost at random.
    """
    return score(R_DEFAULT - _delay_impairment(one_way_ms) - _loss_impairment(CODECS[codec], loss_ratio, burst_ratio))


def score(rating: float) -> float:
    """MOS of a transmission rating R (G.107 annex B)."""
    if rating >= 100:
        return 4.5
    if rating <= 0:
        return 1.0
    # Below a rating of 6.5 the cubic dips under 1, which no listener can give.
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def _delay_impairment(one_way_ms: float) -> float:
    """Idd of G.107, exact. Its two terms for echo are left out: a model has no room and no hybrid to echo in."""
    if one_way_ms <= DELAY_UNHEARD_MS:
        return 0.0
    doublings = log2(one_way_ms / DELAY_UNHEARD_MS)
    return 25 * (pow(1 + pow(doublings, 6), 1 / 6) - 3 * pow(1 + pow(doublings / 3, 6), 1 / 6) + 2)


def _loss_impairment(codec: Impairment, loss_ratio: float, burst_ratio: float) -> float:
    """Ie,eff of G.107."""
    percent = 100 * min(1.0, max(0.0, loss_ratio))
    return codec.equipment + (95 - codec.equipment) * percent / (percent / burst_ratio + codec.robustness)
