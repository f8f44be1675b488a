"""What an agent wants of the leg of its caller."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.sip.audio_line import Tiers

G711_FIRST: Tiers = (("PCMU", "PCMA"), ("G722",), ("OPUS",))
"""G.711 costs nothing: the wider codecs are for phones that have nothing else."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`codecs` may be agreed on, by preference; those whose library is not here never are."""

    codecs: Tiers = G711_FIRST
    echo_guard: bool = False
    inband_digits: bool = False
