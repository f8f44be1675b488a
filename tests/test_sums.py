"""From a call's counts to the sums of the metrics."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.media.stats import MediaStats
from bridge.metrics import Totals
from bridge.records import Counts, EndReason, Refusal
from bridge.sums import CALLS_AT_ONCE, Sums


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


def running(*calls: Any) -> Sums:
    """The sums of a service with these calls, and nothing else of it."""
    stats = SimpleNamespace(
        received={},
        answers={},
        responses={},
        dropped={},
        keepalives=0,
        retransmissions_received=0,
        retransmissions_sent=0,
    )
    agent = SimpleNamespace(stats=stats, listeners=SimpleNamespace(streams=[]))
    pacer = SimpleNamespace(skipped_slots=0, faults=0)
    recorder = SimpleNamespace(started=0, refused=0, limited=0, failed=0, bytes=0, dropped_ms=0)
    transcripts = SimpleNamespace(written=0, failed=0, dropped=0)
    app = SimpleNamespace(
        calls=list(calls),
        user_agent=agent,
        pacer=pacer,
        profiles={},
        recorder=recorder,
        transcripts=transcripts,
        webhooks=SimpleNamespace(late={}),
    )
    return Sums(cast(Any, app))


def read(sums: Sums) -> dict[str, dict[str, float]]:
    totals = Totals()
    sums.read(totals)
    return totals.sums


async def test_what_is_gathered_some_at_a_time_is_what_is_read_at_once() -> None:
    calls = [call(Counts(digits=number)) for number in range(3 * CALLS_AT_ONCE + 1)]
    sums = running(*calls)
    sums.keep(call(Counts(digits=1000)))
    at_once = read(sums)
    await sums.gather()
    assert read(sums) == at_once == read(sums)
    assert at_once["digits"] == {"": 1000 + sum(range(len(calls)))}


async def test_others_have_their_turn_while_hundreds_of_calls_are_read() -> None:
    sums, turns = running(*(call(Counts()) for _ in range(10 * CALLS_AT_ONCE))), 0
    gathering = asyncio.create_task(sums.gather())
    while not gathering.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10


@pytest.mark.parametrize("turns", range(5))
async def test_a_call_that_ends_while_all_are_read_counts_once_in_this_scrape_and_in_the_next(turns: int) -> None:
    calls = [call(Counts(digits=1)) for _ in range(4 * CALLS_AT_ONCE)]
    sums = running(*calls)
    gathering = asyncio.create_task(sums.gather())
    for _ in range(turns):
        await asyncio.sleep(0)
    for ended in (calls[0], calls[-1]):
        sums._app.calls.remove(ended)
        sums.keep(ended)
    await gathering
    assert read(sums)["digits"] == read(sums)["digits"] == {"": len(calls)}
