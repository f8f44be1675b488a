"""A real Asterisk 22 as the PBX: calls from its trunk and its phones, registration, hold, transfer, session timers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.agent.patterns import counter
from tests.phones.asterisk import MILLIWATT, Asterisk
from tests.service.rig import bench, ended

pytestmark = pytest.mark.interop

SENTENCE_MS = 1730
SAYS_A_SENTENCE = f"vad: false\nanswer: {{items: [{{audio_ms: {SENTENCE_MS}}}]}}"
GREETS = {"greeting": "Begin."}
TONE = MILLIWATT * 100


async def test_a_call_from_the_trunk_carries_what_both_sides_say(tmp_path: Path, pbx: Asterisk) -> None:
    """Its echo brings the agent's own bytes back to the session: untouched in both directions."""
    async with bench(tmp_path, SAYS_A_SENTENCE, agent=GREETS) as (service, server):
        await pbx.originate("trunk", service.uri(), "801")
        await service.until("sipbridge_calls_active", 1)
        await asyncio.sleep(3)
        await pbx.cli("channel request hangup all")
        session = await ended(server.sessions[0])
        assert counter(1, SENTENCE_MS * 8) in bytes(session.input_audio)
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        await pbx.until_quiet()


async def test_the_agent_hears_a_tone_of_asterisk(tmp_path: Path, pbx: Asterisk) -> None:
    async with bench(tmp_path, "vad: false") as (service, server):
        await pbx.originate("trunk", service.uri(), "800")
        await service.until("sipbridge_calls_active", 1)
        await asyncio.sleep(1)
        await pbx.cli("channel request hangup all")
        session = await ended(server.sessions[0])
        assert TONE in bytes(session.input_audio)
