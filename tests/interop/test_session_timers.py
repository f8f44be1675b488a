"""Calls that outlive their session interval: Asterisk insists on the shortest there is, 90 s."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.lasting import Lasting

pytestmark = pytest.mark.interop


@pytest.mark.timeout(180)
async def test_calls_longer_than_their_interval_stay_up(lasting: Lasting | None) -> None:
    """Both roles: each side refreshes at half the interval, and only the one that has to."""
    if lasting is None:
        pytest.skip("no Asterisk here (scripts/peers says why)")
    ours, theirs = await asyncio.wrap_future(lasting.seen)
    for lasted in (ours, theirs):
        assert lasted.is_up and lasted.still_hears, lasted.log
    assert ours.refreshes_sent >= 2 and ours.refreshes_received == 0
    assert theirs.refreshes_sent == 0 and theirs.refreshes_received >= 2
