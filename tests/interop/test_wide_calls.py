"""What else a call in wide band has to do: keys on the codec's own clock, and a second call in another codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.audio.resample import Resampler
from tests.interop.likeness import SECONDS, voice
from tests.interop.sound import GREETS, keys_told
from tests.interop.test_wideband import assert_heard, baresip_saying
from tests.phones.baresip import Baresip
from tests.phones.linphone import Linphone
from tests.service.rig import Service, bench, ended
from tests.service.transfers import ENDED, OUTCOME, agent, asks

pytestmark = pytest.mark.interop

WIDE = {"codecs": ["opus", "g722", "pcmu"]}
PRESSES = '{call: send_digits, arguments: {digits: "19*0"}}'
PRESSES_ONCE = f"""
vad: false
rules: [{{on: response_create, nth: 1, do: [{{delay_ms: 1500}}, {{response: {{items: [{PRESSES}]}}}}]}}]
"""
LATER_S = 3
"""Until then the caller is connected."""


async def opus_phone(name: str, folder: Path) -> Any:
    if name == "baresip":
        return await baresip_saying(folder, "opus")
    return await Linphone.start(folder / "phone", pcm=voice(48000), seconds=15, rate=48000, codecs=("opus",))


@pytest.fixture(params=["baresip", "linphone"])
def name(request: pytest.FixtureRequest) -> str:
    """A softphone that speaks Opus; the test is skipped where it is not installed."""
    request.getfixturevalue(request.param)
    return str(request.param)


async def test_each_key_of_an_opus_phone_counts_once(tmp_path: Path, name: str) -> None:
    async with bench(tmp_path, "vad: false", agent=WIDE) as (service, server):
        async with await opus_phone(name, tmp_path) as phone:
            await phone.dial(service.uri())
            await asyncio.sleep(0.5)
            await phone.press("42#5")
            await service.until("sipbridge_digits_total", 4)
            await asyncio.sleep(2.5)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert keys_told(session) == "42#5"
        assert (await service.metrics())["sipbridge_digits_total"] == 4


async def test_an_opus_phone_gets_each_key_of_the_agent_once(tmp_path: Path, name: str) -> None:
    more = WIDE | GREETS | {"tools": ["send_digits"]}
    async with bench(tmp_path, PRESSES_ONCE, agent=more) as (service, _):
        async with await opus_phone(name, tmp_path) as phone:
            await phone.dial(service.uri())
            await asyncio.sleep(4)
            await phone.hang_up()
        assert phone.keys() == "19*0"


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize("codec", ["opus", "G722"])
async def test_a_caller_in_wide_band_is_connected_to_somebody_in_g711(tmp_path: Path, codec: str) -> None:
    """Both hear each other, as well as a telephone can."""
    late = bytes(2 * rate_of(codec) * LATER_S) + voice(rate_of(codec))
    desk = await Baresip.start(tmp_path / "desk", pcm=bytes(16000) + voice(8000, seed=2), seconds=15, user="desk")
    async with desk, connecting(tmp_path, f"sip:desk@127.0.0.1:{desk.port}") as service:
        async with await Baresip.start(tmp_path / "caller", pcm=late, seconds=15, codec=codec) as caller:
            await caller.dial(service.uri())
            await service.until(OUTCOME("joined"), 1)
            assert desk.events, "nobody rang there"
            await asyncio.sleep(LATER_S + SECONDS + 1)
            await caller.hang_up()
            await desk.event("CALL_CLOSED")
            await service.until(ENDED("transferred"), 1)
        assert_heard(desk.heard(), 8000, 1, codec, "caller to desk")
        assert_heard(at_8000(caller), 8000, 2, codec, "desk to caller")
        assert not [line for line in service.lines() if line["level"] == "error"]


@asynccontextmanager
async def connecting(folder: Path, target: str) -> AsyncIterator[Service]:
    """An agent that connects its caller to `target` at once."""
    more = agent("bridge", desk=target) | WIDE
    async with bench(folder, asks(), agent=more) as (service, _):
        yield service


def rate_of(codec: str) -> int:
    return 16000 if codec == "G722" else 48000


def at_8000(phone: Baresip) -> bytes:
    """What it heard, at the rate of the other side."""
    convert = Resampler(phone.rate, 8000)
    return convert.process(phone.heard(), last=True)
