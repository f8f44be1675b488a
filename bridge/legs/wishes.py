"""What an agent wants of the leg of its caller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bridge.audio.g711 import Law
from bridge.media.codecs import why_not
from bridge.media.echo import EchoGuard
from bridge.media.inband import ToneDetector
from bridge.sip.audio_line import Tiers

G711_FIRST: Tiers = (("PCMU", "PCMA"), ("G722",), ("OPUS",))
"""G.711 costs nothing: the wider codecs are for phones that have nothing else."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`codecs` may be agreed on, by preference; those whose library is not here never are."""

    codecs: Tiers = G711_FIRST
    echo_guard: bool = False
    inband_digits: bool = False

    @property
    def at_hand(self) -> Tiers:
        """The codecs whose library is here."""
        return _at_hand(tuple(map(tuple, self.codecs)))

    def why_not(self) -> str:
        """Why they cannot be had here, with what to install; empty when they can. The default codecs are no wish."""
        # The default ones are asked too: what loads for the first of them would hold up every call.
        reasons = [reason for tier in self.codecs for name in tier if (reason := why_not(name))]
        if reasons and self.codecs is not G711_FIRST:
            return reasons[0]
        try:
            if self.echo_guard:
                EchoGuard(Law.PCMU)
            if self.inband_digits:
                ToneDetector(Law.PCMU)
        except RuntimeError as error:
            return str(error)
        return ""


@lru_cache(64)
def _at_hand(codecs: tuple[tuple[str, ...], ...]) -> Tiers:
    return tuple(tier for names in codecs if (tier := tuple(name for name in names if not why_not(name))))
