"""From a call's counts to the sums of the metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.media.stats import MediaStats
from bridge.records import Counts, EndReason, Refusal
from bridge.sums import Sums


def call(counts: Counts, agent: str = "shop") -> Any:
    """A call as far as its counts go."""
    leg = SimpleNamespace(stats=MediaStats())
    return SimpleNamespace(collected=lambda: counts, profile=SimpleNamespace(name=agent), leg=leg, former=())


def kept(*calls: Any) -> dict[str, dict[str, float]]:
    sums = Sums(cast(Any, None))
    for one in calls:
        sums.keep(one)
    return sums.totals.sums


def test_every_reason_is_there_from_the_start() -> None:
    totals = kept()
    assert set(totals["calls"]) == {reason.value for reason in EndReason}
    assert {refusal.word for refusal in Refusal} <= set(totals["refusals"])


def test_what_calls_have_used_is_summed_by_kind_and_by_agent() -> None:
    one, other, free = Counts(), Counts(), Counts()
    one.note_usage({"text_in": 3, "audio_out": 4}, 0.25)
    other.note_usage({"text_in": 1}, 0.5)
    other.note_usage({"text_in": 1}, None)
    totals = kept(call(one), call(one), call(other, "sales"), call(free, "free"))
    assert totals["tokens"] == {"text_in": 8, "audio_out": 8}
    assert totals["cost"] == pytest.approx({"shop": 0.5, "sales": 0.5})
    assert totals["unpriced_usages"] == {"": 1}


def test_what_became_of_sessions_and_tools_is_summed_by_its_words() -> None:
    counts = Counts()
    counts.note_fallback("refused")
    counts.note_resumed("planned", 0.0)
    counts.tools = {"done": 1}
    counts.note_plan_b("transfer")
    totals = kept(call(counts))
    assert totals["session_fallbacks"] == {"refused": 1}
    assert totals["sessions_resumed"] == {"back": 0, "planned": 1, "given_up": 0}
    assert totals["tool_calls"] == {"done": 1}
    assert totals["plan_b"] == {"transfer": 1}
