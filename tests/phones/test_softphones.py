"""The phones that are real programs, each against a peer of strings."""

import array
import asyncio
import math
from pathlib import Path

import pytest

from tests.phones.baresip import Baresip
from tests.phones.pyvoip import PyVoip
from tests.phones.rawphone import RawPhone
from tests.phones.registrar import Registrar
from tests.phones.scripted import ScriptedPeer
from tests.phones.test_rawphone import answering
from tests.phones.wire import Wire, frames

pytestmark = pytest.mark.phone


def tone(seconds: float, hertz: float = 500.0) -> bytes:
    """16-bit PCM at 8000 Hz."""
    samples = (round(8000 * math.sin(2 * math.pi * hertz * i / 8000)) for i in range(round(8000 * seconds)))
    return array.array("h", samples).tobytes()


def loud(payloads: bytes) -> int:
    """How many µ-law bytes are clearly not silence."""
    return sum(byte & 0x7F < 0x50 for byte in payloads)


@pytest.mark.usefixtures("baresip")
async def test_baresip_dials_talks_and_hears(tmp_path: Path) -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as peer:
            peer.reply = answering(media.port, f"<sip:agent@127.0.0.1:{peer.port}>")
            asyncio.get_running_loop().add_reader(media, media.drain)
            async with await Baresip.start(tmp_path, pcm=tone(1.0), seconds=5) as phone:
                await phone.dial(f"sip:600@127.0.0.1:{peer.port}")
                media.to = _media_of(peer.received[0])
                await media.play(frames(b"\x10" * 8000))
                await phone.press("5", gap_s=0.1)
                await phone.hang_up()
    assert loud(media.heard(0)) > 4000
    assert any(p.payload_type == 101 and p.payload[0] == 5 for p in media.packets)
    heard = array.array("h", phone.heard())
    assert sum(abs(sample) > 10000 for sample in heard) > 4000
    assert peer.received[-1].startswith("BYE")


@pytest.mark.usefixtures("baresip")
async def test_baresip_registers_and_answers(tmp_path: Path) -> None:
    secret = {"desk": "secret"}
    async with RawPhone() as service, Registrar(("127.0.0.1", service.port), passwords=secret) as registrar:
        address = f"127.0.0.1:{registrar.port}"
        async with await Baresip.start(tmp_path, user="desk", registrar=address, password="secret") as phone:
            await phone.registered()
            assert (await service.invite("127.0.0.1", registrar.port, "desk")).status == 200
            assert (await service.bye()).status == 200
            await phone.event("CALL_CLOSED")
    assert registrar.challenges >= 1


@pytest.mark.parametrize("passwords", [{}, {"pyvoip": "secret"}], ids=["open", "digest"])
async def test_pyvoip_registers_dials_talks_and_hears(tmp_path: Path, passwords: dict[str, str]) -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as peer:
            peer.reply = answering(media.port, f"<sip:agent@127.0.0.1:{peer.port}>")
            asyncio.get_running_loop().add_reader(media, media.drain)
            async with Registrar(("127.0.0.1", peer.port), passwords=passwords) as registrar:
                own = bytes([0x80, 0xC0] * 4000)
                with PyVoip.calling(("127.0.0.1", registrar.port), tmp_path, samples=own, seconds=1.2) as phone:
                    await peer.has(2)
                    media.to = _media_of(peer.received[0])
                    await media.play(frames(b"\x10" * 8000))
                    told = await phone.result()
    assert told["registered"] and told["answered"] and not told["ended_by_far"], phone.said()
    assert registrar.challenges == (2 if passwords else 0)  # once for REGISTER, once for its end
    assert [text.split()[0] for text in peer.received] == ["INVITE", "ACK", "BYE"]
    assert loud(media.heard()) > 3000
    assert sum(abs(sample - 128) > 20 for sample in phone.heard()) > 4000


def _media_of(offer: str) -> tuple[str, int]:
    return "127.0.0.1", int(offer.split("m=audio ")[1].split()[0])
