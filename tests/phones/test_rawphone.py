import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.phones.rawphone import CallError, RawPhone, call_many
from tests.phones.scripted import ScriptedPeer, reply_to, sdp_for
from tests.phones.wire import Wire, frames


def answering(media_port: int, contact: str = "", route: str = ""):
    """A peer that rings, answers, and confirms every other request."""

    def reply(text: str, source: tuple[str, int]) -> list[bytes]:
        method = text.split()[0]
        if method == "ACK" or text.startswith("SIP/2.0"):
            return []
        if method != "INVITE":
            return [reply_to(text, "200 OK")]
        extra = (f"Record-Route: {route}\r\n" if route else "") + (f"Contact: {contact}\r\n" if contact else "")
        return [
            reply_to(text, "180 Ringing"),
            reply_to(text, "200 OK", extra=extra, body=sdp_for(media_port)),
        ]

    return reply


async def test_a_whole_call() -> None:
    with Wire() as media:
        async with ScriptedPeer(answering(media.port)) as peer, RawPhone() as phone:
            answer = await phone.invite("127.0.0.1", peer.port, "611")
            assert answer.status == 200 and phone.answer_ms > 0
            await phone.wire.play(frames(b"\x11" * 480), ptime_ms=1)
            assert (await phone.bye()).status == 200
        media.drain()
    assert [text.split()[0] for text in peer.received] == ["INVITE", "ACK", "BYE"]
    assert peer.received[0].startswith("INVITE sip:611@127.0.0.1:")
    assert "To: <sip:611" in peer.received[1] and ";tag=far" in peer.received[1]
    assert "CSeq: 2 BYE" in peer.received[2]
    assert media.heard() == b"\x11" * 480


async def test_requests_in_the_call_follow_contact_and_route() -> None:
    with Wire() as media:
        async with ScriptedPeer(answering(media.port)) as proxy:
            route = f"<sip:127.0.0.1:{proxy.port};lr>"
            reply = answering(media.port, "<sip:agent@192.0.2.1:5999>", route)
            async with ScriptedPeer(reply) as peer, RawPhone() as phone:
                await phone.invite("127.0.0.1", peer.port)
                await phone.bye()
    assert [text.split()[0] for text in peer.received] == ["INVITE"]
    assert proxy.received[0].startswith("ACK sip:agent@192.0.2.1:5999 SIP/2.0")
    assert f"Route: {route}" in proxy.received[1]


async def test_a_refusal_is_acknowledged_in_its_own_transaction() -> None:
    def reply(text: str, source: tuple[str, int]) -> list[bytes]:
        return [reply_to(text, "486 Busy Here")] if text.startswith("INVITE") else []

    async with ScriptedPeer(reply) as peer, RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", peer.port)).status == 486
        await peer.has(2)
    branches = {text.split("branch=")[1].split(";")[0] for text in peer.received}
    assert [t.split()[0] for t in peer.received] == ["INVITE", "ACK"] and len(branches) == 1


async def test_cancel_ends_in_487() -> None:
    invite = []

    def reply(text: str, source: tuple[str, int]) -> list[bytes]:
        if text.startswith("INVITE"):
            invite.append(text)
            return [reply_to(text, "180 Ringing")]
        if text.startswith("CANCEL"):
            return [reply_to(text, "200 OK"), reply_to(invite[0], "487 Request Terminated")]
        return []

    async with ScriptedPeer(reply) as peer, RawPhone() as phone:
        await phone.start_invite("127.0.0.1", peer.port)
        assert (await phone.cancel()).status == 487


async def test_the_far_bye_is_answered_and_a_repeated_200_acknowledged() -> None:
    with Wire() as media:
        async with ScriptedPeer(answering(media.port)) as peer, RawPhone() as phone:
            answer = await phone.invite("127.0.0.1", peer.port)
            near = ("127.0.0.1", phone.port)
            peer.send(reply_to(peer.received[0], "200 OK", body=sdp_for(media.port)), near)
            bye = (
                f"BYE sip:raw@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bKb\r\n"
                f"From: {answer.header('To')}\r\nTo: {answer.header('From')}\r\nCall-ID: {phone.call_id}\r\n"
                "CSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n"
            )
            peer.send(bye.encode(), near)
            await asyncio.wait_for(phone.ended.wait(), 5)
            await peer.has(4)
    assert [t.split()[0] for t in peer.received[:3]] == ["INVITE", "ACK", "ACK"]
    assert peer.received[3].startswith("SIP/2.0 200 OK") and "CSeq: 7 BYE" in peer.received[3]


async def test_silence_is_an_error_with_a_reason() -> None:
    async with ScriptedPeer(lambda text, source: []) as peer, RawPhone() as phone:
        with pytest.raises(CallError, match="no final answer to INVITE"):
            await phone.invite("127.0.0.1", peer.port, within=0.02)


async def test_fifty_calls_at_once_from_one_loop() -> None:
    with Wire() as media:
        async with ScriptedPeer(answering(media.port)) as peer:
            reports = await call_many("127.0.0.1", peer.port, calls=50, seconds=0.2, rate=1000)
        media.drain()
    assert [r.status for r in reports] == [200] * 50
    assert len(media.packets) == 50 * 10 and len({p.ssrc for p in media.packets}) == 50


async def test_as_a_program_it_prints_json(tmp_path: Path) -> None:
    program = Path(__file__).with_name("rawphone.py")
    (tmp_path / "say").write_bytes(b"\x22" * 160)
    with Wire() as media:
        async with ScriptedPeer(answering(media.port)) as peer:
            options = ["--calls", "2", "--seconds", "0.1", "--audio", str(tmp_path / "say")]
            child = await asyncio.create_subprocess_exec(
                sys.executable, str(program), f"127.0.0.1:{peer.port}", *options, stdout=asyncio.subprocess.PIPE
            )
            printed, _ = await child.communicate()
        media.drain()
    assert child.returncode == 0
    assert [call["sent"] for call in json.loads(printed)["calls"]] == [5, 5]
    assert sum(p.payload == b"\x22" * 160 for p in media.packets) == 2
