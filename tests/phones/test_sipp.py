import asyncio
from pathlib import Path

import pytest

from tests.phones.rawphone import RawPhone
from tests.phones.scripted import ScriptedPeer, reply_to
from tests.phones.sipp import Sipp
from tests.phones.test_rawphone import answering
from tests.phones.wire import Wire, frames

pytestmark = [pytest.mark.phone, pytest.mark.usefixtures("sipp")]

# 20 full packets and a piece: no byte of G.711 silence in it.
AUDIO = bytes(i % 251 for i in range(160 * 20 + 57))


def answering_here(peer: ScriptedPeer, media: Wire) -> None:
    peer.reply = answering(media.port, f"<sip:agent@127.0.0.1:{peer.port}>")
    asyncio.get_running_loop().add_reader(media, media.drain)


@pytest.mark.parametrize(("law", "number", "quiet"), [("PCMU", 0, b"\xff"), ("PCMA", 8, b"\xd5")])
async def test_the_bytes_of_the_file_arrive_unchanged(tmp_path: Path, law: str, number: int, quiet: bytes) -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as peer:
            answering_here(peer, media)
            with Sipp.calling("127.0.0.1", peer.port, tmp_path, seconds=0.8, audio=AUDIO, law=law) as phone:
                result = await phone.result()
    assert result.ok, result.log
    heard = media.heard(number)
    assert heard[: len(AUDIO)] == AUDIO
    assert set(heard[len(AUDIO) :]) == set(quiet)
    assert {len(p.payload) for p in media.packets} == {160} and not media.strays
    assert [p.sequence for p in media.packets] == list(range(len(media.packets)))
    assert result.successful == 1 and result.ended_by_far == 0


async def test_many_calls_are_counted_and_refusals_too(tmp_path: Path) -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as peer:
            answering_here(peer, media)
            answered = peer.reply

            def reply(text: str, source: tuple[str, int]) -> list[bytes]:
                if text.startswith("INVITE") and sum(t.startswith("INVITE") for t in peer.received) > 5:
                    return [reply_to(text, "486 Busy Here")]
                return answered(text, source)

            peer.reply = reply
            with Sipp.calling("127.0.0.1", peer.port, tmp_path, calls=7, rate=50, seconds=0.3) as phone:
                result = await phone.result()
    assert (result.successful, result.failed, result.ok) == (5, 2, False)
    assert len({p.ssrc for p in media.packets}) == 5
    assert "486" in result.log


async def test_a_call_that_the_far_end_hangs_up(tmp_path: Path) -> None:
    with Wire() as media:
        async with ScriptedPeer(lambda text, source: []) as peer:
            answering_here(peer, media)
            with Sipp.calling("127.0.0.1", peer.port, tmp_path, seconds=5) as phone:
                # SIPp takes a BYE for a fault until it has got past the ACK; its first packet shows that it has.
                async with asyncio.timeout(5):
                    while not media.packets:
                        await asyncio.sleep(0.01)
                invite = peer.received[0]
                line = {n.lower(): v for n, _, v in (x.partition(": ") for x in invite.split("\r\n"))}
                bye = (
                    f"BYE sip:sipp@127.0.0.1:{phone.port} SIP/2.0\r\n"
                    f"Via: SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bKfar\r\nFrom: {line['to']};tag=far\r\n"
                    f"To: {line['from']}\r\nCall-ID: {line['call-id']}\r\nCSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
                )
                peer.send(bye.encode(), ("127.0.0.1", phone.port))
                result = await phone.result(within=4)
    assert result.ok and result.ended_by_far == 1, result.log


async def test_sipp_answers_a_raw_phone(tmp_path: Path) -> None:
    with Sipp.answering(tmp_path, audio=AUDIO) as phone:
        async with RawPhone() as caller:
            assert (await caller.invite("127.0.0.1", phone.port)).status == 200
            await caller.wire.play(frames(b"\xff" * 160 * 30))
            assert (await caller.bye()).status == 200
        result = await phone.result()
    assert result.ok, result.log
    assert caller.wire.heard()[: len(AUDIO)] == AUDIO
