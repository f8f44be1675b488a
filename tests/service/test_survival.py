"""Two hundred calls whose server is killed at random moments: no call is lost, and no word."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.service.killed_server import KilledServer, Lived
from tests.service.numbered_caller import on_wire
from tests.service.survival_bench import bench
from tests.service.survival_street import SCRIPT, Street, Talker
from tests.service.survival_truth import Call

PHASES = {
    "greeting",
    "silence",
    "the caller speaks",
    "no answer yet",
    "the agent thinks",
    "the agent speaks",
    "a tool runs",
}
SEEN = {"cut", "cut unheard", "corrected", "words put back", "audio put back", "tool put back", "tool put back later"}


def calls_of(talkers: list[Talker], server: KilledServer, answered: dict[str, int]) -> list[Call]:
    """What each caller's sessions, dead and alive, and his packets tell."""
    by_user: dict[str, list[Lived]] = {}
    for lived in server.sessions():
        if lived.got("input_audio_buffer.append"):
            by_user.setdefault(lived.instructions.removeprefix("You talk to ").rstrip("."), []).append(lived)
    results = {call_id: json.dumps({"of": call_id}) for call_id in answered}
    judged = []
    for talker in talkers:
        sessions, wire = by_user[talker.phone.user], on_wire(talker.phone.wire.packets)
        over = min(talker.hung_up_ns, server.killed_at.get(sessions[-1].server, talker.hung_up_ns))
        settled = {call_id for call_id, t_ns in answered.items() if t_ns < over - 200_000_000}
        judged.append(Call(sessions, wire, results, settled, server.killed_at, unfinished=talker.hears_last()))
    return judged


@pytest.mark.parametrize(
    ("calls", "at_once"),
    [(12, 12), pytest.param(200, 36, marks=pytest.mark.interop)],
    ids=["12 calls", "200 calls"],
)
async def test_a_server_killed_at_a_random_moment_costs_no_call_and_no_word(
    tmp_path: Path, calls: int, at_once: int
) -> None:
    chance = random.Random(20)
    async with bench(tmp_path, SCRIPT, chance=chance) as it:
        street = Street(it, chance)
        await street.live(calls, at_once)
        talkers = street.talkers
        await it.service.until('sipbridge_calls_total{reason="caller_hung_up"}', calls)
        metrics = await it.service.metrics()
        lost = it.service.events("session.audio_lost")
    judged = calls_of(talkers, it.server, it.answered)
    wrong = [
        f"{talker.phone.user}: {what}" for talker, call in zip(talkers, judged, strict=True) for what in wrongs(call)
    ]
    phases = Counter(phase for call in judged for phase in call.phases)
    lags = [lag for call in judged for lag in call.lag_ms]
    seen = Counter(what for call in judged for what in call.seen())
    print(f"\n{calls} calls, {street.kills} kills, {len(lags)} lost sessions: {dict(phases)}; {dict(seen)}")
    unknown = [lag for lag in lags if lag]
    print(f"last words of the dead that were not known: {len(unknown)} times, {max(unknown, default=0):.0f} ms at most")
    assert not wrong, "\n".join(wrong)
    assert not lost, "the bound is 20 s of a turn and of the time away, and nobody was away for so long"
    # A session that came back in the moment of the BYE has heard nothing and is not judged.
    assert metrics['sipbridge_sessions_resumed_total{outcome="back"}'] >= len(lags) >= calls
    assert metrics["sipbridge_session_away_seconds_count"] >= len(lags)
    # What was late on the way from the phone is no affair of the session's.
    left_out_s = metrics['sipbridge_rtp_drift_seconds_total{direction="left_out"}']
    late = metrics["sipbridge_rtp_late_total"] + metrics["sipbridge_rtp_lost_total"]
    assert sum(len(call.missing) for call in judged) <= left_out_s / 0.02 + late + 0.5
    if calls >= 200:
        assert set(phases) == PHASES and min(phases.values()) >= 3
        assert set(seen) >= SEEN


def wrongs(call: Call) -> list[str]:
    """What is wrong with a call, in words."""
    try:
        call.judge()
    except AssertionError as error:
        return [str(error)]
    return []
